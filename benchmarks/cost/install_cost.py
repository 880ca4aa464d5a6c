"""What the package costs before it does anything: time of import and size on disk, install_cost.json.

    python -m benchmarks.cost.install_cost

Time: processor seconds of `import hf_noisy` in a new process that has imported transformers already, and of importing
what a training script imports anyway; a pair of processes a run, in turn. Size: the files that `uv pip install` puts
into an empty environment, without extras and with each; what torch and its CUDA libraries take of it is told apart,
for that depends on the machine. Environments are made in a temporary folder and removed.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from transformers import HfArgumentParser

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parents[1] / "results"
DEVELOPERS = {"test", "dev", "docs"}
TORCH = ("cuda", "functorch", "nvidia", "torch", "torchgen", "triton")
# What is imported first and not counted, and what is.
IMPORTS = {
    "import hf_noisy, after transformers": ("import transformers", "import hf_noisy"),
    "every public name, after what a training script imports": (
        "import datasets; from transformers import AutoModelForSequenceClassification, Trainer",
        "import hf_noisy; [getattr(hf_noisy, name) for name in hf_noisy.__all__]",
    ),
    "what a training script imports without hf_noisy": (
        "pass", "import datasets; from transformers import AutoModelForSequenceClassification, Trainer",
    ),
}  # fmt: skip
MEASURE = "import time; {base}\nstart = time.process_time(); {counted}; print(time.process_time() - start)"


@dataclass
class Arguments:
    runs: int = field(default=7, metadata={"help": "processes of each kind, in turn, after one that warms up"})
    sizes: bool = field(default=True, metadata={"help": "install, with uv; else what the result file has stays"})
    output: str = field(default=str(RESULTS / "install_cost.json"), metadata={"help": "result file"})


def seconds(base: str, counted: str) -> float:
    program = MEASURE.format(base=base, counted=counted)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def import_times(runs: int) -> dict[str, dict]:
    measured: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for turn in range(runs + 1):
        for name, (base, counted) in IMPORTS.items():
            value = seconds(base, counted)
            if turn:
                measured[name].append(value)
    return {name: {"median_s": float(np.median(values)), "lowest_s": min(values), "highest_s": max(values)}
            for name, values in measured.items()}  # fmt: skip


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def installed(extra: str | None, folder: Path) -> dict:
    """Sizes in bytes of a new environment with the package."""
    environment = folder / (extra or "none")
    requirement = f"hf-noisy{f'[{extra}]' if extra else ''} @ {ROOT.as_uri()}"
    version_of_python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for command in (["venv", "--python", version_of_python, str(environment)],
                    ["pip", "install", "--python", str(environment / "bin" / "python"), requirement]):  # fmt: skip
        done = subprocess.run(["uv", *command, "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"uv {command[0]} failed: {done.stderr[-2000:]}")
    site = next((environment / "lib").glob("python*")) / "site-packages"
    parts = {path.name: folder_size(path) if path.is_dir() else path.stat().st_size for path in site.iterdir()}
    torch = sum(size for name, size in parts.items() if name.split("-")[0].split(".")[0] in TORCH)
    return {"all": sum(parts.values()), "torch": torch, "package": parts["hf_noisy"],
            "distributions": len(list(site.glob("*.dist-info")))}  # fmt: skip


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    report = {
        "command": " ".join(["python -m benchmarks.cost.install_cost", *sys.argv[1:]]),
        "arguments": {name: value for name, value in asdict(arguments).items() if name != "output"},
        "environment": {
            "versions": {name: version(name) for name in ("hf-noisy", "torch", "transformers", "datasets")},
            "python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(),
        },
        "imports": import_times(arguments.runs),
    }  # fmt: skip
    output = Path(arguments.output)
    if not arguments.sizes and output.is_file():
        report |= {name: kept for name, kept in json.loads(output.read_text()).items() if name.startswith("sizes")}
    if arguments.sizes:
        report["sizes_command"] = report["command"]
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        report["sizes"] = {}
        for extra in [None, *(name for name in extras if name not in DEVELOPERS)]:
            with tempfile.TemporaryDirectory() as folder:
                report["sizes"][extra or "none"] = installed(extra, Path(folder))
    temporary = output.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, output)
    print(json.dumps({name: report[name] for name in ("imports", "sizes") if name in report}, indent=1))


if __name__ == "__main__":
    main()
