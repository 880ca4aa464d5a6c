"""Several labels per text, some of them missing, on frozen MiniLM features: many_labels.jsonl.

    python -m benchmarks.many_labels --data_dir DATA       # all cells that are not in the result file yet
    python -m benchmarks.many_labels --table               # the table of what is there

redocred: which relations a document states; the given labels are those of DocRED, without about half of the true ones.
goemotions: emotions of comments, of which 40 % are removed at random. The rate of missing labels, and its upper end,
are estimated from held-out predictions of the training labels. Micro F1 on the true test labels at a threshold of 0.5,
at the best one of the validation labels as given, with and without the estimated rate, and at that of the true ones.
"""

import gzip
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from transformers import AutoModel, AutoTokenizer, TrainingArguments, set_seed

from benchmarks import stored_cells
from benchmarks.pools import minilm
from benchmarks.tasks import FeatureClassifier, FeatureConfig
from hf_noisy import NoisyTrainer
from hf_noisy.detection import NoiseRate, estimate_missing_rate
from hf_noisy.detection.list_predictions import out_of_fold_cells
from hf_noisy.methods import METHODS, make_method
from hf_noisy.metrics import best_threshold, multi_label_scores

RESULTS = Path(__file__).parent / "results" / "many_labels.jsonl"
MOST_ROWS, REMOVED, TOKENS = 6000, 0.4, 256
EPOCHS, BATCH = {"redocred": 40, "goemotions": 12}, {"redocred": 32, "goemotions": 64}
COLUMNS = {"given": "noisy_labels", "true": "labels"}
MISSING = ("none", "rate", "high")  # of the estimate
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
    """One training: a method, the labels that it trains on, the missing rate that it is passed, a seed."""

    dataset: str
    method: str
    labels: str  # "given" or "true"
    missing: str  # one of MISSING
    seed: int


def cells(seeds: int) -> list[Cell]:
    """All trainings: with and without the estimate for every seed, and then the other methods with the first one."""
    found = []
    for seed in range(seeds):
        for data in EPOCHS:
            for labels in ("true", "given"):
                found += [Cell(data, "cross_entropy", labels, missing, seed) for missing in MISSING]
    others = sorted(METHODS.keys() - LEFT_OUT - {"cross_entropy"})
    others.sort(key=lambda name: getattr(METHODS[name], "num_branches", 1))
    found += [Cell(data, name, "given", "none", 0) for name in others for data in EPOCHS]
    return found + [Cell(data, name, "given", "high", 0) for name in ("elr", "coregularization") for data in EPOCHS]


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


def run(cell: Cell, data: dict[str, np.ndarray], rate: NoiseRate) -> dict[str, Any]:
    """Train a cell and score it."""
    column = COLUMNS[cell.labels]
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
            missing_rate=None if cell.missing == "none" else getattr(rate, cell.missing),
        )
        trainer.train()
        found = {
            split: expit(trainer.predict(Texts(data[split], data[f"{split}_labels"])).predictions)
            for split in ("validation", "test")
        }
    given, true = data[f"validation_{column}"], data["validation_labels"]
    scores = {
        "test": multi_label_scores(data["test_labels"], found["test"])["micro_f1"],
        "validation_given": multi_label_scores(given, found["validation"])["micro_f1"],
        "validation_true": multi_label_scores(true, found["validation"])["micro_f1"],
    }
    corrected = 0.0 if cell.missing == "none" else rate.rate
    for name, labels, missing_rate in (("given", given, 0.0), ("estimate", given, corrected), ("true", true, 0.0)):
        threshold = best_threshold(labels, found["validation"], missing_rate)
        scores[f"test_at_{name}"] = multi_label_scores(data["test_labels"], found["test"], threshold)["micro_f1"]
    rounded = {name: round(value, 5) for name, value in scores.items()}
    estimate = [round(one, 4) for one in rate]
    return {**vars(cell), "estimate": estimate, **rounded, "seconds": round(time.process_time() - start, 1)}


def prepare(data_dir: Path, cache: Path) -> Callable[[Cell], dict[str, Any]]:
    """What runs a cell, with the data of both sets."""
    data = {name: load(name, data_dir, cache) for name in EPOCHS}

    @remembered
    def rate(name: str, labels: str) -> NoiseRate:
        given = data[name][f"train_{COLUMNS[labels]}"]
        return estimate_missing_rate(given, out_of_fold_cells(data[name]["train"], given.astype(bool)))

    return lambda cell: run(cell, data[cell.dataset], rate(cell.dataset, cell.labels))


def table() -> str:
    """Micro F1 and the share of the gap between given and true labels that is closed, mean over seeds."""
    names = {"none": "", "rate": ", estimated missing rate", "high": ", its upper end"}
    measures = ("test", "test_at_given", "test_at_estimate", "test_at_true")
    lines = []
    for data in EPOCHS:
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for row in stored_cells.stored(RESULTS):
            if row["dataset"] == data:
                groups.setdefault((row["labels"], row["method"], row["missing"]), []).append(row)
        low, high = (groups.get((labels, "cross_entropy", "none"), []) for labels in ("given", "true"))
        lines += [
            f"\n{data}\n",
            "| training | seeds | at 0.5 | at the best given threshold | with the estimate | at the best true one |",
        ]
        lines += ["|---|---|---|---|---|---|"]
        for (labels, method, missing), rows in groups.items():
            parts = [f"{method}, {labels} labels{names[missing]}", str(len(rows))]
            for measure in measures:
                seeds = {row["seed"] for row in rows}
                value, before, after = (
                    np.mean([row[measure] for row in some if row["seed"] in seeds]) for some in (rows, low, high)
                )
                parts.append(f"{100 * value:.1f} ({100 * (value - before) / (after - before):.0f} %)")
            lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    stored_cells.main(RESULTS, cells, prepare, table)
