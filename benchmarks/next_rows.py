"""How many checks it saves to choose the rows to check: random against informative rows, on frozen features.

    HF_NOISY_DATA_DIR=... python -m benchmarks.next_rows --workers 2

Both begin with the same 50 random checked rows and go on in batches of 50; the correction is fitted after each batch
and its head predicts the test rows. Finished settings are kept in the work folder.
"""

import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from transformers import HfArgumentParser

from benchmarks import run
from benchmarks.checked_rows import IMAGES, NOISY, accuracy, drawn, results_of
from benchmarks.suites import Cell
from benchmarks.tasks import task_of
from hf_noisy.core.files import write_atomically
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.informative_rows import informative_rows

RESULT = "next_rows.json"
RANDOM_COUNTS = (50, 100, 150, 200, 300)  # beyond 200, to see how many random checks the chosen rows are worth
COUNTS = (50, 100, 150, 200)
SETTINGS = {"development": NOISY, "development-images": IMAGES}


@dataclass
class Arguments:
    """Which settings, and where results go."""

    datasets: list[str] = field(default_factory=list, metadata={"help": "default: all"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and folds"})
    draws: int = field(default=3, metadata={"help": "draws of the first rows per seed"})
    workers: int = field(default=2, metadata={"help": "processes"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished settings"})
    results: str = field(default="benchmarks/results", metadata={"help": "folder of the result"})


def run_setting(suite: str, cell: Cell, draws: int, work_dir: str) -> dict[str, Any]:
    """Test accuracies of a setting and a seed; those of an earlier call come from a file."""
    asked = run.Arguments(suite=suite, work_dir=work_dir)
    path = Path(work_dir) / "next_rows" / run.digest(asked) / cell.file
    if path.is_file() and (stored := json.loads(path.read_text()))["draws"] >= draws:
        return dict(stored)
    task, start = task_of(cell, run.context_of(asked)), time.process_time()
    correction = CheckedCorrection()
    evidence = correction.evidence(task.features, task.given, num_classes=task.num_classes, seed=task.seed)
    found: dict[str, dict[str, list[float]]] = {"random": {}, "informative": {}}

    def note(strategy: str, index: np.ndarray, corrected: Any) -> None:
        reached = accuracy(corrected.predict(task.test_features), task.truth)
        found[strategy].setdefault(str(len(index)), []).append(round(reached, 4))

    def fitted(index: np.ndarray) -> Any:
        return correction.fit(None, None, index, task.clean[index], seed=task.seed, evidence=evidence)

    for draw in range(draws):
        for count in RANDOM_COUNTS:
            index = drawn(task, draw, count)
            note("random", index, fitted(index))
        index = drawn(task, draw, COUNTS[0])
        corrected = fitted(index)
        note("informative", index, corrected)
        for count in COUNTS[1:]:
            index = np.concatenate([index, informative_rows(evidence, corrected, index, count - len(index))])
            corrected = fitted(index)
            note("informative", index, corrected)
    result = {
        "setting": cell.setting.name,
        "seed": cell.seed,
        "draws": draws,
        "accuracy": found,
        "data": task.digest,
        "code": run.code(),
        "cpu_seconds": time.process_time() - start,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result))
    return result


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    run.quieten()
    found = results_of(arguments, SETTINGS, run_setting)
    result = {"settings": found, "versions": {name: version(name) for name in run.PACKAGES}}
    path = Path(arguments.results) / RESULT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
