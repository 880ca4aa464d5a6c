"""Tokens per second on a GPU in bfloat16: `NoisyTrainer` against `Trainer`, with and without compilation, by branches.

    python -m benchmarks.cost.gpu_throughput                                  # writes results/gpu_throughput.json
    python -m benchmarks.cost.gpu_throughput --tiny --output rehearsal.json   # the same on any CPU

Short trainings of a BERT classifier on texts of equal length with cross-entropy, in turn; the first steps (and their
compilation) are not timed. The result is the median ratio of paired trainings. The attainable rate is that of a large
bfloat16 matrix product on the same machine; a training step counts as three forward passes, including attention.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, set_seed

from benchmarks.cost import harness
from hf_noisy import BranchedModel, CoRegularization, NoisyTrainer

LIMIT, CLASSES = 0.97, 6
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@dataclass
class Arguments(harness.Arguments):
    tiny: bool = harness.option(False, "a rehearsal on the CPU: small network, few steps")
    batch_size: int = harness.option(64, "rows per step")
    length: int = harness.option(128, "tokens per row")
    steps: int = harness.option(60, "timed steps of each training")
    warm_up: int = harness.option(20, "steps before these")
    rounds: int = harness.option(5, "pairs of trainings")
    branches: list[int] = harness.option([1, 2, 3, 5], "numbers of full branches")
    matrix: int = harness.option(8192, "matrix size for the attainable rate")
    compiled: bool = harness.option(True, "whether to run with torch.compile too")


class StepClock(TrainerCallback):
    """Records when every step has finished on the device."""

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
    """Median over the steps of one training."""
    clock, method = StepClock(), {}
    if kind is NoisyTrainer:
        method = {"method": "cross_entropy" if branches == 1 else CoRegularization()}
    with tempfile.TemporaryDirectory() as folder:
        args = harness.training_arguments(
            folder,
            max_steps=arguments.warm_up + arguments.steps,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=1e-5,
            bf16=True,
            torch_compile=compiled,
            use_cpu=arguments.tiny,
            dataloader_pin_memory=not arguments.tiny,
        )
        kind(model(arguments, branches), args, train_dataset=rows(arguments), callbacks=[clock], **method).train()
    seconds = np.diff(clock.ends)[arguments.warm_up - 1 :]
    return arguments.batch_size * arguments.length / statistics.median(seconds)


def operations_a_token(arguments: Arguments) -> float:
    """Floating-point operations per token to train one branch: three times those of its layers and attention."""
    sizes = TINY if arguments.tiny else BASE
    weights = sum(weight.numel() for name, weight in model(arguments, 1).named_parameters() if "encoder" in name)
    attention = 4 * sizes["num_hidden_layers"] * arguments.length * sizes["hidden_size"]
    return 3.0 * (2 * weights + attention)


def attainable(arguments: Arguments) -> float:
    """Operations per second of a large bfloat16 product, the best of several."""
    device, best = "cpu" if arguments.tiny else "cuda", float("inf")
    one, other = (torch.randn(arguments.matrix, arguments.matrix, device=device).bfloat16() for _ in range(2))
    for _ in range(20):
        start = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * arguments.matrix**3 / best


def against_trainer(arguments: Arguments, compiled: bool) -> dict:
    speeds: dict[type[Trainer], list[float]] = {Trainer: [], NoisyTrainer: []}
    for turn in range(arguments.rounds):
        for kind in list(speeds)[:: 1 if turn % 2 else -1]:
            speeds[kind].append(tokens_per_second(kind, arguments, compiled=compiled))
    ratios = [mine / theirs for mine, theirs in zip(speeds[NoisyTrainer], speeds[Trainer], strict=True)]
    plain = statistics.median(speeds[Trainer])
    return {"compiled": compiled, "ratio": harness.spread(ratios), "trainer_tokens_per_second": plain, "limit": LIMIT}


def by_branches(arguments: Arguments, rate: float) -> list[dict]:
    speeds: dict[int, list[float]] = {branches: [] for branches in arguments.branches}
    for _ in range(arguments.rounds):
        for branches, measured in speeds.items():
            measured.append(tokens_per_second(NoisyTrainer, arguments, branches))
    table = []
    for branches, measured in speeds.items():
        # Relative to one branch in the same round.
        steps = [one / speed for one, speed in zip(speeds[arguments.branches[0]], measured, strict=True)]
        used = statistics.median(measured) * operations_a_token(arguments) * branches / rate
        table.append({"branches": branches, "step": harness.spread(steps), "fraction_of_attainable": used})
    return table


def measure(arguments: Arguments, report: harness.Report) -> None:
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("no GPU is visible; --tiny rehearses on the CPU")
    if arguments.tiny:
        if report.path.resolve().parent == harness.RESULTS.resolve():
            raise SystemExit("a rehearsal is no result; name another --output")
        arguments.batch_size, arguments.length, arguments.steps, arguments.warm_up = 4, 16, 3, 1
        arguments.rounds, arguments.matrix, arguments.compiled = 2, 256, False
        report["environment"]["device"] = "cpu"
    report["attainable_operations_per_second"] = rate = attainable(arguments)
    compiled = (False, True) if arguments.compiled else (False,)
    report["against_trainer"] = [against_trainer(arguments, flag) for flag in compiled]
    report["by_branches"] = by_branches(arguments, rate)
    print(json.dumps({name: report[name] for name in ("against_trainer", "by_branches")}, indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "accelerate")
