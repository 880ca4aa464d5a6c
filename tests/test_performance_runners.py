"""The runners behind docs/performance.md run, at sizes that say nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(name: str, output: Path, *words: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--output", str(output), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(output.read_text())


def test_throughput_of_a_gpu_is_rehearsed_on_the_cpu(tmp_path):
    report = run("gpu_throughput", tmp_path / "rehearsal.json", "--tiny")
    assert report["environment"]["device"] == "cpu"
    assert [row["branches"] for row in report["by_branches"]] == [1, 2, 3, 5]
    assert all(row["ratio"] > 0 for row in report["against_trainer"])


def test_a_rehearsal_is_kept_out_of_the_results():
    target = ROOT / "benchmarks" / "results" / "gpu_throughput.json"
    before = target.read_bytes() if target.is_file() else None
    with pytest.raises(AssertionError, match="a rehearsal is no result"):
        run("gpu_throughput", target, "--tiny")
    assert (target.read_bytes() if target.is_file() else None) == before


def test_times_of_imports(tmp_path):
    report = run("install_cost", tmp_path / "install.json", "--runs", "1", "--sizes", "false")
    assert all(0 < row["lowest_s"] <= row["median_s"] <= row["highest_s"] for row in report["imports"].values())
