"""Runs the cells of a suite: one method on one setting with one seed.

    HF_NOISY_DATA_DIR=... python -m benchmarks.run --suite text-small --workers 2
    python -m benchmarks.run --suite vision-small --check 10

`accelerate launch` starts worker processes that share the cells, one per GPU, or `--workers` on the CPU. Each finished
cell is a file in the output folder; all are gathered in benchmarks/results/cells_<suite>.jsonl and not run again. To
rerun a cell, delete its line and its file. `python -m benchmarks.reporting.documents` makes the tables. `--check`
reruns some stored cells and checks that every figure is identical.
"""

import fcntl
import gc
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from benchmarks.suites import SUITES, Budget, Cell, Suite
from hf_noisy.core.files import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("hf-noisy", "torch", "transformers", "datasets", "accelerate", "scikit-learn", "cleanlab")
# Entries of a cell that `--check` ignores.
CIRCUMSTANCES = {"seconds", "cpu_seconds", "code", "data", "details", "device", "machine", "versions"}


@dataclass
class Arguments:
    suite: str = field(metadata={"help": "suite to run", "choices": list(SUITES)})
    methods: list[str] = field(default_factory=list, metadata={"help": "rows of the table; default: all"})
    datasets: list[str] = field(default_factory=list, metadata={"help": "of the suite; default: all"})
    noises: list[str] = field(default_factory=list, metadata={"help": "of the suite, such as 'clean'; default: all"})
    seeds: list[int] = field(default_factory=list, metadata={"help": "default: those of the suite"})
    workers: int = field(default=0, metadata={"help": "processes; default: one a GPU, or two on the CPU"})
    dry_run: bool = field(default=False, metadata={"help": "only list the cells to run"})
    check: int | None = field(default=None, metadata={"help": "rerun this many stored cells and compare"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "text-full: model to fine-tune"})
    max_rows: int | None = field(default=None, metadata={"help": "rows of training and test, to try a suite out"})
    num_train_epochs: int | None = field(default=None, metadata={"help": "likewise; never for results"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished cells"})
    results: str | None = field(
        default=None,
        metadata={"help": "default: cells_<suite>.jsonl in benchmarks/results; of a cut budget, in work_dir"},
    )
    worker: bool = field(default=False, metadata={"help": "internal: take cells and run them"})


@dataclass(frozen=True)
class Context:
    """Everything that a cell needs besides its key."""

    suite: Suite
    work_dir: Path
    model: str | None = None

    @property
    def budget(self) -> Budget:
        return self.suite.budget

    @property
    def digest(self) -> str:
        """Digest of budget and model: cells with another one are not comparable."""
        shared = {"budget": self.budget.as_dict(), "model": self.model}
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


def context_of(arguments: Arguments) -> Context:
    """The suite, with a smaller budget if the arguments say so."""
    suite = SUITES[arguments.suite]
    budget = suite.budget
    if arguments.max_rows is not None:
        budget = replace(budget, train_rows=arguments.max_rows, test_rows=arguments.max_rows)
    if arguments.num_train_epochs is not None:
        options = {
            dataset: {name: value for name, value in of.items() if name != "num_train_epochs"}
            for dataset, of in budget.options.items()
        }
        budget = replace(budget, epochs=arguments.num_train_epochs, options=options)
    return Context(replace(suite, budget=budget), Path(arguments.work_dir), arguments.model_name_or_path)


def module_of(arguments: Arguments) -> Any:
    """The module that runs the cells of the suite."""
    return import_module(f"benchmarks.{SUITES[arguments.suite].module}")


def planned(arguments: Arguments, methods: Iterable[str]) -> list[Cell]:
    """The requested cells: the first seed in all settings, then the next."""
    suite = SUITES[arguments.suite]
    unknown = {
        "methods": set(arguments.methods) - set(methods),
        "datasets": set(arguments.datasets) - {setting.dataset for setting in suite.settings},
        "noises": set(arguments.noises) - {setting.noise for setting in suite.settings},
    }
    for name, values in unknown.items():
        if values:
            shown = " ".join(sorted(values))
            raise SystemExit(f"--{name} {shown}: not in {arguments.suite}; see benchmarks/suites.py")
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
        if (not arguments.methods or method in arguments.methods)
        and (not setting.methods or method in setting.methods)
    ]


def digest(arguments: Arguments) -> str:
    return context_of(arguments).digest


@cache
def code() -> str:
    """Digest of the source of the package and the runner; versions do not tell commits apart."""
    import hf_noisy

    package = Path(hf_noisy.__file__).parent
    files = [(file.relative_to(package.parent), file) for file in package.rglob("*.py")]
    files += [(file.relative_to(ROOT), file) for file in (ROOT / "benchmarks").glob("*.py")]
    parts = [hashlib.sha256(name.as_posix().encode() + file.read_bytes()).digest() for name, file in sorted(files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def results_path(arguments: Arguments) -> Path:
    """Where finished cells are gathered; with a cut budget they stay in the output folder."""
    cut = arguments.max_rows is not None or arguments.num_train_epochs is not None
    folder = Path(arguments.work_dir) if cut else RESULTS
    return Path(arguments.results or folder / f"cells_{arguments.suite}.jsonl")


def cells_folder(arguments: Arguments) -> Path:
    return Path(arguments.work_dir) / "cells" / arguments.suite / digest(arguments)


def finished(arguments: Arguments) -> dict[str, dict[str, Any]]:
    """Finished cells by key, from the result file and the output folder."""
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
    """Write the finished cells to the result file, ordered by key, and return their number."""
    done, path = finished(arguments), results_path(arguments)
    lines = [json.dumps(done[key], sort_keys=True) for key in sorted(done)]
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines) + "\n")
    return len(lines)


def gather_predictions(arguments: Arguments) -> int:
    """Write the test predictions of the finished cells beside the result file, and return their number."""
    from benchmarks import predictions

    path = results_path(arguments)
    target = path.with_name(f"{path.stem.replace('cells_', 'predictions_')}.npz")
    folder = Path(arguments.work_dir) / "predictions" / arguments.suite / digest(arguments)
    every = replace(arguments, methods=[], datasets=[], noises=[], seeds=[])
    done = finished(arguments)
    cells = [cell for cell in planned(every, module_of(arguments).METHODS) if cell.key in done]
    return predictions.gather(folder, target, cells)


def claim(path: Path) -> Any:
    """A lock on a cell, or None if another worker has it; the system releases it if the worker is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path.with_suffix(".lock"), "w")  # noqa: SIM115 - held while the cell runs
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def quieten() -> None:
    import warnings

    import torch
    import transformers
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")  # about rare classes in small samples, once per cell


def work(arguments: Arguments) -> None:
    """Run the cells that no other worker has taken."""
    quieten()
    done, folder = finished(arguments), cells_folder(arguments)
    cells = planned(arguments, module_of(arguments).METHODS)
    gc.freeze()  # every trainer collects garbage, which takes 0.3 s with all that the imports made
    for cell in cells:
        path = folder / cell.file
        error = path.with_suffix(".error")
        if cell.key in done or (lock := claim(path)) is None:
            continue
        with lock:
            if not (path.is_file() or error.is_file()):  # by another worker since `done` was read
                try:
                    result = run_cell(cell, arguments)
                    write_atomically(path, json.dumps(result))
                    print(f"{cell.key} {result['seconds']:.1f}s", flush=True)
                except Exception:  # continue with the other cells; the main process reports it
                    write_atomically(error, f"{cell.key}\n{traceback.format_exc()}")
                    print(f"{cell.key} failed", flush=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def run_cell(cell: Cell, arguments: Arguments) -> dict[str, Any]:
    """The figures of a cell with its budget, versions and machine."""
    import torch

    from benchmarks.pools import texts_digest
    from hf_noisy.core.precision import compute_dtype

    context, fast = context_of(arguments), compute_dtype("auto") == "bfloat16"
    wall, processor = time.perf_counter(), time.process_time()
    figures = module_of(arguments).run(cell, context)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
    return {
        "key": cell.key,
        "suite": arguments.suite,
        "dataset": cell.setting.dataset,
        "noise": cell.setting.noise,
        "seed": cell.seed,
        "method": cell.method,
        **seconds,
        **figures,  # with their own times if the cell does more than run the method
        "texts": texts_digest(cell.setting.dataset),
        "code": code(),
        "budget": context.budget.as_dict(),
        "model": arguments.model_name_or_path,
        "digest": digest(arguments),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "bfloat16": fast},
        "versions": {name: version(name) for name in PACKAGES},
    }


def check(arguments: Arguments, count: int) -> None:
    """Rerun stored cells, always the same random choice, and report the figures that differ."""
    from benchmarks.pools import texts_digest

    quieten()
    stored = finished(arguments)
    cells = {cell.key: cell for cell in planned(arguments, module_of(arguments).METHODS)}
    texts = {key: texts_digest(cells[key].setting.dataset) for key in cells.keys() & stored}
    known = sorted(key for key in texts if stored[key].get("texts") == texts[key])
    chosen, equal = random.Random(0).sample(known, min(count, len(known))), 0
    for key in chosen:
        made = json.loads(json.dumps(run_cell(cells[key], arguments)))
        names = (made.keys() & stored[key]) - CIRCUMSTANCES
        differing = sorted(name for name in names if made[name] != stored[key][name])
        equal += not differing
        print(f"{key}: {'different' if differing else 'equal'}", flush=True)
        for name in differing:
            print(f"  {name}\n    stored {stored[key][name]}\n    now    {made[name]}", flush=True)
    print(f"{arguments.suite}: {equal} of {len(chosen)} cells are equal")
    if equal < len(chosen):
        raise SystemExit(1)


def launch(arguments: Arguments, words: list[str]) -> list[subprocess.Popen[bytes]]:
    """Start the workers, each an `accelerate launch` of one process."""
    import torch

    gpus = torch.cuda.device_count()
    options = {"num_processes": 1, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    options["num_cpu_threads_per_process"] = 1
    shared = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    workers = []
    for number in range(arguments.workers or gpus or 2):
        where = ["--gpu_ids", str(number % gpus)] if gpus else ["--cpu"]
        command = [sys.executable, "-m", "accelerate.commands.launch", *shared, *where, "-m", "benchmarks.run"]
        workers.append(subprocess.Popen([*command, *words, "--worker"]))
    return workers


def main() -> None:
    words = sys.argv[1:]
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(words)
    if arguments.worker:
        return work(arguments)
    if arguments.check is not None:
        return check(arguments, arguments.check)
    module, done = module_of(arguments), finished(arguments)
    todo = [cell for cell in planned(arguments, module.METHODS) if cell.key not in done]
    print(f"{arguments.suite}: {len(done)} cells are there, {len(todo)} are to be run", flush=True)
    if arguments.dry_run:
        print(*(cell.key for cell in todo), sep="\n")
        return None
    for error in cells_folder(arguments).rglob("*.error"):
        error.unlink()  # retry cells that failed in an earlier call
    for dataset in dict.fromkeys(cell.setting.dataset for cell in todo):
        if hasattr(module, "prepare"):
            module.prepare(dataset, context_of(arguments))  # once, before the workers start
    workers = launch(arguments, words) if todo else []
    while any(worker.poll() is None for worker in workers):
        time.sleep(30)
        gather(arguments)
    print(f"{gather(arguments)} cells in {results_path(arguments)}")
    gather_predictions(arguments)
    failed = sorted(cells_folder(arguments).rglob("*.error"))
    if failed or any(worker.returncode for worker in workers):
        raise SystemExit("\n".join(["some cells failed; a second call runs them again:", *map(str, failed)]))
    return None


if __name__ == "__main__":
    main()
