"""Named entities with distant labels (wikigold_distant), a linear head on frozen states of MiniLM: tokens.jsonl.

    python -m benchmarks.tokens --data_dir DATA            # all cells that are not in the result file yet
    python -m benchmarks.tokens --table                    # the table of what is there

The states of a word are those of its first token in layers 2, 4 and 6, and the shapes of the word and its neighbours
(the encoder knows no capitals). The distant labels of a fifth of the training sentences are held out; they choose the
method. Gold labels train only the reference, and score the test sentences.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertForTokenClassification, TrainingArguments, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging

from benchmarks.pools import digest_of, minilm
from hf_noisy import NoisyTrainer
from hf_noisy.core.task import TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.methods import METHODS, make_method
from hf_noisy.metrics import compute_metrics

RESULTS = Path(__file__).parent / "results" / "tokens.jsonl"
NAME = "wikigold_distant"
# Those of one label for an example, or that need a second view, checked rows to gain anything, or a noise matrix.
LEFT_OUT = {
    "gjs",
    "soft_correction",
    *(name for name, method in METHODS.items() if getattr(method, "one_label_only", False)),
}
BATCH, HELD_OUT = 32, 5
EPOCHS, RATE, LAYERS = 8, 2e-3, (2, 4, 6)
ARGUMENTS: dict[str, dict[str, Any]] = {"nrd": {"teacher_view": None}}


@dataclass(frozen=True)
class Cell:
    """One training: a method, the labels that it trains on, the share of missing labels, a seed."""

    method: str
    labels: str  # "distant" or "gold"
    missing_rate: float
    seed: int


def cells(seeds: int) -> list[Cell]:
    """All trainings, the most informative ones of each seed first."""
    found: list[Cell] = []
    for seed in range(seeds):
        found += [Cell("cross_entropy", labels, 0.0, seed) for labels in ("gold", "distant")]
        found += [Cell("cross_entropy", "distant", rate, seed) for rate in (0.3, 0.5)]
        others = [name for name in METHODS if name not in LEFT_OUT | {"cross_entropy"}]
        others.sort(key=lambda name: getattr(METHODS[name], "num_branches", 1))  # two networks take twice as long
        found += [Cell(name, "distant", 0.0, seed) for name in others]
        found += [Cell(name, "distant", 0.3, seed) for name in ("gce", "elr", "coregularization")]
    return found


def read(data_dir: Path) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    folder = data_dir / NAME
    names = json.loads((folder / "labels.json").read_text("utf-8"))["classes"]
    splits = {}
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            splits[split] = [json.loads(line) for line in lines]
    return splits, names


def shape(word: str) -> list[float]:
    """What the encoder does not see of a word."""
    return [word[:1].isupper(), word.isupper(), any(char.isdigit() for char in word), not word.isalnum()]


def frozen_states(sentences: list[list[str]], cache: Path) -> list[np.ndarray]:
    """The states and shapes `[words, width]` of each sentence; words that truncation cuts off are left out."""
    path = cache / f"{NAME}-{digest_of(np.array([' '.join(words) for words in sentences]))}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
        states = []
        for sentence in sentences:
            batch = tokenizer(sentence, is_split_into_words=True, truncation=True, max_length=256, return_tensors="pt")
            with torch.no_grad():
                hidden = model(**batch, output_hidden_states=True).hidden_states
            place = {word: token for token, word in reversed([*enumerate(batch.word_ids(0))])}
            words = [word for word in range(len(sentence)) if word in place]
            shapes = np.array([shape(word) for word in ["", *sentence, ""]], np.float32)
            vectors = [hidden[layer][0, [place[word] for word in words]].numpy() for layer in LAYERS]
            around = [shapes[[word + shift for word in words]] for shift in (0, 1, 2)]
            states.append(np.concatenate([*vectors, *around], 1).astype(np.float16))
        np.savez(path, states=np.concatenate(states), sizes=[len(one) for one in states])
    stored = np.load(path)
    return np.split(stored["states"], np.cumsum(stored["sizes"])[:-1])


class Sentences:
    """The data of one split: frozen states and a label for each word, by length."""

    def __init__(self, rows: list[dict[str, Any]], column: str, names: list[str], cache: Path) -> None:
        states = frozen_states([row["tokens"] for row in rows], cache)
        labels = [[names.index(tag) for tag in row[column]] for row in rows]
        self.items = [
            {"inputs_embeds": vectors, "labels": given[: len(vectors)]}
            for vectors, given in zip(states, labels, strict=True)
        ]
        self.items.sort(key=lambda item: len(item["labels"]))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class ByLength(NoisyTrainer):
    """Sentences of about the same length in one batch."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        lengths = [len(item["labels"]) for item in self.train_dataset.items]
        generator = torch.Generator().manual_seed(self.args.seed)
        return LengthGroupedSampler(self.args.train_batch_size, lengths=lengths, generator=generator)


def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    states = [torch.from_numpy(row["inputs_embeds"]).float() for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    return {
        "inputs_embeds": pad_sequence(states, batch_first=True),
        "attention_mask": pad_sequence([torch.ones(len(one)) for one in labels], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=NO_LABEL),
    }


def head(names: list[str], width: int) -> BertForTokenClassification:
    """A linear head on normalised states."""
    ids = {name: index for index, name in enumerate(names)}
    config = AutoConfig.from_pretrained(minilm(), num_labels=len(names), id2label=dict(enumerate(names)), label2id=ids)
    config.num_hidden_layers, config.vocab_size, config.hidden_size = 0, 1, width
    model = BertForTokenClassification(config)
    model.name_or_path = minilm()  # pretrained: branches differ by their heads
    embeddings = model.bert.embeddings
    for part in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        torch.nn.init.zeros_(part.weight)  # the states know the positions already
    embeddings.requires_grad_(False)
    return model


def run(cell: Cell, splits: dict[str, list[dict[str, Any]]], names: list[str], cache: Path) -> dict[str, Any]:
    """Train a cell, and score it on held-out distant labels and on the gold test labels."""
    held_out = np.arange(len(splits["train"])) % HELD_OUT == HELD_OUT - 1
    kept = [row for row, out in zip(splits["train"], held_out, strict=True) if not out]
    given = [row for row, out in zip(splits["train"], held_out, strict=True) if out]
    column = {"distant": "distant", "gold": "ner_tags"}[cell.labels]
    train = Sentences(kept, column, names, cache)
    set_seed(cell.seed)
    model = head(names, train[0]["inputs_embeds"].shape[1])
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=128,
            learning_rate=RATE,
            warmup_steps=0.1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=cell.seed,
        )
        trainer = ByLength(
            model,
            args,
            train_dataset=train,
            eval_dataset={
                "distant": Sentences(given, "distant", names, cache),
                "test": Sentences(splits["test"], "ner_tags", names, cache),
            },
            data_collator=pad,
            method=make_method(cell.method, **ARGUMENTS.get(cell.method, {})),
            missing_rate=cell.missing_rate or None,
            compute_metrics=compute_metrics("entities", task=TOKENS, names=names),
        )
        trainer.train()
        found = trainer.evaluate()
    scores = {}
    for split in ("distant", "test"):
        for kind in ("f1", "precision", "recall"):
            scores[f"{split}_{kind}"] = round(found[f"eval_{split}_entity_{kind}"], 5)
    return {**vars(cell), **scores, "seconds": round(time.process_time() - start, 1)}


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.is_file() else []


def table() -> str:
    """Entity F1, and the share of the gap between distant and gold labels that is closed, mean over seeds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in stored():
        groups.setdefault((row["method"], row["labels"], row["missing_rate"]), []).append(row)
    low, high = (groups.get(("cross_entropy", labels, 0.0), []) for labels in ("distant", "gold"))
    lines = ["| training | seeds | F1, gold test labels | precision | recall | F1, held-out distant labels |"]
    lines += ["|---|---|---|---|---|---|"]
    for (method, labels, rate), rows in sorted(groups.items(), key=lambda item: -np.mean(_of(item[1], "test_f1"))):
        seeds = {row["seed"] for row in rows}
        value, before, after = (
            np.mean(_of([row for row in some if row["seed"] in seeds], "test_f1")) for some in (rows, low, high)
        )
        parts = [f"{method}, {labels} labels" + (f", missing_rate={rate}" if rate else ""), str(len(rows))]
        parts.append(f"{100 * value:.1f} ({100 * (value - before) / (after - before):.0f} %)")
        others = ("test_precision", "test_recall", "distant_f1")
        parts += [f"{100 * np.mean(_of(rows, name)):.1f}" for name in others]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


def _of(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default=os.environ.get("HF_NOISY_DATA_DIR"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", default="output/benchmark")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.table:
        print(table())
    else:
        torch.set_num_threads(1)
        splits, names = read(Path(options.data_dir))
        for cell in cells(options.seeds):
            if any(all(row[name] == value for name, value in vars(cell).items()) for row in stored()):
                continue
            row = run(cell, splits, names, Path(options.cache))
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row["method"], row["labels"], row["missing_rate"], row["seed"], row["test_f1"], row["seconds"])


if __name__ == "__main__":
    main()
