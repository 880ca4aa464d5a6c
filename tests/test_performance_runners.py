"""The runners behind docs/performance.md run, at sizes that say nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(name: str, output: Path, *words: str) -> dict:
    command = [sys.executable, "-m", f"benchmarks.cost.{name}", "--output", str(output), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(output.read_text())


def test_throughput_of_a_gpu_is_rehearsed_on_the_cpu(tmp_path):
    report = run("gpu_throughput", tmp_path / "rehearsal.json", "--tiny")
    assert report["environment"]["device"] == "cpu"
    assert [row["branches"] for row in report["by_branches"]] == [1, 2, 3, 5]
    assert all(row["ratio"]["median"] > 0 for row in report["against_trainer"])


def test_a_rehearsal_is_kept_out_of_the_results():
    target = ROOT / "benchmarks" / "results" / "gpu_throughput.json"
    before = target.read_bytes() if target.is_file() else None
    with pytest.raises(AssertionError, match="a rehearsal is no result"):
        run("gpu_throughput", target, "--tiny")
    assert (target.read_bytes() if target.is_file() else None) == before


def test_times_of_imports(tmp_path):
    report = run("install_cost", tmp_path / "install.json", "--runs", "1", "--sizes", "false")
    assert all(0 < row["lowest"] <= row["median"] <= row["highest"] for row in report["imports"].values())


SMALL = {
    "audit_scale": "--rows 200 --projected_from 200 --embedded 10",
    "detection": "--only speed --rows 2000 --classes 3 --repeats 1",
    "dmlp_speed": "--rows 300 --width 16 --classes 3 --clean 20 --epochs 1",
    "dygen_cost": "--datasets trec --seeds 0 --sides plain --rows 32 --test_rows 16 --epochs 1 --max_length 16",
    "dygen_speed": "--rows 32 --validation_rows 8 --test_rows 16 --seeds 0 --max_length 16",
    "neighbours": "--rows 500 --queries 50 --dim 16 --indices exact",
    "noise_injection": "--rows 1000 --num_classes 10 --turns 1",
    "recorder_cost": "--rows 32 --turns 1",
    "scale": "--rows 500 --projections 0 --epochs 2 --work_dir {folder}",
    "serving": "--train_rows 32 --test_rows 32 --epochs 1 --turns 1 --work_dir {folder}",
    "shared_cost": "--turns 1 --rows 2 --length 8 --methods nct --shared 3",
    "stage2_speed": "--rows 64 --epochs 2 --dim 16 --classes 3 --iterations 1 --repeats 1 --batch_sizes 32",
    "step_cost": "--methods dal --models bert --rounds 1 --pairs 2",
}


@pytest.mark.parametrize("name", SMALL)
def test_the_others_run_on_the_last_code(name, tmp_path):
    if name in ("dygen_cost", "dygen_speed", "recorder_cost", "serving") and "HF_NOISY_DATA_DIR" not in os.environ:
        pytest.skip("its data set is not here")
    report = run(name, tmp_path / "report.json", *SMALL[name].format(folder=tmp_path / "work").split())
    assert report["command"].startswith(f"python -m benchmarks.cost.{name} ")
    assert report["environment"]["versions"]["torch"]
