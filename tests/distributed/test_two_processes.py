"""Two processes train and record what one process does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_noisy.dynamics.store import FOLDER
from tests.contract.runs import SHORT_CASES, file_contents
from tests.distributed import worker

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-6
RIGHT = [name for name in worker.names() if "/" in name]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend")


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Path:
    """The folder where two ranks left the results of all runs."""
    folder = tmp_path_factory.mktemp("ranks")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, "-m", "tests.distributed.worker", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return folder


def ranks(folder: Path, name: str) -> list[dict[str, torch.Tensor]]:
    return [load_file(folder / f"{name.replace('/', '-')}-{rank}.safetensors") for rank in range(2)]


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], prefix: str) -> float:
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one if key.startswith(prefix))


def test_every_method_is_run():
    assert {name.split("/")[0] for name in RIGHT} == {method for method, _ in SHORT_CASES}


@pytest.mark.parametrize("name", RIGHT)
def test_parameters_and_logs_are_those_of_one_process(name, launched, tmp_path):
    first, second = ranks(launched, name)
    assert gap(first, second, "model.") == 0.0
    alone = worker.results(name, tmp_path, 1)
    assert gap(alone, first, "model.") < TOLERANCE
    assert gap(alone, first, "log.") < 1e-5
    assert ("log.disagreement" in alone) == name.startswith(("coregularization", "jocor"))


def test_a_wrong_scale_is_caught(launched, tmp_path):
    first, _ = ranks(launched, "no-rank-factor")
    assert gap(worker.results("cross_entropy/plain", tmp_path, 1), first, "model.") > 1e-4


def test_a_module_outside_the_wrapped_model_is_caught(launched):
    first, second = ranks(launched, "own-network")
    assert gap(first, second, "method.") > 1e-4


def test_recorded_files_are_those_of_one_process(launched, tmp_path):
    alone = worker.record(tmp_path, 1).trajectories
    found = file_contents(launched / "recorded" / FOLDER)
    # The manifest, and for each of three splits the features of the encoder and each epoch and branch.
    assert len(found) == 1 + 3 * (1 + 2 * 2)
    assert found == file_contents(alone.path)
    assert all(rank["epochs"].tolist() == alone.epochs == [1, 2] for rank in ranks(launched, "epochs"))


def test_resumed_run_is_the_uninterrupted_run_on_each_rank(launched):
    for rank in ranks(launched, "resumed"):
        assert all(value == 0 for value in rank.values())
