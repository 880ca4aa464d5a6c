"""Several labels per text, some of them missing: frozen MiniLM features, every method: many_labels.jsonl.

    python -m benchmarks.many_labels --data_dir DATA       # all cells that are not in the result file yet
    python -m benchmarks.many_labels --table               # the table of what is there

redocred: which relations a document states; the given labels are those of DocRED, without about half of the true ones.
goemotions: emotions of comments, of which 40 % are removed at random. Micro F1 on the true test labels at a threshold
of 0.5, and at the best one of validation labels, given or true.
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
from scipy.special import expit
from transformers import AutoModel, AutoTokenizer, TrainingArguments, set_seed
from transformers.utils import logging

from benchmarks.pools import minilm
from benchmarks.tasks import FeatureClassifier, FeatureConfig
from hf_noisy import NoisyTrainer
from hf_noisy.methods import METHODS, make_method
from hf_noisy.metrics import best_threshold, multi_label_scores

RESULTS = Path(__file__).parent / "results" / "many_labels.jsonl"
MOST_ROWS, REMOVED, TOKENS = 6000, 0.4, 256
EPOCHS, BATCH = {"redocred": 40, "goemotions": 12}, {"redocred": 32, "goemotions": 64}
RATES = (0.3, 0.5, 0.6)
# Those of one label for an example, with a second view of the features, or of normalised logits.
LEFT_OUT = {
    "gjs",
    "soft_correction",
    "sr",
    *(name for name, method in METHODS.items() if getattr(method, "one_label_only", False)),
}
ARGUMENTS: dict[str, dict[str, Any]] = {"nrd": {"teacher_view": None}, "nlnl": {"complementary_labels": 1}}


@dataclass(frozen=True)
class Cell:
    """One training: a method, the labels that it trains on, the share of missing labels, a seed."""

    dataset: str
    method: str
    labels: str  # "given" or "true"
    missing_rate: float
    seed: int


def cells(seeds: int) -> list[Cell]:
    """All trainings: the rates of missing labels with every seed, and then the other methods with the first one."""
    found = []
    for seed in range(seeds):
        for data in EPOCHS:
            found += [Cell(data, "cross_entropy", "true", 0.0, seed), Cell(data, "cross_entropy", "given", 0.0, seed)]
            found += [Cell(data, "cross_entropy", "given", rate, seed) for rate in RATES]
    others = sorted(METHODS.keys() - LEFT_OUT - {"cross_entropy"})
    others.sort(key=lambda name: getattr(METHODS[name], "num_branches", 1))
    found += [Cell(data, name, "given", 0.0, 0) for name in others for data in EPOCHS]
    both = [Cell(data, name, "given", 0.5, 0) for name in ("elr", "gce", "coregularization") for data in EPOCHS]
    return found + both


def features(texts: list[str]) -> np.ndarray:
    """The mean of the last hidden states of each text."""
    tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
    order, found = np.argsort([len(text) for text in texts]), np.zeros((len(texts), 384), np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        options = {"padding": True, "truncation": True, "max_length": TOKENS, "return_tensors": "pt"}
        batch = tokenizer([texts[row] for row in rows], **options)
        with torch.no_grad():
            hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        found[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return found


def load(name: str, data_dir: Path, cache: Path) -> dict[str, np.ndarray]:
    """Features and label tables of all splits, `train`, `train_labels` and `train_noisy_labels`, cached in a file."""
    path = cache / f"{name}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        classes = len(json.loads((data_dir / name / "labels.json").read_text("utf-8"))["classes"])
        arrays = {}
        for split in ("train", "validation", "test"):
            with gzip.open(data_dir / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines][:MOST_ROWS]
            arrays[split] = features([row["text"] for row in rows])
            for column in ("labels", "noisy_labels"):
                if column in rows[0]:
                    table = np.zeros((len(rows), classes), np.int8)
                    for row, given in enumerate(rows):
                        table[row, given[column]] = 1
                    arrays[f"{split}_{column}"] = table
        np.savez(path, **arrays)
    stored = dict(np.load(path).items())
    if "train_noisy_labels" not in stored:
        draw = np.random.default_rng(0)
        for split in ("train", "validation"):
            kept = draw.random(stored[f"{split}_labels"].shape) >= REMOVED
            stored[f"{split}_noisy_labels"] = stored[f"{split}_labels"] * kept.astype(np.int8)
    mean, deviation = stored["train"].mean(0), stored["train"].std(0) + 1e-6
    for split in ("train", "validation", "test"):
        stored[split] = (stored[split] - mean) / deviation
    return stored


class Texts(torch.utils.data.Dataset):
    """Features and tables of labels as tensors."""

    def __init__(self, vectors: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = torch.from_numpy(vectors)[:, :, None, None], torch.from_numpy(labels).float()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels[index], "labels": self.labels[index]}


def run(cell: Cell, data: dict[str, np.ndarray]) -> dict[str, Any]:
    """Train a cell and score it."""
    column = {"given": "noisy_labels", "true": "labels"}[cell.labels]
    start = time.process_time()
    set_seed(cell.seed)
    settings = {"num_labels": data["train_labels"].shape[1], "problem_type": "multi_label_classification"}
    model = FeatureClassifier(FeatureConfig(384, **settings))
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS[cell.dataset],
            per_device_train_batch_size=BATCH[cell.dataset],
            per_device_eval_batch_size=512,
            learning_rate=1e-3,
            save_strategy="no",
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=cell.seed,
        )
        method = make_method(cell.method, **ARGUMENTS.get(cell.method, {}))
        trainer = NoisyTrainer(
            model,
            args,
            train_dataset=Texts(data["train"], data[f"train_{column}"]),
            method=method,
            missing_rate=cell.missing_rate or None,
        )
        trainer.train()
        found = {
            split: expit(trainer.predict(Texts(data[split], data[f"{split}_labels"])).predictions)
            for split in ("validation", "test")
        }
    given, true = data["validation_noisy_labels"], data["validation_labels"]
    scores = {
        "test": multi_label_scores(data["test_labels"], found["test"])["micro_f1"],
        "validation_given": multi_label_scores(given, found["validation"])["micro_f1"],
        "validation_true": multi_label_scores(true, found["validation"])["micro_f1"],
    }
    for name, labels in (("given", given), ("true", true)):
        threshold = best_threshold(labels, found["validation"])
        scores[f"test_at_{name}"] = multi_label_scores(data["test_labels"], found["test"], threshold)["micro_f1"]
        scores[f"validation_at_{name}"] = multi_label_scores(labels, found["validation"], threshold)["micro_f1"]
    rounded = {name: round(value, 5) for name, value in scores.items()}
    return {**vars(cell), **rounded, "seconds": round(time.process_time() - start, 1)}


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.is_file() else []


def table() -> str:
    """Micro F1 and the share of the gap between given and true labels that is closed, mean over seeds."""
    measures = ("test", "test_at_given", "test_at_true")
    lines = []
    for data in EPOCHS:
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in stored():
            if row["dataset"] == data:
                groups.setdefault((row["method"], row["labels"], row["missing_rate"]), []).append(row)
        low, high = (groups.get(("cross_entropy", labels, 0.0), []) for labels in ("given", "true"))
        lines += [
            f"\n{data}\n",
            "| training | seeds | F1 at 0.5 | at the best given threshold | at the best true one |",
        ]
        lines += ["|---|---|---|---|---|"]
        for (method, labels, rate), rows in sorted(groups.items(), key=lambda item: str(item[0])):
            parts = [f"{method}, {labels} labels" + (f", missing_rate={rate}" if rate else ""), str(len(rows))]
            for measure in measures:
                seeds = {row["seed"] for row in rows}
                value, before, after = (
                    np.mean([row[measure] for row in some if row["seed"] in seeds]) for some in (rows, low, high)
                )
                parts.append(f"{100 * value:.1f} ({100 * (value - before) / (after - before):.0f} %)")
            lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


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
        return
    torch.set_num_threads(1)
    data = {name: load(name, Path(options.data_dir), Path(options.cache)) for name in EPOCHS}
    for cell in cells(options.seeds):
        if any(all(row[name] == value for name, value in vars(cell).items()) for row in stored()):
            continue
        row = run(cell, data[cell.dataset])
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            {name: row[name] for name in (*vars(cell), "test", "test_at_given", "test_at_true", "seconds")}, flush=True
        )


if __name__ == "__main__":
    main()
