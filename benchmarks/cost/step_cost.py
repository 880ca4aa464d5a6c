"""Cost of a training step of each method, as a ratio to `Trainer` with cross-entropy: step_cost.json.

    python -m benchmarks.cost.step_cost                 # CPU, or the GPU where there is one
    python -m benchmarks.cost.step_cost --methods nrd nct
    python -m benchmarks.cost.step_cost --models minilm minilm+3 minilm+4 --methods nct jocor co_teaching \\
        --rounds 1 --output benchmarks/results/shared_cost.json    # two networks that share 0, 3 or 4 of 6 layers

    python -m benchmarks.cost.step_cost --methods cross_entropy --models tokens labels --rounds 6 \\
        --output benchmarks/results/step_cost_lists.json

Two trainers with equal models take turns in one process, one optimiser step each, so other load on the machine
affects both. A step includes loading the batch and making its views. Time is wall-clock on a GPU, and CPU time of one
thread on a CPU, which other processes disturb less. The ratio is the median over the pairs. Memory is the peak of a
process that runs one trainer alone. Cells already in the result file, measured in the same way, are skipped.
"""

import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    set_seed,
)

from benchmarks.cost import harness
from hf_noisy import BranchedModel, NoisyTrainer
from hf_noisy.methods import METHODS

LIMITS = {"nrd": 1.5, "nct": 2.1, "coregularization": 2.1, "cross_entropy": 1.02}  # 1.03 of tokens and several labels
CLASSES, ROWS, WARM_UP = 10, 4096, 5
TEXTS = ("bert", "tokens", "labels")
clock = time.perf_counter if torch.cuda.is_available() else time.thread_time


@dataclass
class Arguments(harness.Arguments):
    methods: list[str] = harness.option(list(METHODS), "names")
    models: list[str] = harness.option(
        ["resnet", "bert"], "also tokens, labels (several), minilm, minilm+3 (shared layers)"
    )
    rounds: int = harness.option(5, "each with two new trainers: memory layout affects time")
    pairs: int = harness.option(10, "timed steps of each trainer per round")
    batch_size: int = harness.option(64, "rows a step")


def make_model(kind: str) -> torch.nn.Module:
    set_seed(0)
    if kind.startswith("minilm"):
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        return BertForSequenceClassification(BertConfig(num_labels=CLASSES, **sizes))
    if kind in TEXTS:
        sizes = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024}
        problem = "multi_label_classification" if kind == "labels" else None
        config = BertConfig(vocab_size=2000, num_labels=CLASSES, problem_type=problem, **sizes)
        return BertForTokenClassification(config) if kind == "tokens" else BertForSequenceClassification(config)
    sizes = {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [2, 2, 2]}
    return ResNetForImageClassification(ResNetConfig(layer_type="basic", num_labels=CLASSES, **sizes))


def make_rows(kind: str) -> Dataset:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, ROWS)
    if kind != "resnet":
        ids = draw.integers(200, 2000, (ROWS, 64 if kind in TEXTS else 32))
        if kind in ("tokens", "labels"):
            tags = np.where(draw.random(ids.shape) < 2 / 3, draw.integers(0, CLASSES, ids.shape), -100)
            table = (draw.random((ROWS, CLASSES)) < 0.2).astype(np.float32)
            given = tags if kind == "tokens" else table
            return Dataset.from_dict({"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": given})
        return Dataset.from_dict({"input_ids": ids, "attention_mask": np.ones_like(ids), "label": labels})
    pixels = draw.standard_normal((ROWS, 3 * 32 * 32), dtype=np.float32)
    rows = Dataset.from_dict({"pixels": pixels, "label": labels}).with_format("numpy")

    def transform(batch: dict) -> dict:
        images = [torch.as_tensor(np.asarray(row, dtype=np.float32)).view(3, 32, 32) for row in batch["pixels"]]
        return {"pixel_values": images, "label": batch["label"]}

    return rows.with_transform(transform)


class Turns(TrainerCallback):
    """Lets the other trainer make a step after every step of this one, and measures how long a step took."""

    def __init__(self, mine: threading.Semaphore, other: threading.Semaphore) -> None:
        self.mine, self.other, self.seconds = mine, other, []

    def on_epoch_begin(self, *_: object, **__: object) -> None:
        if not self.seconds:
            self.mine.acquire()
            self.start = clock()

    def on_step_end(self, *_: object, **__: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(clock() - self.start)
        self.other.release()
        self.mine.acquire()
        self.start = clock()

    def on_train_end(self, *_: object, **__: object) -> None:
        self.other.release()


def make_trainer(
    kind: str, method: str | None, steps: int, batch_size: int, folder: str, rows: Dataset | None = None
) -> Trainer:
    # All steps are in the first epoch: what begins later is only a few operations on the logits of a batch.
    args = harness.training_arguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3,
        optim="sgd",
        lr_scheduler_type="constant",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    rows = make_rows(kind) if rows is None else rows
    if method is None:
        return Trainer(make_model(kind), args, train_dataset=rows)
    model, shared = make_model(kind), int(kind.partition("+")[2] or 0)
    if shared:
        model = BranchedModel.from_model(model, 2, shared_layers=shared)
    return NoisyTrainer(model, args, train_dataset=rows, method=method)


def one_round(kind: str, method: str, arguments: Arguments, ours_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each step of the plain trainer and of ours."""
    first, second = threading.Semaphore(1), threading.Semaphore(0)
    names = (method, None) if ours_first else (None, method)
    turns = dict(zip(names, (Turns(first, second), Turns(second, first)), strict=True))
    threads = []
    with tempfile.TemporaryDirectory() as folder:
        for name, callback in turns.items():
            trainer = make_trainer(kind, name, arguments.pairs + WARM_UP, arguments.batch_size, folder)
            trainer.add_callback(callback)
            threads.append(threading.Thread(target=trainer.train, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    plain, ours = (np.array(turns[name].seconds[WARM_UP:]) for name in (None, method))
    return plain, ours


def ratios(kind: str, method: str, arguments: Arguments) -> dict[str, Any]:
    rounds = [one_round(kind, method, arguments, number % 2 == 1) for number in range(arguments.rounds)]
    plain, ours = (np.concatenate(side) for side in zip(*rounds, strict=True))
    medians = [float(np.median(second / first)) for first, second in rounds]
    return {"ratio": float(np.median(ours / plain)), "rounds": medians, "baseline_seconds": float(np.median(plain))}


def peak_here(arguments: Arguments) -> int:
    """Peak memory of five steps in bytes: allocated on the GPU, or the increase of resident memory."""
    kind, _, method = arguments.part.partition(":")
    rows = make_rows(kind)
    with tempfile.TemporaryDirectory() as folder:
        before = harness.resident()
        harness.forget_peak()
        make_trainer(kind, method or None, 5, arguments.batch_size, folder, rows).train()
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else harness.resident("VmHWM") - before


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["baseline"] = "transformers.Trainer, cross-entropy of the model, one network"
    earlier = report.earlier()
    table = report["methods"] = earlier["methods"] if earlier and conditions(earlier) == conditions(report) else {}
    for kind in arguments.models:
        missing = [method for method in arguments.methods if kind not in table.get(method, {})]
        baseline = harness.child(__file__, arguments, f"{kind}:") if missing else 0
        for method in missing:
            memory = harness.child(__file__, arguments, f"{kind}:{method}")
            cell = ratios(kind, method, arguments) | {"peak_bytes": memory, "peak_ratio": memory / baseline}
            table.setdefault(method, {})[kind] = cell
            limit = f"  (limit {LIMITS[method]})" if method in LIMITS else ""
            print(f"{method:18}{kind:8}step {cell['ratio']:.3f}  peak {cell['peak_ratio']:.2f}{limit}", flush=True)
            report.save()


def conditions(report: dict[str, Any]) -> list[Any]:
    """What must be equal in two reports for their cells to be comparable."""
    sizes = [report["arguments"][name] for name in ("rounds", "pairs", "batch_size")]
    return [sizes, report["environment"]["device"], report["environment"]["versions"]]


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "accelerate", part=peak_here)
