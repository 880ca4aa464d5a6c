"""Starts a module of the tests on several gloo processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "accelerate"


def environment(**further: str) -> dict[str, str]:
    plain = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **plain, **further}


def torchrun(module: str, *arguments: Any, ranks: int = 2, timeout: int = 280) -> None:
    """`module` on `ranks` processes."""
    launcher = ["torch.distributed.run", f"--nproc-per-node={ranks}", "--rdzv-backend=c10d"]
    _run([*launcher, "--rdzv-endpoint=localhost:0", "-m", module, *map(str, arguments)], environment(), timeout)


def accelerate(config: str, module: str, *arguments: Any, timeout: int = 900, **further: str) -> None:
    """`module` on two processes of a configuration, in full precision."""
    launcher = ["accelerate.commands.launch", "--config_file", str(CONFIGS / f"{config}.yaml"), "--num_processes", "2"]
    launcher += ["--mixed_precision", "no", "--main_process_port", "0", "--module"]
    _run([*launcher, module, *map(str, arguments)], environment(**further), timeout)


def _run(command: list[str], variables: dict[str, str], timeout: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
