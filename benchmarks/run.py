"""The accuracy of every method on noisy labels, and what it costs.

    HF_NOISY_DATA_DIR=... python -m benchmarks.run --suite text-small --workers 2

A cell is one method on one setting with one seed. Cells are shared out among worker processes that `accelerate
launch` starts, one for each GPU or as many as asked for on the CPU. Each finished cell is a file in the output folder;
they are gathered in benchmarks/results/cells_<suite>.jsonl, and what is there is not run again: to run a cell anew,
delete its line and its file. The tables are made of the lines by `python -m benchmarks.reporting.leaderboard`
(benchmarks/reporting/documents.py puts them into the docs).
"""

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from benchmarks.suites import SUITES, Setting, Suite

RESULTS = Path(__file__).parent / "results"
PARTS = ("competitors", "pools", "run", "suites", "tasks")
PACKAGES = ("hf-noisy", "torch", "transformers", "datasets", "accelerate", "scikit-learn", "cleanlab")


@dataclass
class Arguments:
    suite: str = field(metadata={"help": "what to run", "choices": list(SUITES)})
    methods: list[str] = field(default_factory=list, metadata={"help": "rows of the table; default: all"})
    datasets: list[str] = field(default_factory=list, metadata={"help": "of the suite; default: all"})
    noises: list[str] = field(default_factory=list, metadata={"help": "of the suite, such as 'clean'; default: all"})
    seeds: list[int] = field(default_factory=list, metadata={"help": "default: those of the suite"})
    workers: int = field(default=0, metadata={"help": "processes; default: one a GPU, or two on the CPU"})
    dry_run: bool = field(default=False, metadata={"help": "only list the cells that are to be run"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "text-full: what is fine-tuned"})
    max_rows: int | None = field(default=None, metadata={"help": "rows of training and test, to try a suite out"})
    num_train_epochs: int | None = field(default=None, metadata={"help": "likewise; never for results"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished cells"})
    results: str | None = field(
        default=None,
        metadata={"help": "default: cells_<suite>.jsonl in benchmarks/results; of a cut budget, in work_dir"},
    )
    worker: bool = field(default=False, metadata={"help": "internal: take cells and run them"})


@dataclass(frozen=True)
class Cell:
    setting: Setting
    seed: int
    method: str

    @property
    def key(self) -> str:
        return f"{self.setting.name}/{self.seed}/{self.method}"

    @property
    def file(self) -> str:
        return "".join(letter if letter.isalnum() or letter in "_/" else "-" for letter in self.key) + ".json"


def suite_of(arguments: Arguments) -> Suite:
    """The suite, cut down where that was asked for."""
    suite = SUITES[arguments.suite]
    budget = suite.budget
    if arguments.max_rows is not None:
        budget = replace(budget, train_rows=arguments.max_rows, test_rows=arguments.max_rows)
    if arguments.num_train_epochs is not None:
        budget = replace(budget, epochs=arguments.num_train_epochs)
    return replace(suite, budget=budget)


def planned(arguments: Arguments, methods: list[str]) -> list[Cell]:
    """All cells asked for: the first seed over everything, then the next."""
    suite = SUITES[arguments.suite]
    unknown = {
        "methods": set(arguments.methods) - set(methods),
        "datasets": set(arguments.datasets) - {setting.dataset for setting in suite.settings},
        "noises": set(arguments.noises) - {setting.noise for setting in suite.settings},
    }
    for name, values in unknown.items():
        if values:
            raise SystemExit(
                f"--{name} {' '.join(sorted(values))}: not in {arguments.suite}; see benchmarks/suites.py"
            )
    settings = [
        setting
        for setting in suite.settings
        if (not arguments.datasets or setting.dataset in arguments.datasets)
        and (not arguments.noises or setting.noise in arguments.noises)
    ]
    return [
        Cell(setting, seed, method)
        for seed in arguments.seeds or suite.seeds
        for setting in settings
        for method in methods
        if not arguments.methods or method in arguments.methods
    ]


def digest(arguments: Arguments) -> str:
    """Of everything that a cell depends on besides its key: cells of another budget are not comparable."""
    told = {"budget": suite_of(arguments).budget.as_dict(), "model": arguments.model_name_or_path}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


@cache
def code() -> str:
    """A digest of the package and of what runs a cell, because versions do not tell two states of a checkout apart."""
    import hf_noisy

    files = [*Path(hf_noisy.__file__).parent.rglob("*.py"), *(RESULTS.parent / f"{name}.py" for name in PARTS)]
    told = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def results_path(arguments: Arguments) -> Path:
    """Where finished cells are gathered: those of a cut budget are no results and stay in the output folder."""
    cut = arguments.max_rows is not None or arguments.num_train_epochs is not None
    folder = Path(arguments.work_dir) if cut else RESULTS
    return Path(arguments.results or folder / f"cells_{arguments.suite}.jsonl")


def cells_folder(arguments: Arguments) -> Path:
    return Path(arguments.work_dir) / "cells" / arguments.suite / digest(arguments)


def finished(arguments: Arguments) -> dict[str, dict[str, Any]]:
    """Cells that are there, by key: those of the result file and those in the output folder."""
    done: dict[str, dict[str, Any]] = {}
    path = results_path(arguments)
    if path.is_file():
        for line in path.read_text().splitlines():
            cell = json.loads(line)
            if cell["digest"] != digest(arguments):
                raise SystemExit(f"{path} holds cells of another budget or model; name another --results")
            done[cell["key"]] = cell
    for file in sorted(cells_folder(arguments).rglob("*.json")):
        cell = json.loads(file.read_text())
        done.setdefault(cell["key"], cell)
    return done


def gather(arguments: Arguments) -> int:
    """Put the finished cells into the result file, ordered by key; how many there are."""
    done, path = finished(arguments), results_path(arguments)
    lines = [json.dumps(done[key], sort_keys=True) for key in sorted(done)]
    if lines:
        write_atomically(path, "\n".join(lines) + "\n")
    return len(lines)


def write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def claim(path: Path) -> Any:
    """A lock on a cell, or None if another worker has it; the system takes it back from a worker that was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path.with_suffix(".lock"), "w")  # noqa: SIM115 - held while the cell runs
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def work(arguments: Arguments) -> None:
    """Take cells that nobody has, until none is left."""
    import warnings

    import torch
    import transformers

    from benchmarks.competitors import COMPETITORS

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")  # of rare classes in small samples, once a cell
    done, folder = finished(arguments), cells_folder(arguments)
    for cell in planned(arguments, list(COMPETITORS)):
        path = folder / cell.file
        if cell.key in done or path.is_file() or path.with_suffix(".error").is_file():
            continue
        if (lock := claim(path)) is None:
            continue
        with lock:
            if path.is_file() or path.with_suffix(".error").is_file():  # while it was waited for
                continue
            try:
                result = run_cell(cell, arguments)
                write_atomically(path, json.dumps(result))
                print(f"{cell.key} {result['test_accuracy_last']:.4f} {result['seconds']:.1f}s", flush=True)
            except Exception:  # the others go on; the master tells
                write_atomically(path.with_suffix(".error"), f"{cell.key}\n{traceback.format_exc()}")
                print(f"{cell.key} failed", flush=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def run_cell(cell: Cell, arguments: Arguments) -> dict[str, Any]:
    """Train and score one cell."""
    from benchmarks.competitors import COMPETITORS
    from benchmarks.tasks import make_task
    from hf_noisy.metrics.calibration import expected_calibration_error

    suite = suite_of(arguments)
    pool = pool_of(cell.setting.dataset, arguments)
    task = make_task(cell.setting, suite.budget, cell.seed, pool, arguments.model_name_or_path)
    competitor = COMPETITORS[cell.method]
    wall, processor = time.perf_counter(), time.process_time()
    outcome = competitor.run(task)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
    # Only here are the true labels of the test rows looked at.
    accuracy = lambda predicted: float((predicted == task.truth).mean())  # noqa: E731
    last = accuracy(outcome.probabilities.argmax(1))
    by_epoch = None if outcome.by_epoch is None else [accuracy(predicted) for predicted in outcome.by_epoch]
    details = outcome.details | {f"{name}_accuracy": accuracy(p.argmax(1)) for name, p in outcome.stages.items()}
    if outcome.train_labels is not None:
        details["train_label_accuracy"] = float((outcome.train_labels == task.clean).mean())
    return {
        "key": cell.key, "suite": suite.name, "dataset": cell.setting.dataset, "noise": cell.setting.noise,
        "seed": cell.seed, "method": cell.method, "test_accuracy_last": last,
        "test_accuracy_best": None if by_epoch is None else max(by_epoch), "test_accuracy_by_epoch": by_epoch,
        "ece": float(expected_calibration_error(outcome.probabilities, task.truth)),
        "selected_by": outcome.selected_by, "clean_labels": outcome.clean_labels,
        "noise_rate": float((task.given != task.clean).mean()), "train_rows": len(task.given),
        "test_rows": len(task.truth), **seconds, "details": details, "code": code(), "budget": suite.budget.as_dict(),
        "model": arguments.model_name_or_path, "digest": digest(arguments), "device": str(device()),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in PACKAGES},
    }  # fmt: skip


def pool_of(dataset: str, arguments: Arguments) -> Any:
    from benchmarks.pools import load_pool

    whole = SUITES[arguments.suite].budget.regime != "features" and arguments.max_rows is None
    return load_pool(dataset, Path(arguments.work_dir) / "pools", whole=whole)


def device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def launch(arguments: Arguments, words: list[str]) -> list[subprocess.Popen[bytes]]:
    """Workers, each a run of `accelerate launch` with one process."""
    import torch

    gpus = torch.cuda.device_count()
    count = arguments.workers or gpus or 2
    workers = []
    for number in range(count):
        where = ["--gpu_ids", str(number % gpus)] if gpus else ["--cpu"]
        command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1",
                   "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", *where,
                   "-m", "benchmarks.run", *words, "--worker"]  # fmt: skip
        workers.append(subprocess.Popen(command))
    return workers


def main() -> None:
    words = sys.argv[1:]
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(words)
    if arguments.worker:
        work(arguments)
        return
    from benchmarks.competitors import COMPETITORS

    done = finished(arguments)
    todo = [cell for cell in planned(arguments, list(COMPETITORS)) if cell.key not in done]
    print(f"{arguments.suite}: {len(done)} cells are there, {len(todo)} are to be run", flush=True)
    if arguments.dry_run:
        print(*(cell.key for cell in todo), sep="\n")
        return
    for error in cells_folder(arguments).rglob("*.error"):
        error.unlink()  # a failed cell is tried again in the next call
    for dataset in dict.fromkeys(cell.setting.dataset for cell in todo):
        pool_of(dataset, arguments)  # once, before the workers all make it
    workers = launch(arguments, words) if todo else []
    while any(worker.poll() is None for worker in workers):
        time.sleep(30)
        gather(arguments)
    print(f"{gather(arguments)} cells in {results_path(arguments)}")
    failed = sorted(cells_folder(arguments).rglob("*.error"))
    if failed or any(worker.returncode for worker in workers):
        raise SystemExit("\n".join(["some cells failed; a second call runs them again:", *(map(str, failed))]))


if __name__ == "__main__":
    main()
