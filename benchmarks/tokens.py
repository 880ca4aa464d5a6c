"""Named entities with distant labels (wikigold_distant), MiniLM with a linear head or fine-tuned: tokens.jsonl.

    python -m benchmarks.tokens --data_dir DATA            # all cells that are not in the result file yet
    python -m benchmarks.tokens --table                    # the table of what is there

The frozen states of a word are those of its first token in layers 2, 4 and 6, and the shapes of the word and its
neighbours (the encoder knows no capitals). Weights are the qualities of `find_wrong_tokens` from held-out predictions
of the distant labels on these states; purified labels, with their weights, are those of `hf-noisy purify --policy
soft`. The distant labels of a fifth of the training sentences are held out; they choose a training, as they are or
purified. Gold labels train only the reference, and score the test sentences.
"""

import gzip
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForTokenClassification,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks import stored_cells
from benchmarks.pools import digest_of, minilm
from hf_noisy import NoisyTrainer
from hf_noisy.core.columns import LABEL_WEIGHT
from hf_noisy.core.task import TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.word_labels import tokenize_and_align_labels
from hf_noisy.detection import find_wrong_tokens
from hf_noisy.detection.list_predictions import out_of_fold_tags
from hf_noisy.detection.wrong_tokens import safe_tags
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
HELD_OUT, LAYERS = 5, (2, 4, 6)
BUDGETS: dict[bool, dict[str, Any]] = {  # of frozen states, and of fine-tuning
    False: {"num_train_epochs": 8, "learning_rate": 2e-3, "per_device_train_batch_size": 32},
    True: {"num_train_epochs": 4, "learning_rate": 3e-4, "per_device_train_batch_size": 16, "bf16": True},
}
ARGUMENTS: dict[str, dict[str, Any]] = {"nrd": {"teacher_view": None}}


@dataclass(frozen=True)
class Cell:
    """One training."""

    method: str
    labels: str  # "distant", "purified" or "gold"
    missing_rate: float
    weighted: bool  # each token by the quality of its label
    tuned: bool  # fine-tuned, or a linear head on frozen states
    seed: int


def cells(seeds: int) -> list[Cell]:
    """All trainings: those with and without weights for all seeds, and then the other methods with the first two."""
    found: list[Cell] = []
    for tuned in (False, True):
        for seed in range(seeds):
            found += [Cell("cross_entropy", labels, 0.0, False, tuned, seed) for labels in ("gold", "distant")]
            found += [Cell("cross_entropy", "distant", rate, True, tuned, seed) for rate in (0.3, 0.5, 0.0)]
            found += [Cell("cross_entropy", "distant", rate, False, tuned, seed) for rate in (0.3, 0.5)]
            found += [Cell("cross_entropy", "purified", 0.3, weighted, tuned, seed) for weighted in (True, False)]
    others = [name for name in METHODS if name not in LEFT_OUT | {"cross_entropy"}]
    others.sort(key=lambda name: getattr(METHODS[name], "num_branches", 1))  # two networks take twice as long
    for seed in range(min(seeds, 2)):
        found += [Cell(name, "distant", 0.0, False, False, seed) for name in others]
        found += [Cell(name, "distant", 0.3, False, False, seed) for name in ("gce", "elr", "coregularization")]
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
    """Sentences by length: the inputs, a label for each word, and its weight."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = sorted(items, key=lambda item: len(item["labels"]))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class Reader:
    """Makes the sentences of a split, frozen or as tokens."""

    def __init__(self, names: list[str], cache: Path, tuned: bool) -> None:
        self.names, self.cache, self.tuned = names, cache, tuned

    def __call__(self, rows: list[dict[str, Any]], column: str, weights: list[np.ndarray] | None = None) -> Sentences:
        labels = [[self.names.index(tag) for tag in row[column]] for row in rows]
        items = self._tokens(rows, labels, weights) if self.tuned else self._states(rows, labels, weights)
        return Sentences(items)

    def _states(self, rows: list[dict[str, Any]], labels: Any, weights: Any) -> list[dict[str, Any]]:
        states = frozen_states([row["tokens"] for row in rows], self.cache)
        items: list[dict[str, Any]] = [
            {"inputs_embeds": torch.from_numpy(vectors).float(), "labels": given[: len(vectors)]}
            for vectors, given in zip(states, labels, strict=True)
        ]
        for item, weight in zip(items, weights or [], strict=False):
            item[LABEL_WEIGHT] = weight.tolist()
        return items

    def _tokens(self, rows: list[dict[str, Any]], labels: Any, weights: Any) -> list[dict[str, Any]]:
        columns = {"tokens": [row["tokens"] for row in rows], "ner_tags": labels}
        encoded = tokenize_and_align_labels(columns, AutoTokenizer.from_pretrained(minilm()), max_length=256)
        items = [
            {"input_ids": torch.tensor(ids), "labels": encoded["labels"][row]}
            for row, ids in enumerate(encoded["input_ids"])
        ]
        for item, weight in zip(items, weights or [], strict=False):
            placed = np.ones(len(item["labels"]))
            placed[np.array(item["labels"]) != NO_LABEL] = weight
            item[LABEL_WEIGHT] = placed.tolist()
        return items


class DistantLabels:
    """The distant labels of sentences, and what held-out predictions say of them."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str], cache: Path) -> None:
        self.names, self.cache, self.states = names, cache, frozen_states([row["tokens"] for row in rows], cache)
        self.sizes = [len(one) for one in self.states]
        pairs = list(zip(rows, self.sizes, strict=True))
        self.labels = [[names.index(tag) for tag in row["distant"]][:size] for row, size in pairs]
        self.words = [row["tokens"][:size] for row, size in pairs]

    def held_out(self) -> np.ndarray:
        """Probabilities of the labels of all words, from other sentences; cached in a file."""
        flat = np.concatenate(self.labels)
        path = self.cache / f"{NAME}-predicted-{digest_of(np.array(self.sizes), flat)}.npy"
        if not path.is_file():
            rows_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
            vectors = np.concatenate(self.states).astype(np.float32)
            np.save(path, out_of_fold_tags(vectors, flat, rows_of, len(self.names)))
        return np.asarray(np.load(path))

    def qualities(self) -> list[np.ndarray]:
        """The quality of the label of each word."""
        issues = find_wrong_tokens(self.labels, self.held_out(), words=self.words, names=self.names)
        return np.split(issues.quality, np.cumsum(self.sizes)[:-1])

    def purified(self) -> tuple[list[list[int]], list[np.ndarray]]:
        """The labels and the weights of `hf-noisy purify --policy soft`."""
        found = self.held_out()
        issues = find_wrong_tokens(self.labels, found, words=self.words, names=self.names)
        safe = safe_tags(self.labels, found, self.words, self.names)
        changed = safe.correctable & issues.is_wrong & (issues.quality <= 0.5)
        new = np.where(changed, issues.suggested, np.concatenate(self.labels))
        weights = np.where(changed, 1 - issues.quality, safe.quality)
        ends = np.cumsum(self.sizes)[:-1]
        return [one.tolist() for one in np.split(new, ends)], np.split(weights, ends)


class ByLength(NoisyTrainer):
    """Sentences of about the same length in one batch."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        lengths = [len(item["labels"]) for item in self.train_dataset.items]
        generator = torch.Generator().manual_seed(self.args.seed)
        return LengthGroupedSampler(self.args.train_batch_size, lengths=lengths, generator=generator)


def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    labels = [torch.tensor(row["labels"]) for row in rows]
    name = "input_ids" if "input_ids" in rows[0] else "inputs_embeds"
    return {
        name: pad_sequence([row[name] for row in rows], batch_first=True),
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


def encoder(names: list[str]) -> Any:
    """MiniLM with a new head, to be fine-tuned."""
    ids = {name: index for index, name in enumerate(names)}
    labels = {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": ids}
    return AutoModelForTokenClassification.from_pretrained(minilm(), **labels)


def run(cell: Cell, splits: dict[str, list[dict[str, Any]]], names: list[str], cache: Path) -> dict[str, Any]:
    """Train a cell, and score it on held-out distant labels and on the gold test labels."""
    held_out = np.arange(len(splits["train"])) % HELD_OUT == HELD_OUT - 1
    kept = [row for row, out in zip(splits["train"], held_out, strict=True) if not out]
    given = [row for row, out in zip(splits["train"], held_out, strict=True) if out]
    every = with_purified(splits["train"], names, cache)
    reader = Reader(names, cache, cell.tuned)
    tests = {
        "distant": reader(given, "distant"),
        "purified": reader([row for row, out in zip(every, held_out, strict=True) if out], "purified"),
        "test": reader(splits["test"], "ner_tags"),
    }
    if cell.labels == "purified":
        kept = with_purified(kept, names, cache)
    weights = None
    if cell.weighted:
        distant = DistantLabels(kept, names, cache)
        weights = distant.purified()[1] if cell.labels == "purified" else distant.qualities()
    train = reader(kept, {"gold": "ner_tags"}.get(cell.labels, cell.labels), weights)
    set_seed(cell.seed)
    model = encoder(names) if cell.tuned else head(names, train[0]["inputs_embeds"].shape[1])
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            per_device_eval_batch_size=128,
            warmup_steps=0.1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=cell.seed,
            **BUDGETS[cell.tuned],
        )
        trainer = ByLength(
            model,
            args,
            train_dataset=train,
            eval_dataset=tests,
            data_collator=pad,
            method=make_method(cell.method, **ARGUMENTS.get(cell.method, {})),
            missing_rate=cell.missing_rate or None,
            compute_metrics=compute_metrics("entities", task=TOKENS, names=names),
        )
        trainer.train()
        found = trainer.evaluate()
    scores = {}
    for split in tests:
        for kind in ("f1", "precision", "recall"):
            scores[f"{split}_{kind}"] = round(found[f"eval_{split}_entity_{kind}"], 5)
    return {**vars(cell), **scores, "seconds": round(time.process_time() - start, 1)}


def with_purified(rows: list[dict[str, Any]], names: list[str], cache: Path) -> list[dict[str, Any]]:
    """The rows with a column `purified`; words that truncation cuts off, which are in no item, get `O`."""
    found = []
    for row, labels in zip(rows, DistantLabels(rows, names, cache).purified()[0], strict=True):
        tags = [names[label] for label in labels]
        found.append({**row, "purified": tags + ["O"] * (len(row["tokens"]) - len(tags))})
    return found


def prepare(data_dir: Path, cache: Path) -> Callable[[Cell], dict[str, Any]]:
    """What runs a cell."""
    splits, names = read(data_dir)
    return lambda cell: run(cell, splits, names, cache)


def table(only: str | None = None) -> str:
    """Entity F1, and the share of the gap between distant and gold labels that is closed, mean over seeds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in stored_cells.stored(RESULTS):
        if only not in (None, row["method"]):
            continue
        key = row["tuned"], row["method"], row["labels"], row["weighted"], row["missing_rate"]
        groups.setdefault(key, []).append(row)
    lines = [
        "| training | seeds | F1, gold test labels | precision | recall | F1, held-out distant labels | purified |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for key, rows in sorted(groups.items(), key=lambda item: (-item[0][0], -np.mean(_of(item[1], "test_f1")))):
        tuned, method, labels, weighted, rate = key
        low, high = (groups.get((tuned, "cross_entropy", name, False, 0.0), []) for name in ("distant", "gold"))
        seeds = {row["seed"] for row in rows}
        same = [_of([row for row in some if row["seed"] in seeds], "test_f1") for some in (rows, low, high)]
        name = f"{method}, {labels} labels{', weights' if weighted else ''}" + (
            f", missing_rate={rate}" if rate else ""
        )
        parts = [f"fine-tuned: {name}" if tuned else name, str(len(rows))]
        parts.append(f"{100 * np.mean(same[0]):.1f}")
        if all(same):  # the gap is known only with both references
            value, before, after = map(np.mean, same)
            parts[-1] += f" ({100 * (value - before) / (after - before):.0f} %)"
        others = ("test_precision", "test_recall", "distant_f1")
        parts += [f"{100 * np.mean(_of(rows, other)):.1f}" for other in others]
        scored = [row for row in rows if "purified_f1" in row]
        parts.append(f"{100 * np.mean(_of(scored, 'purified_f1')):.1f}" if scored else "")
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


def _of(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows]


if __name__ == "__main__":
    stored_cells.main(RESULTS, cells, prepare, table)
