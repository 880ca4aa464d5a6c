"""Tokens per second on a GPU in bfloat16: `NoisyTrainer` against `Trainer`, compiled and not, and by branches.

    python -m benchmarks.cost.gpu_throughput                                  # writes results/gpu_throughput.json
    python -m benchmarks.cost.gpu_throughput --tiny --output rehearsal.json   # the same on any CPU

Trainings of a BERT classifier on texts of one full length, cross-entropy, the sides in turn, a few steps each; the
first steps (and what is compiled in them) do not count. The figure is the median of the ratios of paired trainings.
The attainable rate is that of a large bfloat16 matrix product on the same machine; a training step is counted as
three forward passes, with the products of the attention and without anything recomputed.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from hf_noisy import BranchedModel, CoRegularization, NoisyTrainer

RESULTS = Path(__file__).parents[1] / "results"
LIMIT, CLASSES = 0.97, 6
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@dataclass
class Arguments:
    tiny: bool = field(default=False, metadata={"help": "a rehearsal on the CPU: small network, few steps"})
    batch_size: int = field(default=64, metadata={"help": "rows a step"})
    length: int = field(default=128, metadata={"help": "tokens a row"})
    steps: int = field(default=60, metadata={"help": "of each training that count"})
    warm_up: int = field(default=20, metadata={"help": "steps of each training that do not"})
    rounds: int = field(default=5, metadata={"help": "pairs of trainings"})
    branches: list[int] = field(default_factory=lambda: [1, 2, 3, 5], metadata={"help": "full branches, each a run"})
    matrix: int = field(default=8192, metadata={"help": "side of the matrices of the attainable rate"})
    compiled: bool = field(default=True, metadata={"help": "whether to run with torch.compile too"})
    output: str = field(default=str(RESULTS / "gpu_throughput.json"), metadata={"help": "result file"})


class StepClock(TrainerCallback):
    """When every step ended, as the device sees it."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def model(arguments: Arguments, branches: int) -> torch.nn.Module:
    set_seed(0)
    one = BertForSequenceClassification(BertConfig(num_labels=CLASSES, **(TINY if arguments.tiny else BASE)))
    return one if branches == 1 else BranchedModel.from_model(one, branches, seed=0)


def rows(arguments: Arguments) -> Dataset:
    ids = np.random.default_rng(0).integers(200, 2000, (8 * arguments.batch_size, arguments.length))
    columns = {"input_ids": ids, "attention_mask": np.ones_like(ids), "label": ids[:, 0] % CLASSES}
    return Dataset.from_dict(columns).with_format("torch")


def tokens_per_second(kind: type[Trainer], arguments: Arguments, branches: int = 1, compiled: bool = False) -> float:
    """Of one training: median over its steps."""
    clock, method = StepClock(), {}
    if kind is NoisyTrainer:
        method = {"method": "cross_entropy" if branches == 1 else CoRegularization()}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, max_steps=arguments.warm_up + arguments.steps, bf16=True, torch_compile=compiled,
            per_device_train_batch_size=arguments.batch_size, learning_rate=1e-5, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, use_cpu=arguments.tiny,
            dataloader_pin_memory=not arguments.tiny)  # fmt: skip
        kind(model(arguments, branches), args, train_dataset=rows(arguments), callbacks=[clock], **method).train()
    seconds = np.diff(clock.ends)[arguments.warm_up - 1 :]
    return arguments.batch_size * arguments.length / statistics.median(seconds)


def operations_a_token(arguments: Arguments) -> float:
    """Of training one branch: a product and a sum for each weight of the layers, and the attention, three times."""
    sizes = TINY if arguments.tiny else BASE
    weights = sum(weight.numel() for name, weight in model(arguments, 1).named_parameters() if "encoder" in name)
    attention = 4 * sizes["num_hidden_layers"] * arguments.length * sizes["hidden_size"]
    return 3.0 * (2 * weights + attention)


def attainable(arguments: Arguments) -> float:
    """Operations per second of a large bfloat16 product, the best of several."""
    device = "cpu" if arguments.tiny else "cuda"
    one, other = (torch.randn(arguments.matrix, arguments.matrix, device=device).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * arguments.matrix**3 / best


def against_trainer(arguments: Arguments, compiled: bool) -> dict:
    plain, ours = [], []
    for turn in range(arguments.rounds):
        for kind in (Trainer, NoisyTrainer) if turn % 2 else (NoisyTrainer, Trainer):
            (plain if kind is Trainer else ours).append(tokens_per_second(kind, arguments, compiled=compiled))
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    return {"compiled": compiled, "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
            "trainer_tokens_per_second": statistics.median(plain), "limit": LIMIT}  # fmt: skip


def by_branches(arguments: Arguments, rate: float) -> list[dict]:
    speeds: dict[int, list[float]] = {branches: [] for branches in arguments.branches}
    for _ in range(arguments.rounds):
        for branches, measured in speeds.items():
            measured.append(tokens_per_second(NoisyTrainer, arguments, branches))
    table = []
    for branches, measured in speeds.items():
        # Of a step with one branch, within a round.
        steps = [one / speed for one, speed in zip(speeds[arguments.branches[0]], measured, strict=True)]
        used = statistics.median(measured) * operations_a_token(arguments) * branches / rate
        table.append({"branches": branches, "step": statistics.median(steps), "lowest": min(steps),
                      "highest": max(steps), "fraction_of_attainable": used})  # fmt: skip
    return table


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("no GPU is visible; --tiny rehearses on the CPU")
    if arguments.tiny:
        if Path(arguments.output).resolve().parent == RESULTS.resolve():
            raise SystemExit("a rehearsal is no result; name another --output")
        arguments.batch_size, arguments.length, arguments.steps, arguments.warm_up = 4, 16, 3, 1
        arguments.rounds, arguments.matrix, arguments.compiled = 2, 256, False
    rate = attainable(arguments)
    compiled = (False, True) if arguments.compiled else (False,)
    report = {
        "command": " ".join(["python -m benchmarks.cost.gpu_throughput", *sys.argv[1:]]),
        "arguments": {name: value for name, value in asdict(arguments).items() if name != "output"},
        "environment": {
            "device": "cpu" if arguments.tiny else torch.cuda.get_device_name(), "machine": platform.machine(),
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("torch", "transformers", "accelerate")},
        },
        "attainable_operations_per_second": rate,
        "against_trainer": [against_trainer(arguments, flag) for flag in compiled],
        "by_branches": by_branches(arguments, rate),
    }  # fmt: skip
    temporary = Path(arguments.output).with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, arguments.output)
    print(json.dumps({name: report[name] for name in ("against_trainer", "by_branches")}, indent=1))


if __name__ == "__main__":
    main()
