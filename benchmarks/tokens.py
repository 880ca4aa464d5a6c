"""Named entities with distant labels (wikigold_distant), MiniLM fine-tuned by every method: tokens.jsonl.

    python -m benchmarks.tokens --data_dir DATA            # all cells that are not in the result file yet
    python -m benchmarks.tokens --table                    # the table of what is there

The distant labels of a fifth of the training sentences are held out; they choose the method (and the share of missing
labels). Gold labels train only the reference, and score the test sentences.
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
from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainingArguments, set_seed
from transformers.utils import logging

from benchmarks.pools import minilm
from hf_noisy import NoisyTrainer
from hf_noisy.core.task import TOKENS
from hf_noisy.data.word_labels import tokenize_and_align_labels
from hf_noisy.methods import METHODS
from hf_noisy.metrics import compute_metrics

RESULTS = Path(__file__).parent / "results" / "tokens.jsonl"
NAME = "wikigold_distant"
REFUSED = ("dygen", "soft_correction")  # they estimate one label for a whole example
EPOCHS, BATCH, RATE, HELD_OUT = 5, 16, 1e-4, 5


@dataclass(frozen=True)
class Cell:
    """One training: a method, the labels that it trains on, the share of missing labels, a seed."""

    method: str
    labels: str  # "distant" or "gold"
    missing_rate: float
    seed: int


def cells(seeds: int) -> list[Cell]:
    """All trainings, the most informative ones of each seed first."""
    found = []
    for seed in range(seeds):
        found += [Cell("cross_entropy", labels, 0.0, seed) for labels in ("distant", "gold")]
        found += [Cell("cross_entropy", "distant", rate, seed) for rate in (0.3, 0.5)]
        others = [name for name in METHODS if name not in (*REFUSED, "cross_entropy")]
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


def encoded(rows: list[dict[str, Any]], column: str, names: list[str], tokenizer: Any) -> Dataset:
    ids = {name: index for index, name in enumerate(names)}
    tags = [[ids[tag] for tag in row[column]] for row in rows]
    table = {"tokens": [row["tokens"] for row in rows], "ner_tags": tags}
    options = {"tokenizer": tokenizer, "max_length": 128}
    dataset = Dataset.from_dict(table)
    return dataset.map(tokenize_and_align_labels, batched=True, fn_kwargs=options, remove_columns=dataset.column_names)


def run(cell: Cell, splits: dict[str, list[dict[str, Any]]], names: list[str]) -> dict[str, Any]:
    """Train a cell, and score it after every epoch on held-out distant labels and on the gold test labels."""
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    held_out = np.arange(len(splits["train"])) % HELD_OUT == HELD_OUT - 1
    kept = [row for row, out in zip(splits["train"], held_out, strict=True) if not out]
    given = [row for row, out in zip(splits["train"], held_out, strict=True) if out]
    column = {"distant": "distant", "gold": "ner_tags"}[cell.labels]
    set_seed(cell.seed)
    model = AutoModelForTokenClassification.from_pretrained(
        minilm(), num_labels=len(names), id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            learning_rate=RATE,
            warmup_steps=0.1,
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=cell.seed,
        )
        trainer = NoisyTrainer(
            model,
            args,
            train_dataset=encoded(kept, column, names, tokenizer),
            eval_dataset={
                "distant": encoded(given, "distant", names, tokenizer),
                "test": encoded(splits["test"], "ner_tags", names, tokenizer),
            },
            processing_class=tokenizer,
            method=cell.method,
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
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity_error()
    if not options.table:
        torch.set_num_threads(1)
        splits, names = read(Path(options.data_dir))
        for cell in cells(options.seeds):
            if any(all(row[name] == value for name, value in vars(cell).items()) for row in stored()):
                continue
            row = run(cell, splits, names)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row["method"], row["labels"], row["missing_rate"], row["seed"], row["test_f1"], row["seconds"])


if __name__ == "__main__":
    main()
