"""What noise costs on a million labels, against the same noise by one vectorised draw of numpy's generator.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.noise_injection --output benchmarks/results/noise_injection.json

The baseline is what one writes in three lines: numpy's `Generator`, i.i.d. flips, no exact count, no number that
belongs to a row, no record. Both sides run in turn, first one and then the other first; figures are medians over the
turns, the ratio that within a turn. `inject_noise` is timed on a `datasets.Dataset`, record included. The limit is one
second for every kind that looks at labels alone. On a shared machine the processor time says most.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import datasets
import numpy as np
from transformers import HfArgumentParser

from hf_noisy import inject_noise, noise

LIMIT = 1.0  # seconds
RATE = 0.4


@dataclass
class Arguments:
    rows: int = field(default=1_000_000, metadata={"help": "labels"})
    num_classes: int = field(default=100, metadata={"help": "classes"})
    turns: int = field(default=6, metadata={"help": "turns after the one that warms up"})
    seed: int = field(default=0, metadata={"help": "of both sides"})
    output: str | None = field(default=None, metadata={"help": "result file"})


def kinds(num_classes: int) -> dict[str, noise.Noise]:
    superclasses = [label // 5 for label in range(num_classes)]
    matrix = noise.symmetric(RATE).transition_matrix(num_classes)
    return {
        "symmetric": noise.symmetric(RATE),
        "symmetric, with self": noise.symmetric(RATE, include_self=True),
        "symmetric, i.i.d.": noise.symmetric(RATE, exact=False),
        "pair": noise.pair(RATE),
        "superclass map": noise.superclass_map(RATE, superclasses),
        "superclass map, i.i.d.": noise.superclass_map(RATE, superclasses, exact=False),
        "transition": noise.transition(matrix),
        "transition, i.i.d.": noise.transition(matrix, exact=False),
    }


def baseline(kind: noise.ClassNoise, labels: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """The same noise, drawn without order or count by numpy's generator."""
    generator = np.random.default_rng(seed)
    if isinstance(kind, noise.TransitionNoise):
        # P(given <= j | true), found by counting: rows times classes would not fit, so class by class.
        sums, draws = kind.transition_matrix(num_classes).cumsum(axis=1), generator.random(len(labels))
        given = np.empty_like(labels)
        for label in range(num_classes):
            mine = labels == label
            given[mine] = np.searchsorted(sums[label], draws[mine])
        return given
    flips = generator.random(len(labels)) < kind.rate
    if isinstance(kind, noise.SymmetricNoise):
        if kind.include_self:
            return np.where(flips, generator.integers(0, num_classes, len(labels)), labels)
        return np.where(flips, (labels + generator.integers(1, num_classes, len(labels))) % num_classes, labels)
    if isinstance(kind, noise.PairNoise):
        return np.where(flips, (labels + 1) % num_classes, labels)
    targets = np.array([kind.mapping.get(label, label) for label in range(num_classes)])
    return np.where(flips, targets[labels], labels)


def clocked(work: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - processor}


def compare(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, object]:
    """Medians of the seconds of each side, and of the ratios of each to the baseline within a turn."""
    runs = []
    for turn in range(turns + 1):
        order = list(sides) if turn % 2 else list(reversed(sides))
        times = {side: clocked(sides[side]) for side in order}
        runs.append(times)
    runs, report = runs[1:], {}
    for side in sides:
        for clock in ("cpu", "wall"):
            report[f"{side}_{clock}_seconds"] = round(statistics.median(run[side][clock] for run in runs), 4)
    for side in ("apply", "inject_noise"):
        ratios = sorted(run[side]["cpu"] / run["numpy"]["cpu"] for run in runs)
        report[f"{side}_over_numpy"] = round(statistics.median(ratios), 2)
        report[f"{side}_over_numpy_range"] = [round(ratios[0], 2), round(ratios[-1], 2)]
    report["inject_noise_most_wall_seconds"] = round(max(run["inject_noise"]["wall"] for run in runs), 4)
    return report


def environment() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "datasets", "pyarrow", "hf-noisy")},
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    datasets.disable_progress_bars()
    classes, seed = arguments.num_classes, arguments.seed
    labels = np.random.default_rng(seed).integers(0, classes, arguments.rows)
    features = datasets.Features({"label": datasets.ClassLabel(num_classes=classes)})
    rows = datasets.Dataset.from_dict({"label": labels}, features=features)
    results = {}
    for name, kind in kinds(classes).items():
        sides = {
            "numpy": lambda kind=kind: baseline(kind, labels, classes, seed),
            "apply": lambda kind=kind: kind.apply(labels, classes, seed),
            "inject_noise": lambda kind=kind: inject_noise(rows, kind, seed=seed),
        }
        results[name] = compare(sides, arguments.turns)
        cpu = {side: results[name][f"{side}_cpu_seconds"] for side in sides}
        print(f"{name:24}", *(f"{side} {seconds:.3f} s" for side, seconds in cpu.items()), sep="  ")
    report = {
        "command": " ".join(["python -m benchmarks.cost.noise_injection", *sys.argv[1:]]),
        "settings": {name: value for name, value in asdict(arguments).items() if name != "output"},
        "environment": environment(),
        "limit_seconds": LIMIT,
        "slowest_inject_noise_seconds": max(result["inject_noise_cpu_seconds"] for result in results.values()),
        "kinds": results,
    }
    if arguments.output:
        output = Path(arguments.output)
        temporary = output.with_suffix(".tmp")
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(temporary, output)


if __name__ == "__main__":
    main()
