"""Wrong labels found, the noise rate, time and memory, beside cleanlab on the same arrays.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.detection --output detection.json

Accuracy: the files of `noise_detection` (out-of-fold probabilities, given and true labels). F1 of the rows found by
`find_wrong_labels`, by cleanlab's `find_label_issues` and by the rule that the prediction differs from the label;
AUPRC of our quality and of cleanlab's self-confidence; estimated and true noise rate.
Speed: `--rows` rows of `--classes` classes in float32, drawn from a seed. Each side runs in a process of its own, in
turn; the array is loaded before the clock starts. Memory is the peak of the process beyond what it held before the
call; the largest process that it started is given beside it. Times are medians; `cpu` counts the processes started.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SIDES = {"hf_noisy": None, "cleanlab": {}, "cleanlab, n_jobs=1": {"n_jobs": 1}}


def f1(found: np.ndarray, wrong: np.ndarray) -> float:
    return float(2 * (found & wrong).sum() / max(found.sum() + wrong.sum(), 1))


def accuracy(path: Path) -> dict[str, Any]:
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.metrics import average_precision_score

    from hf_noisy.detection.find import find_wrong_labels

    with np.load(path) as arrays:
        probabilities = arrays["pred_probs"].astype(np.float32)
        given, true = (arrays[name].astype(np.int64) for name in ("noisy_labels", "true_labels"))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong, differs = given != true, probabilities.argmax(1) != given
    ours = find_wrong_labels(given, probabilities)
    relabelled = ours.is_wrong & wrong
    rates = {
        "hf_noisy": ours.noise_rate.rate,
        "cleanlab": float(1 - np.trace(estimate_joint(given, probabilities))),
        "prediction differs": float(differs.mean()),
    }
    return {
        "file": path.name,
        "rows": len(given),
        "noise_rate": float(wrong.mean()),
        "f1": {
            "hf_noisy": f1(ours.is_wrong, wrong),
            "cleanlab": f1(find_label_issues(given, probabilities, n_jobs=1), wrong),
            "prediction differs": f1(differs, wrong),
        },
        "auprc": {
            "hf_noisy": float(average_precision_score(wrong, -ours.quality)),
            "cleanlab": float(average_precision_score(wrong, -get_label_quality_scores(given, probabilities))),
        },
        "noise_rate_estimated": rates,
        "noise_rate_interval": [ours.noise_rate.low, ours.noise_rate.high],
        "suggested_right_among_wrong_found": float((ours.suggested == true)[relabelled].mean()),
    }


def draw(rows: int, classes: int, folder: str) -> None:
    """Probabilities that lean towards the true class; 20 % of the labels are another one."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, rows)
    other = (true + rng.integers(1, classes, rows)) % classes
    labels = np.where(rng.random(rows) < 0.2, other, true)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), true] += rng.gamma(4.0, 1.0, rows).astype(np.float32)
    values = np.exp(logits)
    np.save(Path(folder) / "probabilities.npy", values / values.sum(axis=1, keepdims=True))
    np.save(Path(folder) / "labels.npy", labels)


def resident(key: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def work(side: str, folder: str) -> None:
    """One call in this process; prints what it took."""
    probabilities, labels = (np.load(Path(folder) / f"{name}.npy") for name in ("probabilities", "labels"))
    if side == "hf_noisy":
        from hf_noisy.detection.find import find_wrong_labels

        find_wrong_labels(labels[:1000], probabilities[:1000])  # what the first call imports is not timed
        before, start = resident("VmRSS"), time.perf_counter()
        cpu = time.process_time()
        found = find_wrong_labels(labels, probabilities).is_wrong
    else:
        from cleanlab.filter import find_label_issues

        find_label_issues(labels[:1000], probabilities[:1000], n_jobs=1)
        before, start = resident("VmRSS"), time.perf_counter()
        cpu = time.process_time()
        found = find_label_issues(labels, probabilities, **SIDES[side])
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += children.ru_utime + children.ru_stime
    peak = resident("VmHWM") - before
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "memory_mb": peak / 1e6,
                      "largest_child_mb": children.ru_maxrss * 1024 / 1e6, "found": int(found.sum())}))  # fmt: skip


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        draw(arguments.rows, arguments.classes, folder)
        for _ in range(arguments.repeats):
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.cost.detection", "--side", side, "--folder", folder]
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                runs[side].append(json.loads(finished.stdout.splitlines()[-1]))
    median = {
        side: {key: round(statistics.median(run[key] for run in of), 3) for key in of[0]} for side, of in runs.items()
    }
    ours = median["hf_noisy"]
    ratios = {
        side: {key: round(of[key] / ours[key], 2) for key in ("wall_s", "cpu_s", "memory_mb")}
        for side, of in median.items()
        if side != "hf_noisy"
    }
    return {"rows": arguments.rows, "classes": arguments.classes, "repeats": arguments.repeats,
            "median": median, "cleanlab_over_ours": ratios}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=("accuracy", "speed"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work(arguments.side, arguments.folder)
        return
    result: dict[str, Any] = {"command": "python -m benchmarks.cost.detection"}
    if arguments.only != "speed":
        if "HF_NOISY_DATA_DIR" not in os.environ:
            parser.error("set HF_NOISY_DATA_DIR to the folder that holds noise_detection, or pass --only speed")
        files = sorted((Path(os.environ["HF_NOISY_DATA_DIR"]) / "noise_detection").glob("*.npz"))
        result["accuracy"] = [accuracy(path) for path in files]
        errors = {
            side: float(
                np.mean([abs(of["noise_rate_estimated"][side] - of["noise_rate"]) for of in result["accuracy"]])
            )
            for side in ("hf_noisy", "cleanlab", "prediction differs")
        }
        result["mean_error_of_noise_rate"] = errors
    if arguments.only != "accuracy":
        result["speed"] = speed(arguments)
    result["environment"] = {
        "python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(),
        "load": os.getloadavg()[0], **{name: version(name) for name in ("numpy", "scipy", "cleanlab")},
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.output:
        temporary = arguments.output.with_suffix(".part")
        temporary.write_text(text + "\n")
        os.replace(temporary, arguments.output)


if __name__ == "__main__":
    main()
