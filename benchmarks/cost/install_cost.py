"""Import time of the package and its size on disk: install_cost.json.

    python -m benchmarks.cost.install_cost

Time: CPU seconds of imports in a new process, with bytecode as after an installation; processes run in turn, and the
ratio is that of `NoisyTrainer` to `Trainer` within a turn. Size: the files that `uv pip install` puts into an empty,
temporary environment, without extras and with each; torch and its CUDA libraries are listed separately, because they
depend on the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import harness

DEVELOPERS = {"test", "dev", "docs"}
TORCH = ("cuda", "functorch", "nvidia", "torch", "torchgen", "triton")
SCRIPT = "import datasets; from transformers import AutoModelForSequenceClassification, Trainer"
PEER, OURS = "from transformers import Trainer", "from hf_noisy import NoisyTrainer"
RATIO = "ratio of the last one to the one before"
# Statements before the timer starts, and the timed ones.
IMPORTS = {
    "import hf_noisy, after transformers": ("import transformers", "import hf_noisy"),
    "every public name, after what a training script imports": (
        SCRIPT,
        "import hf_noisy; [getattr(hf_noisy, name) for name in hf_noisy.__all__]",
    ),
    "what a training script imports without hf_noisy": ("pass", SCRIPT),
    PEER: ("pass", PEER),
    OURS: ("pass", OURS),
}


@dataclass
class Arguments(harness.Arguments):
    runs: int = harness.option(7, "timed processes of each kind, after a warm-up")
    sizes: bool = harness.option(True, "measure sizes with uv; else keep those in the result file")


def import_times(runs: int) -> dict[str, dict[str, float]]:
    measured: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as bytecode:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = bytecode
        for _ in range(runs + 1):  # the first turn writes the bytecode
            for name, (base, counted) in IMPORTS.items():
                timed = f"start = time.process_time(); {counted}; print(time.process_time() - start)"
                command = [sys.executable, "-c", f"import time; {base}\n{timed}"]
                options = {"cwd": harness.ROOT, "env": environ, "stdout": subprocess.PIPE, "text": True}
                done = subprocess.run(command, check=True, **options)
                measured[name].append(float(done.stdout.split()[-1]))
    found = {name: harness.spread(values[1:]) for name, values in measured.items()}
    pairs = zip(measured[OURS][1:], measured[PEER][1:], strict=True)
    return found | {RATIO: harness.spread([ours / peer for ours, peer in pairs])}


def installed(extra: str | None, folder: Path) -> dict[str, int]:
    """Sizes in bytes of a new environment with the package."""
    environment = folder / (extra or "none")
    requirement = f"hf-noisy{f'[{extra}]' if extra else ''} @ {harness.ROOT.as_uri()}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for command in (
        ["venv", "--python", python, str(environment)],
        ["pip", "install", "--python", str(environment / "bin" / "python"), requirement],
    ):
        done = subprocess.run(["uv", *command, "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"uv {command[0]} failed: {done.stderr[-2000:]}")
    site = next((environment / "lib").glob("python*")) / "site-packages"
    parts = dict.fromkeys((path.name for path in site.iterdir()), 0)
    for file in site.rglob("*"):
        if file.is_file() and not file.is_symlink():
            parts[file.relative_to(site).parts[0]] += file.stat().st_size
    torch = sum(size for name, size in parts.items() if name.split("-")[0].split(".")[0] in TORCH)
    distributions = len(list(site.glob("*.dist-info")))
    return {"all": sum(parts.values()), "torch": torch, "package": parts["hf_noisy"], "distributions": distributions}


def all_sizes() -> dict[str, dict[str, int]]:
    extras = tomllib.loads((harness.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sizes = {}
    for extra in [None, *(name for name in extras if name not in DEVELOPERS)]:
        with tempfile.TemporaryDirectory() as folder:
            sizes[extra or "none"] = installed(extra, Path(folder))
    return sizes


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["imports"] = import_times(arguments.runs)
    if arguments.sizes:
        report |= {"sizes_command": report["command"], "sizes": all_sizes()}
    else:
        report |= {name: kept for name, kept in report.earlier().items() if name.startswith("sizes")}
    print(json.dumps({name: report[name] for name in ("imports", "sizes") if name in report}, indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "datasets")
