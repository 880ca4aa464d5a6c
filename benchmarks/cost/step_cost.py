"""What a training step of each method costs, as a ratio to `Trainer` with its own cross-entropy: step_cost.json.

    python -m benchmarks.cost.step_cost                 # CPU, or the GPU where there is one
    python -m benchmarks.cost.step_cost --methods nrd nct
    Cells that stand in the result file, measured in the same way, are not measured again.

Two trainers with equal models run in one process and take turns, one optimiser step each, so that whatever else the
machine does falls on both. A step begins when the batch is asked for and ends when the optimiser has moved: views are
paid for. On a GPU the time is that of the wall; on a CPU the processor time of one thread, which other processes
disturb less. The ratio is the median over the pairs. Memory is the peak of a process that runs one trainer alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from hf_noisy import NoisyTrainer
from hf_noisy.methods import METHODS

RESULTS = Path(__file__).parents[1] / "results"
LIMITS = {"nrd": 1.5, "nct": 2.1, "coregularization": 2.1}
CLASSES, ROWS, WARM_UP = 10, 4096, 5
clock = time.perf_counter if torch.cuda.is_available() else time.thread_time


@dataclass
class Arguments:
    methods: list[str] = field(default_factory=lambda: list(METHODS), metadata={"help": "names"})
    models: list[str] = field(default_factory=lambda: ["resnet", "bert"], metadata={"help": "resnet, bert"})
    rounds: int = field(
        default=5, metadata={"help": "each with two new trainers: where memory lies makes a difference"}
    )
    pairs: int = field(default=10, metadata={"help": "steps of each trainer that count, in a round"})
    batch_size: int = field(default=64, metadata={"help": "rows a step"})
    memory: str | None = field(default=None, metadata={"help": "internal: print the peak memory of one method"})
    output: str = field(default=str(RESULTS / "step_cost.json"), metadata={"help": "result file"})


def make_model(kind: str) -> torch.nn.Module:
    set_seed(0)
    if kind == "bert":
        sizes = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024}
        return BertForSequenceClassification(BertConfig(vocab_size=2000, num_labels=CLASSES, **sizes))
    sizes = {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [2, 2, 2]}
    return ResNetForImageClassification(ResNetConfig(layer_type="basic", num_labels=CLASSES, **sizes))


def make_rows(kind: str) -> Dataset:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, ROWS)
    if kind == "bert":
        ids = draw.integers(200, 2000, (ROWS, 64))
        return Dataset.from_dict({"input_ids": ids, "attention_mask": np.ones_like(ids), "label": labels})
    pixels = draw.standard_normal((ROWS, 3 * 32 * 32), dtype=np.float32)
    rows = Dataset.from_dict({"pixels": pixels, "label": labels}).with_format("numpy")

    def transform(batch: dict) -> dict:
        images = [torch.as_tensor(np.asarray(row, dtype=np.float32)).view(3, 32, 32) for row in batch["pixels"]]
        return {"pixel_values": images, "label": batch["label"]}

    return rows.with_transform(transform)


class Turns(TrainerCallback):
    """Hands the machine to the other trainer after every step, and notes how long ours took."""

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
    # All in the first epoch, before schedules move: what begins later is a few operations on the logits of a batch.
    settings = {"max_steps": steps, "per_device_train_batch_size": batch_size, "learning_rate": 1e-3,
                "logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
                "dataloader_pin_memory": False,
                "remove_unused_columns": False, "optim": "sgd", "lr_scheduler_type": "constant"}  # fmt: skip
    rows, args = make_rows(kind) if rows is None else rows, TrainingArguments(folder, **settings)
    if method is None:
        return Trainer(make_model(kind), args, train_dataset=rows)
    return NoisyTrainer(make_model(kind), args, train_dataset=rows, method=method)


def ratios(kind: str, method: str, arguments: Arguments) -> dict:
    rounds = [one_round(kind, method, arguments, number % 2 == 1) for number in range(arguments.rounds)]
    plain, ours = (np.concatenate(side) for side in zip(*rounds, strict=True))
    medians = [float(np.median(second / first)) for first, second in rounds]
    return {"ratio": float(np.median(ours / plain)), "rounds": medians, "baseline_seconds": float(np.median(plain))}


def one_round(kind: str, method: str, arguments: Arguments, ours_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each step of the plain trainer and of ours, which take turns."""
    first, second = threading.Semaphore(1), threading.Semaphore(0)
    turns = [Turns(first, second), Turns(second, first)]
    with tempfile.TemporaryDirectory() as folder:
        names = (method, None) if ours_first else (None, method)
        steps = arguments.pairs + WARM_UP
        trainers = [make_trainer(kind, name, steps, arguments.batch_size, folder) for name in names]
        for trainer, callback in zip(trainers, turns, strict=True):
            trainer.add_callback(callback)
        threads = [threading.Thread(target=trainer.train, daemon=True) for trainer in trainers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seconds = [np.array(callback.seconds[WARM_UP:]) for callback in turns]
    plain, ours = reversed(seconds) if ours_first else seconds
    return plain, ours


def print_peak(kind: str, method: str | None, arguments: Arguments) -> None:
    """Peak memory in bytes of five steps: allocated on the GPU, or resident beyond what was resident before."""
    rows = make_rows(kind)
    with tempfile.TemporaryDirectory() as folder:
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of imports and rows
        make_trainer(kind, method, 5, arguments.batch_size, folder, rows).train()
    print(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident("VmHWM") - before)


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def peak(kind: str, method: str | None, arguments: Arguments) -> int:
    options = ["--memory", f"{kind}:{method or ''}", "--batch_size", str(arguments.batch_size)]
    command = [sys.executable, "-m", "benchmarks.cost.step_cost", *options]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    if arguments.memory is not None:
        kind, _, method = arguments.memory.partition(":")
        return print_peak(kind, method or None, arguments)
    torch.set_num_threads(1)
    settings = {name: getattr(arguments, name) for name in ("rounds", "pairs", "batch_size")}
    packages = ("torch", "transformers", "accelerate")
    header = {"command": "python -m benchmarks.cost.step_cost", "arguments": settings,
              "baseline": "transformers.Trainer, cross-entropy of the model, one network",
              "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
              "threads": torch.get_num_threads(), "cores": os.cpu_count(),
              "versions": {name: version(name) for name in packages}}  # fmt: skip
    table = measured(Path(arguments.output), header)
    for kind in arguments.models:
        missing = [method for method in arguments.methods if kind not in table.get(method, {})]
        baseline = peak(kind, None, arguments) if missing else 0
        for method in missing:
            memory = peak(kind, method, arguments)
            cell = ratios(kind, method, arguments) | {"peak_bytes": memory, "peak_ratio": memory / baseline}
            table.setdefault(method, {})[kind] = cell
            limit = LIMITS.get(method)
            print(f"{method:18}{kind:8}step {cell['ratio']:.3f}  peak {cell['peak_ratio']:.2f}"
                  + (f"  (limit {limit})" if limit else ""), flush=True)  # fmt: skip
            temporary = Path(arguments.output).with_suffix(".tmp")
            temporary.write_text(json.dumps({**header, "methods": table}, indent=1))
            temporary.replace(arguments.output)


def measured(output: Path, header: dict) -> dict[str, dict]:
    """Cells that were measured in the same way before; the file is written after every cell."""
    earlier = json.loads(output.read_text()) if output.is_file() else {}
    same = {name: value for name, value in earlier.items() if name != "methods"} == header
    return earlier["methods"] if same else {}


if __name__ == "__main__":
    main()
