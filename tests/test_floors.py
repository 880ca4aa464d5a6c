"""The lowest versions that pyproject.toml declares work."""

import faulthandler
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Gigabytes with the libraries of a GPU: that the floors of these can be installed with the others is resolved only.
HEAVY = r"(torch|torchvision|triton|nvidia-.*)=="
TESTS = (
    "unit/cli/test_commands.py",
    "unit/cli/test_trust.py",
    "unit/data/test_load.py",
    "unit/hub",
    "unit/metrics",
    "unit/models/test_adapters.py",
    "unit/models/test_branches.py",
    "unit/reports",
    "unit/training/test_checkpoints.py",
    "unit/training/test_trainer.py",
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="needs uv")
def test_the_lowest_declared_versions_work_together(tmp_path):
    faulthandler.cancel_dump_traceback_later()  # the time limit of a test; each of the tests below has one of its own
    uv = [sys.executable, "-m", "uv", "pip"]
    lowest = [*uv, "compile", "--resolution", "lowest-direct", "--no-annotate", "--no-header", "--quiet"]
    found = subprocess.run([*lowest, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True)
    if re.search("connect|resolve host|timed out", found.stderr):
        pytest.skip("needs a package index")
    assert found.returncode == 0, found.stderr
    pins = [line for line in found.stdout.splitlines() if "==" in line and not re.match(HEAVY, line)]
    (tmp_path / "floors.txt").write_text("\n".join(pins))
    target = ["--python", sys.executable, "--target", str(tmp_path / "floors"), "--no-deps", "-r", "floors.txt"]
    subprocess.run([*uv, "install", "--quiet", *target], cwd=tmp_path, check=True)
    path = os.pathsep.join([str(tmp_path / "floors"), str(ROOT)])
    words = [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}" for name in TESTS)]
    ended = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-8000:]
