"""1,000,000 rows of 100 classes in float32, memory-mapped, need less than 2 GB beyond the input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("memory_worker.py")
LIMIT = 2 * 10**9

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("million")
    write(folder, 1_000_000, 100)
    (folder / "small").mkdir()
    write(folder / "small", 2000, 100)
    return folder


def write(folder, num_rows, num_classes):
    """Rows that lean towards their label, a block at a time."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, num_rows)
    shape = (num_rows, num_classes)
    stored = np.lib.format.open_memmap(folder / "probabilities.npy", mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, num_rows, 50_000):
        part = rng.random((min(50_000, num_rows - start), num_classes), dtype=np.float32)
        part[np.arange(len(part)), labels[start : start + len(part)]] += num_classes / 2
        stored[start : start + len(part)] = part / part.sum(1, keepdims=True)
    stored.flush()
    np.save(folder / "labels.npy", labels)


def run(folder, function, kind, limit=LIMIT):
    command = [sys.executable, WORKER, folder, function, kind, str(limit)]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("core.checks:check_probabilities", "probabilities"),
        ("detection.label_quality:self_confidence", "probabilities"),
        ("detection.label_quality:normalized_margin", "probabilities"),
        ("detection.label_quality:confidence_weighted_entropy", "probabilities"),
        ("detection.label_quality:confident_classes", "probabilities"),
        ("detection.label_quality:confident_learning", "probabilities"),
        ("detection.label_quality:suggested_labels", "probabilities"),
        ("detection.transition_matrix:confident_joint", "probabilities"),
        ("detection.transition_matrix:confident_transition_matrix", "probabilities"),
        ("detection.transition_matrix:dual_t_transition_matrix", "probabilities"),
        ("detection.training_dynamics:aum", "epochs"),
        ("detection.training_dynamics:data_map", "epochs"),
        ("detection.anchor_free:anchor_free_transition_matrix", "features"),
        ("detection.mixture:small_loss", "losses"),
    ],
)
def test_a_million_rows_of_a_hundred_classes(folder, function, kind):
    finished = run(folder, function, kind)
    assert finished.returncode == 0, finished.stderr


def test_the_limit_is_felt(folder):
    finished = run(folder, "none", "none")
    assert finished.returncode == 1
    assert "Unable to allocate 1.86 GiB" in finished.stderr


def test_no_copy_of_the_input_is_made(folder):
    # It would be 400 MB in float32.
    for function in ("detection.label_quality:normalized_margin", "detection.transition_matrix:confident_joint"):
        finished = run(folder, function, "probabilities", limit=100 * 10**6)
        assert finished.returncode == 0, finished.stderr
