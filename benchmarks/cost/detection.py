"""Label error detection, noise rate, time and memory against cleanlab on the same arrays: detection.json.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.detection

Accuracy: the files of `noise_detection` (out-of-fold probabilities, given and true labels). F1 of the rows found by
`find_wrong_labels`, by cleanlab's `find_label_issues`, and by comparing the prediction with the label; AUPRC of our
quality and of cleanlab's self-confidence; estimated and true noise rate.
Speed: `--rows` random rows of `--classes` classes in float32. The sides run in separate processes, in turn; the arrays
are loaded before the timer starts. Memory is the increase of the peak during the call, and that of the largest child
process. Times are medians; `cpu` includes child processes.
"""

import json
import os
import resource
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import harness
from hf_noisy.detection.find import find_wrong_labels

SIDES = {"hf_noisy": None, "cleanlab": {}, "cleanlab, n_jobs=1": {"n_jobs": 1}}
PLAIN = "prediction differs"


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(1_000_000, "of the speed comparison")
    classes: int = harness.option(20, "likewise")
    repeats: int = harness.option(3, "runs of each side")
    only: str | None = harness.option(None, "measure one of both", choices=["accuracy", "speed"])


def f1(found: np.ndarray, wrong: np.ndarray) -> float:
    return float(2 * (found & wrong).sum() / max(found.sum() + wrong.sum(), 1))


def accuracy(path: Path) -> dict[str, Any]:
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.metrics import average_precision_score

    with np.load(path) as arrays:
        probabilities = arrays["pred_probs"].astype(np.float32)
        given, true = (arrays[name].astype(np.int64) for name in ("noisy_labels", "true_labels"))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong, differs = given != true, probabilities.argmax(1) != given
    ours = find_wrong_labels(given, probabilities)
    theirs = find_label_issues(given, probabilities, n_jobs=1)
    quality = get_label_quality_scores(given, probabilities)
    return {
        "file": path.name,
        "rows": len(given),
        "noise_rate": float(wrong.mean()),
        "f1": {"hf_noisy": f1(ours.is_wrong, wrong), "cleanlab": f1(theirs, wrong), PLAIN: f1(differs, wrong)},
        "auprc": {
            "hf_noisy": float(average_precision_score(wrong, -ours.quality)),
            "cleanlab": float(average_precision_score(wrong, -quality)),
        },
        "noise_rate_estimated": {
            "hf_noisy": ours.noise_rate.rate,
            "cleanlab": float(1 - np.trace(estimate_joint(given, probabilities))),
            PLAIN: float(differs.mean()),
        },
        "noise_rate_interval": [ours.noise_rate.low, ours.noise_rate.high],
        "suggested_right_among_wrong_found": float((ours.suggested == true)[ours.is_wrong & wrong].mean()),
    }


def draw(rows: int, classes: int, folder: str) -> None:
    """Probabilities that favour the true class, and labels of which 20 % are wrong."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, rows)
    other = (true + rng.integers(1, classes, rows)) % classes
    labels = np.where(rng.random(rows) < 0.2, other, true)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), true] += rng.gamma(4.0, 1.0, rows).astype(np.float32)
    values = np.exp(logits)
    np.save(Path(folder) / "probabilities.npy", values / values.sum(axis=1, keepdims=True))
    np.save(Path(folder) / "labels.npy", labels)


def one_call(arguments: Arguments) -> dict[str, float]:
    from cleanlab.filter import find_label_issues

    side, folder = arguments.part, Path(arguments.work_dir)
    probabilities, labels = (np.load(folder / f"{name}.npy") for name in ("probabilities", "labels"))

    def call(rows: int | None) -> None:
        if side == "hf_noisy":
            find_wrong_labels(labels[:rows], probabilities[:rows])
        else:
            find_label_issues(labels[:rows], probabilities[:rows], **({"n_jobs": 1} if rows else SIDES[side]))

    call(1000)  # what the first call imports is not timed
    before = harness.resident()
    harness.forget_peak()
    spent = harness.clocked(lambda: call(None))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": spent["wall"],
        "cpu_s": spent["cpu"] + children.ru_utime + children.ru_stime,
        "memory_mb": (harness.resident("VmHWM") - before) / 1e6,
        "largest_child_mb": children.ru_maxrss * 1024 / 1e6,
    }


def speed(arguments: Arguments) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        draw(arguments.rows, arguments.classes, folder)
        for _ in range(arguments.repeats):
            for side, of in runs.items():
                of.append(harness.child(__file__, arguments, side, work_dir=folder))
    median = {
        side: {key: round(statistics.median(run[key] for run in of), 3) for key in of[0]} for side, of in runs.items()
    }
    sizes = {"rows": arguments.rows, "classes": arguments.classes, "repeats": arguments.repeats}
    return {**sizes, "median": median}


def measure(arguments: Arguments, report: harness.Report) -> None:
    if arguments.only != "speed":
        if "HF_NOISY_DATA_DIR" not in os.environ:
            raise SystemExit("set HF_NOISY_DATA_DIR to the folder that holds noise_detection, or pass --only speed")
        files = sorted((Path(os.environ["HF_NOISY_DATA_DIR"]) / "noise_detection").glob("*.npz"))
        rows = report["accuracy"] = [accuracy(path) for path in files]
        report["mean_error_of_noise_rate"] = {
            side: float(np.mean([abs(row["noise_rate_estimated"][side] - row["noise_rate"]) for row in rows]))
            for side in ("hf_noisy", "cleanlab", PLAIN)
        }
    if arguments.only != "accuracy":
        report["speed"] = speed(arguments)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", "scipy", "cleanlab", part=one_call)
