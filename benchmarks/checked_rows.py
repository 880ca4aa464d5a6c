"""What a few checked rows are worth: test accuracy against their number, on frozen features.

    HF_NOISY_DATA_DIR=... python -m benchmarks.checked_rows --workers 2

Checked rows are drawn at random among the training rows, several times. Rows of the table: the correction of
`CheckedCorrection`, the checked rows alone (logistic regression, penalty by cross-validation), and DMLP with the same
checked rows (a linear head on its posterior, as for the correction). Finished settings are kept in the work folder.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from transformers import HfArgumentParser

from benchmarks import frozen, run
from benchmarks.pools import prepare
from benchmarks.suites import CIFAR, DEVELOPMENT_TEXTS, DIGITS_SMALL, Cell, Setting
from benchmarks.tasks import Task, task_of
from hf_noisy.core.files import write_atomically
from hf_noisy.data.checked import RANDOM, CheckedRows
from hf_noisy.detection.checked_correction import CheckedCorrection, LabelEvidence
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.metrics.calibration import expected_calibration_error

RESULT = "checked_rows.json"
COUNTS = (10, 25, 50, 100, 200, 400)
NOISY = tuple(
    setting for setting in DEVELOPMENT_TEXTS if setting.noise != "clean" and setting.noise_rate not in (0.1, 0.6, 0.7)
)
CLEAN = tuple(setting for setting in DEVELOPMENT_TEXTS if setting.noise == "clean")
IMAGES = tuple(
    setting for setting in (*DIGITS_SMALL, *CIFAR) if setting.name in ("digits symmetric 40 %", "cifar10 human worse")
)
SETTINGS = {"development": (*NOISY, *CLEAN), "development-images": IMAGES}
_DMLP_DRAWS = 2  # DMLP takes seconds


@dataclass
class Arguments:
    """Which settings, and where results go."""

    datasets: list[str] = field(default_factory=list, metadata={"help": "default: all"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and folds"})
    draws: int = field(default=4, metadata={"help": "draws of checked rows per seed"})
    workers: int = field(default=2, metadata={"help": "processes"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished settings"})
    results: str = field(default="benchmarks/results", metadata={"help": "folder of the result"})


def drawn(task: Task, draw: int, count: int) -> np.ndarray:
    """Positions of checked rows; a larger count adds rows to a smaller one."""
    return np.random.default_rng([task.seed, 3, draw]).permutation(len(task.given))[:count]


def corrected(task: Task, evidence: LabelEvidence, checked: np.ndarray) -> dict[str, float]:
    """Figures of the correction, and of the interval of the noise rate."""
    found = CheckedCorrection().fit(None, None, checked, task.clean[checked], seed=task.seed, evidence=evidence)
    predicted = found.predict(task.test_features)
    rest = np.setdiff1d(np.arange(len(task.given)), checked)
    order, count = np.argsort(checked), len(checked)
    share = np.full(count, count / len(task.given))
    rows = CheckedRows(
        checked[order], task.clean[checked[order]], [RANDOM] * count, share, np.zeros(count, np.int64), len(task.given)
    )
    posterior, held_out = found.model_posterior, found.held_out[order]
    exact = CheckedEstimates(task.given, rows, task.num_classes).noise_rate()
    powered = CheckedEstimates(task.given, rows, task.num_classes, posterior=posterior, held_out=held_out).noise_rate()
    return {
        "exact_width": 100 * (exact.high - exact.low),
        "width": 100 * (powered.high - powered.low),
        "correction": accuracy(predicted, task.truth),
        "correction_ece": 100 * float(expected_calibration_error(task.truth, predicted)),
        "correction_labels": accuracy(found.posterior[rest], task.clean[rest]),
    }


def alone(task: Task, checked: np.ndarray) -> dict[str, float]:
    """The linear head on the checked rows alone; with too few rows a weak penalty is not chosen but set."""
    labels = task.clean[checked]
    if len(np.unique(labels)) < 2:
        predicted = np.eye(task.num_classes)[np.full(len(task.truth), labels[0])]
    else:
        enough = len(checked) >= 50 and np.bincount(labels).max() >= frozen.FOLDS
        penalties = frozen.PENALTIES if enough else (frozen.PENALTIES[2],)
        arguments = (task.features[checked], labels, task.num_classes, task.test_features, task.seed)
        predicted = frozen.linear_head(*arguments, penalties)[0]
    return {"checked_only": accuracy(predicted, task.truth)}


def dmlp(task: Task, evidence: LabelEvidence, checked: np.ndarray) -> dict[str, float]:
    """DMLP's posterior, and the head of the correction trained on it."""
    from hf_noisy.purification.dmlp.dmlp import DMLP

    features = task.features.astype(np.float32)
    rest = np.setdiff1d(np.arange(len(task.given)), checked)
    purifier = DMLP(features[checked], task.clean[checked], task.given[checked], num_classes=task.num_classes)
    posterior = np.eye(task.num_classes)[task.clean]
    posterior[rest] = purifier.posterior(features[rest], task.given[rest])
    train, test = (frozen.SCALE * rows for rows in frozen.centred(task.features, task.test_features))
    head = fit_linear_head(train.astype(np.float32), posterior, 0.004)
    return {"dmlp": accuracy(softmax(head.logits(test), axis=1), task.truth)}


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float((probabilities.argmax(1) == labels).mean())


def run_setting(suite: str, cell: Cell, draws: int, work_dir: str) -> dict[str, Any]:
    """All figures of a setting and a seed; those of an earlier call come from a file."""
    asked = run.Arguments(suite=suite, work_dir=work_dir)
    path = Path(work_dir) / "checked_rows" / run.digest(asked) / cell.file
    if path.is_file() and (stored := json.loads(path.read_text()))["draws"] >= draws:
        return dict(stored)
    task, start = task_of(cell, run.context_of(asked)), time.process_time()
    evidence = CheckedCorrection().evidence(task.features, task.given, num_classes=task.num_classes, seed=task.seed)
    figures: dict[str, dict[str, list[float]]] = {}
    for count in (count for count in COUNTS if count < len(task.given)):
        for draw in range(draws):
            checked = drawn(task, draw, count)
            made = corrected(task, evidence, checked) | alone(task, checked)
            if count >= 50 and draw < _DMLP_DRAWS:
                made |= dmlp(task, evidence, checked)
            for name, value in made.items():
                figures.setdefault(str(count), {}).setdefault(name, []).append(round(value, 4))
    found = {
        "setting": cell.setting.name,
        "seed": cell.seed,
        "draws": draws,
        "noise_rate": float((task.given != task.clean).mean()),
        "figures": figures,
        "data": task.digest,
        "code": run.code(),
        "cpu_seconds": time.process_time() - start,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found))
    return found


def results_of(arguments: Any, settings: dict[str, tuple[Setting, ...]], score: Callable[..., Any]) -> list[Any]:
    """What `score(suite, cell, draws, work_dir)` finds for each setting and seed, in their order."""
    cells = [
        (suite, Cell(setting, seed, "checked_rows"))
        for seed in arguments.seeds
        for suite, some in settings.items()
        for setting in some
        if not arguments.datasets or setting.dataset in arguments.datasets
    ]
    for suite, dataset in dict.fromkeys((suite, cell.setting.dataset) for suite, cell in cells):
        prepare(dataset, run.context_of(run.Arguments(suite=suite, work_dir=arguments.work_dir)))  # before workers
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), initializer=run.quieten) as pool:
        waiting = [pool.submit(score, *item, arguments.draws, arguments.work_dir) for item in cells]
        for number, future in enumerate(as_completed(waiting), 1):
            found = future.result()
            print(f"{number} of {len(cells)}: {found['setting']}, seed {found['seed']}", flush=True)
        return [future.result() for future in waiting]


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    run.quieten()
    result = {
        "settings": results_of(arguments, SETTINGS, run_setting),
        "counts": COUNTS,
        "versions": {name: version(name) for name in run.PACKAGES},
    }
    path = Path(arguments.results) / RESULT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
