"""Accuracy, size and latency of the two ways to serve DyGEN: serving.json.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.serving

Stage I with full branches and with adapters, and a plain classifier with the same budget. Both kinds of model are
saved, loaded, run on the recorded test rows and compared with the posterior of training. Times are CPU time of
batched forward passes, all models in turn: medians over the turns, and of the ratios within a turn. Finished cells
are kept, so a second call resumes.
"""

import json
import shutil
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.cost import harness
from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.reports import score_stages
from hf_noisy.training.distill import distill

COLUMNS = ["input_ids", "attention_mask"]
KINDS = {"full branches": "full", "adapters": "lora"}
FOLDERS = {
    "plain": "plain",
    "branches": "stage1/branches",
    "exact": "exact",
    "exact, half": "exact-half",
    "distilled": "distilled",
}


@dataclass
class Arguments(harness.Arguments):
    dataset: str = harness.option("noisyag_news", "named dataset of texts with true labels")
    seeds: list[int] = harness.option([0], "one cell per seed and kind of branches")
    train_rows: int = harness.option(500, "drawn by seed")
    test_rows: int = harness.option(300, "drawn by seed")
    max_length: int = harness.option(32, "tokens a text")
    epochs: int = harness.option(4, "of every training")
    learning_rate: float = harness.option(2e-4, "for full fine-tuning")
    lora_learning_rate: float = harness.option(1e-3, "of adapters")
    batch_size: int = harness.option(32, "rows per timed forward pass")
    turns: int = harness.option(7, "timed turns, after a warm-up")


def megabytes(folder: Path) -> float:
    """Size of a saved model without its tokenizer, which is the same for all."""
    names = ("*.safetensors", "config.json")
    return sum(path.stat().st_size for name in names for path in folder.glob(name)) / 1e6


class Cell:
    """The models of one kind of branches and one seed: trained, saved and loaded."""

    def __init__(self, kind: str, seed: int, arguments: Arguments, folder: Path) -> None:
        self.kind, self.seed, self.arguments, self.folder = kind, seed, arguments, folder
        self.tokenizer = harness.tokenizer()
        data, random = load_noisy_dataset(arguments.dataset), np.random.default_rng(seed)

        def prepare(split: str, count: int) -> Dataset:
            rows = data[split].select(np.sort(random.permutation(len(data[split]))[:count]))
            tokenize = partial(self.tokenizer, truncation=True, max_length=arguments.max_length)
            return rows.map(lambda batch: tokenize(batch["text"]), batched=True)

        self.train, self.test = prepare("train", arguments.train_rows), prepare("test", arguments.test_rows)
        self.given = np.array(self.train["label"])

    def args(self, name: str, learning_rate: float) -> TrainingArguments:
        return harness.training_arguments(
            self.folder / name,
            num_train_epochs=self.arguments.epochs,
            learning_rate=learning_rate,
            seed=self.seed,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            use_cpu=True,
        )

    def pretrained(self) -> torch.nn.Module:
        set_seed(self.seed)
        return harness.classifier(self.train.features["label"].num_classes)

    @cached_property
    def plain(self) -> torch.nn.Module:
        args = self.args("plain", self.arguments.learning_rate)
        trainer = NoisyTrainer(self.pretrained(), args, train_dataset=self.train, processing_class=self.tokenizer)
        trainer.train()
        trainer.save_model()
        return trainer.model.eval()

    @cached_property
    def trained(self) -> tuple[torch.nn.Module, DyGen, EpochSnapshots]:
        """Stage I, and stage II on what it recorded."""
        recorder, snapshots = DynamicsRecorder({"train": self.train, "test": self.test}), EpochSnapshots()
        lora = self.kind == "lora"
        trainer = NoisyTrainer(
            BranchedModel.from_model(self.pretrained(), 2, seed=self.seed, lora={} if lora else None),
            self.args("stage1", self.arguments.lora_learning_rate if lora else self.arguments.learning_rate),
            train_dataset=self.train,
            processing_class=self.tokenizer,
            method=CoRegularization(agreement_weight=5.0),
            callbacks=[recorder, snapshots],
        )
        trainer.train()
        trainer.save_model()
        dygen = DyGen.fit(recorder.trajectories, self.given, seed=self.seed, show_progress=False)
        return trainer.model.eval(), dygen, snapshots

    @cached_property
    def exact(self) -> DyGenForClassification:
        stage1, dygen, snapshots = self.trained
        DyGenForClassification.from_training(dygen, stage1, snapshots.path).save_pretrained(self.folder / "exact")
        return DyGenForClassification.from_pretrained(self.folder / "exact")

    @cached_property
    def half(self) -> DyGenForClassification:
        saved = DyGenForClassification.from_pretrained(self.folder / "exact").half()
        saved.save_pretrained(self.folder / "exact-half")
        return DyGenForClassification.from_pretrained(self.folder / "exact-half", dtype=torch.float32)

    @cached_property
    def distilled(self) -> torch.nn.Module:
        args = self.args("distilled", self.arguments.learning_rate)
        distill(self.trained[1], self.pretrained(), self.train, args, self.tokenizer)
        return AutoModelForSequenceClassification.from_pretrained(self.folder / "distilled")

    def predict(self, model: torch.nn.Module) -> np.ndarray:
        trainer = Trainer(model, self.args("predict", 0.0), processing_class=self.tokenizer)
        return softmax(trainer.predict(self.test.select_columns(COLUMNS)).predictions.astype(np.float64), axis=-1)

    def milliseconds(self, models: dict[str, torch.nn.Module]) -> dict[str, dict[str, float]]:
        """CPU time per row of every model, and its ratio to the plain one."""
        size = self.arguments.batch_size
        picked = self.test.select_columns(COLUMNS).select(range(min(len(self.test), 2 * size)))
        collate = DataCollatorWithPadding(self.tokenizer)
        starts = range(0, len(picked), size)
        batches = [collate(picked.select(range(i, min(i + size, len(picked)))).to_list()) for i in starts]

        @torch.no_grad()
        def forward(model: torch.nn.Module) -> None:
            for batch in batches:
                model(**batch)

        runs = harness.in_turn({name: partial(forward, model) for name, model in models.items()}, self.arguments.turns)
        return {
            name: {"ms": 1e3 * harness.median(runs, name) / len(picked), "ratio": harness.ratio(runs, name, "plain")}
            for name in models
        }

    def measured(self) -> dict:
        begin = time.perf_counter()
        stage1, dygen, snapshots = self.trained
        seconds = {name: harness.clocked(lambda name=name: getattr(self, name)) for name in ("exact", "distilled")}
        predictions = {
            "plain": self.predict(self.plain),
            "branches": self.predict(stage1),
            "in training": dygen.posterior("test"),
            "exact": self.exact.predict(self.test, self.tokenizer, show_progress=False),
            "exact, half": self.half.predict(self.test, self.tokenizer, show_progress=False),
            "distilled": self.predict(self.distilled),
        }
        # Only here are true labels read.
        scores = score_stages(np.array(self.test["clean_label"]), predictions)
        models = {"plain": self.plain, "branches": stage1, "exact": self.exact, "distilled": self.distilled}
        times, of_training = self.milliseconds(models), predictions["in training"]
        rows = {
            name: {
                **scores[name],
                "megabytes": megabytes(self.folder / FOLDERS[name]) if name in FOLDERS else None,
                "largest_difference": float(np.abs(predictions[name] - of_training).max()),
                "same_class": float((predictions[name].argmax(1) == of_training.argmax(1)).mean()),
                **times.get(name, {}),
            }
            for name in predictions
        }
        wall = {name: spent["wall"] for name, spent in seconds.items()}
        return {
            "rows": rows,
            "noise_rate": float((self.given != np.array(self.train["clean_label"])).mean()),
            "snapshots_megabytes": sum(path.stat().st_size for path in snapshots.path.iterdir()) / 1e6,
            "seconds": wall | {"cell": time.perf_counter() - begin},
        }


def cell(kind: str, seed: int, arguments: Arguments) -> dict:
    """The results of a cell, from its file if there is one with the same arguments."""
    folder = Path(arguments.work_dir or "output/serving") / f"{kind}-{seed}"
    settings = {name: value for name, value in harness.own_options(arguments).items() if name != "seeds"}
    kept = harness.Report(folder / "cell.json", arguments=settings)
    if (earlier := kept.earlier()) and earlier["arguments"] == settings:
        return earlier
    shutil.rmtree(folder, ignore_errors=True)
    kept |= Cell(kind, seed, arguments, folder).measured()
    kept.save()
    for name in FOLDERS.values():
        shutil.rmtree(folder / name, ignore_errors=True)
    return kept


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["protocol"] = "last epoch"
    report["cells"] = {
        title: {str(seed): cell(kind, seed, arguments) for seed in arguments.seeds} for title, kind in KINDS.items()
    }
    print(json.dumps(report["cells"], indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "datasets", "accelerate", "peft")
