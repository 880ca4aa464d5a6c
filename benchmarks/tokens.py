"""Named entities with distant labels (wikigold_distant), MiniLM's last layers trained by every method: tokens.jsonl.

    python -m benchmarks.tokens --data_dir DATA            # all cells that are not in the result file yet
    python -m benchmarks.tokens --table                    # the table of what is there

The layers below are frozen and computed once; `layers` are trained (0: only a linear head on the last states). The
distant labels of a fifth of the training sentences are held out; they choose the method. Gold labels train only the
reference, and score the test sentences.
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
from transformers.utils import logging

from benchmarks.pools import digest_of, minilm
from hf_noisy import NoisyTrainer
from hf_noisy.core.task import TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.methods import METHODS, make_method
from hf_noisy.metrics import compute_metrics

RESULTS = Path(__file__).parent / "results" / "tokens.jsonl"
NAME = "wikigold_distant"
# The first two estimate one label for a whole example; gjs needs a second view of the frozen states.
LEFT_OUT = ("dygen", "soft_correction", "gjs")
BATCH, HELD_OUT = 32, 5
EPOCHS, RATE = {0: 15, 1: 6}, {0: 5e-3, 1: 3e-4}  # by the number of trained layers
ARGUMENTS: dict[str, dict[str, Any]] = {"nrd": {"teacher_view": None}}


@dataclass(frozen=True)
class Cell:
    """One training: a method, the labels that it trains on, the share of missing labels, a seed."""

    method: str
    labels: str  # "distant" or "gold"
    missing_rate: float
    seed: int
    layers: int


def cells(seeds: int, layers: int) -> list[Cell]:
    """All trainings, the most informative ones of each seed first."""
    found: list[Cell] = []
    for seed in range(seeds):
        found += [Cell("cross_entropy", labels, 0.0, seed, layers) for labels in ("distant", "gold")]
        found += [Cell("cross_entropy", "distant", rate, seed, layers) for rate in (0.3, 0.5)]
        others = [name for name in METHODS if name not in (*LEFT_OUT, "cross_entropy")]
        found += [Cell(name, "distant", 0.0, seed, layers) for name in others]
        found += [Cell(name, "distant", 0.3, seed, layers) for name in ("gce", "elr", "coregularization")]
    return found


def read(data_dir: Path) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    folder = data_dir / NAME
    names = json.loads((folder / "labels.json").read_text("utf-8"))["classes"]
    splits = {}
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            splits[split] = [json.loads(line) for line in lines]
    return splits, names


def frozen_states(sentences: list[list[str]], layers: int, cache: Path) -> tuple[list[np.ndarray], list[list[int]]]:
    """The states `[tokens, width]` of each sentence below the trained layers, and the word of each token (or -1)."""
    path = cache / f"{NAME}-{digest_of(np.array([' '.join(words) for words in sentences]))}-{layers}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
        states, words = [], []
        for sentence in sentences:
            batch = tokenizer(sentence, is_split_into_words=True, truncation=True, max_length=128, return_tensors="pt")
            with torch.no_grad():
                hidden = model(**batch, output_hidden_states=True).hidden_states
            states.append(hidden[len(hidden) - 1 - layers][0].numpy().astype(np.float16))
            words.append([-1 if word is None else word for word in batch.word_ids(0)])
        np.savez(path, states=np.concatenate(states), words=np.concatenate(words), sizes=[len(one) for one in words])
    stored = np.load(path)
    ends = np.cumsum(stored["sizes"])[:-1]
    return np.split(stored["states"], ends), [one.tolist() for one in np.split(stored["words"], ends)]


class Sentences:
    """The data of one split: frozen states, and one label for the first token of each word."""

    def __init__(self, rows: list[dict[str, Any]], column: str, names: list[str], layers: int, cache: Path) -> None:
        states, words = frozen_states([row["tokens"] for row in rows], layers, cache)
        self.items = []
        for row, vectors, places in zip(rows, states, words, strict=True):
            first = [place != before for place, before in zip(places, [None, *places[:-1]], strict=True)]
            labels = [
                names.index(row[column][place]) if place >= 0 and is_first else NO_LABEL
                for place, is_first in zip(places, first, strict=True)
            ]
            self.items.append({"inputs_embeds": vectors, "labels": labels})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    states = [torch.from_numpy(row["inputs_embeds"]).float() for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    return {
        "inputs_embeds": pad_sequence(states, batch_first=True),
        "attention_mask": pad_sequence([torch.ones(len(one)) for one in labels], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=NO_LABEL),
    }


def last_layers(layers: int, names: list[str]) -> BertForTokenClassification:
    """The last layers of MiniLM with a new head; their inputs are the states below."""
    ids = {name: index for index, name in enumerate(names)}
    config = AutoConfig.from_pretrained(minilm(), num_labels=len(names), id2label=dict(enumerate(names)), label2id=ids)
    config.num_hidden_layers, config.vocab_size = layers, 1
    model, whole = BertForTokenClassification(config), AutoModel.from_pretrained(minilm())
    model.name_or_path = minilm()  # pretrained: branches copy it
    embeddings = model.bert.embeddings
    for part in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        torch.nn.init.zeros_(part.weight)  # the states know the positions already
    embeddings.requires_grad_(False)
    for place in range(layers):
        model.bert.encoder.layer[place].load_state_dict(whole.encoder.layer[place - layers].state_dict())
    return model


def run(cell: Cell, splits: dict[str, list[dict[str, Any]]], names: list[str], cache: Path) -> dict[str, Any]:
    """Train a cell, and score it after every epoch on held-out distant labels and on the gold test labels."""
    held_out = np.arange(len(splits["train"])) % HELD_OUT == HELD_OUT - 1
    kept = [row for row, out in zip(splits["train"], held_out, strict=True) if not out]
    given = [row for row, out in zip(splits["train"], held_out, strict=True) if out]
    column = {"distant": "distant", "gold": "ner_tags"}[cell.labels]
    set_seed(cell.seed)
    model = last_layers(cell.layers, names)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS[cell.layers],
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=128,
            learning_rate=RATE[cell.layers],
            warmup_steps=0.1,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=cell.seed,
        )
        trainer = NoisyTrainer(
            model,
            args,
            train_dataset=Sentences(kept, column, names, cell.layers, cache),
            eval_dataset={
                "distant": Sentences(given, "distant", names, cell.layers, cache),
                "test": Sentences(splits["test"], "ner_tags", names, cell.layers, cache),
            },
            data_collator=pad,
            method=make_method(cell.method, **ARGUMENTS.get(cell.method, {})),
            missing_rate=cell.missing_rate or None,
            compute_metrics=compute_metrics("entities", task=TOKENS, names=names),
        )
        trainer.train()
    scores: dict[str, list[float]] = {}
    for split in ("distant", "test"):
        for kind in ("f1", "precision", "recall"):
            key = f"eval_{split}_entity_{kind}"
            scores[f"{split}_{kind}"] = [round(log[key], 5) for log in trainer.state.log_history if key in log]
    return {**vars(cell), **scores, "seconds": round(time.perf_counter() - start, 1)}


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default=os.environ.get("HF_NOISY_DATA_DIR"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--cache", default="work")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity_error()
    if not options.table:
        torch.set_num_threads(1)
        splits, names = read(Path(options.data_dir))
        for cell in cells(options.seeds, options.layers):
            if any(all(row[name] == value for name, value in vars(cell).items()) for row in stored()):
                continue
            row = run(cell, splits, names, Path(options.cache))
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row["method"], row["labels"], row["missing_rate"], row["seed"], row["test_f1"], row["seconds"])


if __name__ == "__main__":
    main()
