"""Time to inject noise into a million labels, against one vectorised draw by numpy: noise_injection.json.

    python -m benchmarks.cost.noise_injection

The baseline is three lines of numpy: i.i.d. flips, no exact count, no random numbers per row, no record.
`inject_noise` is timed on a `datasets.Dataset`, including the record. The limit is one second for every kind of noise
that depends on labels only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np

from benchmarks.cost import harness
from hf_noisy import inject_noise, noise

RATE = 0.4


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(1_000_000, "labels")
    num_classes: int = harness.option(100, "classes")
    turns: int = harness.option(6, "timed turns, after a warm-up")
    seed: int = harness.option(0, "of both sides")


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
    """The same noise as i.i.d. draws by numpy."""
    generator = np.random.default_rng(seed)
    if isinstance(kind, noise.TransitionNoise):
        # Class by class, because [rows, classes] would not fit in memory.
        sums, draws = kind.transition_matrix(num_classes).cumsum(axis=1), generator.random(len(labels))
        given = np.empty_like(labels)
        for label in range(num_classes):
            mine = labels == label
            given[mine] = np.searchsorted(sums[label], draws[mine])
        return given
    flips = generator.random(len(labels)) < kind.rate
    if isinstance(kind, noise.SymmetricNoise):
        shift = generator.integers(0 if kind.include_self else 1, num_classes, len(labels))
        return np.where(flips, shift if kind.include_self else (labels + shift) % num_classes, labels)
    if isinstance(kind, noise.PairNoise):
        return np.where(flips, (labels + 1) % num_classes, labels)
    targets = np.array([kind.mapping.get(label, label) for label in range(num_classes)])
    return np.where(flips, targets[labels], labels)


def compare(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, object]:
    """Median seconds of each side, and ratios to the baseline within a turn."""
    runs, report = harness.in_turn(sides, turns), {}
    for side in sides:
        for clock in ("cpu", "wall"):
            report[f"{side}_{clock}_seconds"] = round(harness.median(runs, side, clock), 4)
    for side in ("apply", "inject_noise"):
        report[f"{side}_over_numpy"] = harness.ratio(runs, side, "numpy")
    report["inject_noise_most_wall_seconds"] = round(max(run["inject_noise"]["wall"] for run in runs), 4)
    return report


def measure(arguments: Arguments, report: harness.Report) -> None:
    seed, classes = arguments.seed, arguments.num_classes
    labels = np.random.default_rng(seed).integers(0, classes, arguments.rows)
    features = datasets.Features({"label": datasets.ClassLabel(num_classes=classes)})
    rows = datasets.Dataset.from_dict({"label": labels}, features=features)
    results = report["kinds"] = {}
    for name, kind in kinds(classes).items():
        sides = {
            "numpy": lambda kind=kind: baseline(kind, labels, classes, seed),
            "apply": lambda kind=kind: kind.apply(labels, classes, seed),
            "inject_noise": lambda kind=kind: inject_noise(rows, kind, seed=seed),
        }
        results[name] = compare(sides, arguments.turns)
        print(f"{name:24}", *(f"{side} {results[name][f'{side}_cpu_seconds']:.3f} s" for side in sides), sep="  ")
    report["limit_seconds"] = 1.0
    report["slowest_inject_noise_seconds"] = max(result["inject_noise_cpu_seconds"] for result in results.values())


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", "datasets", "pyarrow")
