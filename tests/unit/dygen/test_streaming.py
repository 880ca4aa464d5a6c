"""Trajectories too large for memory are read a part at a time, and nothing else changes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_noisy.dygen import vae as vae_module
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.prior import evidence_prior, paper_prior
from hf_noisy.dygen.vae import SHUFFLED_ROWS, fit_vae, prior_alpha, row_order
from hf_noisy.dygen.vectors import StoredVectors, TrajectoryVectors
from hf_noisy.dynamics import store
from hf_noisy.dynamics.scores import centroid_distances, centroids, distances_by_epoch
from tests.unit.dygen.synthetic import make, symmetric

ROOT = Path(__file__).parents[3]
ROWS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), symmetric(0.3, 3), rows=ROWS)


@pytest.fixture
def in_blocks(monkeypatch):
    """Blocks of a few rows instead of many thousand."""
    monkeypatch.setattr(store, "_BLOCK_BYTES", 1000)
    assert len(store.row_blocks(ROWS, 8)) == 10


def test_some_rows_are_read_as_they_lie(made):
    whole = made.trajectories.embeddings("train", 2, 1)
    for rows, expected in (
        (slice(7, 31), whole[7:31]),
        (slice(290, 400), whole[290:]),
        ([slice(40, 50), slice(3, 5)], np.concatenate([whole[40:50], whole[3:5]])),
        (slice(5, 5), whole[:0]),
    ):
        np.testing.assert_array_equal(made.trajectories.embeddings("train", 2, 1, rows), expected)
    np.testing.assert_array_equal(
        made.trajectories.branch_logits("train", 3, 0, slice(4, 9)), made.trajectories.logits("train")[2, 0, 4:9]
    )
    np.testing.assert_array_equal(
        made.trajectories.features("train", slice(4, 9)), made.trajectories.features("train")[4:9]
    )
    with pytest.raises(ValueError, match="rows must be ranges without a step"):
        made.trajectories.embeddings("train", 2, 1, slice(0, 10, 2))


def test_blocks_are_all_rows_once():
    blocks = store.row_blocks(100_001, 384)
    assert [row for block in blocks for row in (block.start, block.stop)][1:-1:2] == [b.start for b in blocks[1:]]
    assert (blocks[0].start, blocks[-1].stop) == (0, 100_001)
    assert max(block.stop - block.start for block in blocks) * 384 * 4 <= 1 << 25


def test_scores_in_blocks_are_those_of_all_rows(made, in_blocks):
    for branch in range(2):
        found = distances_by_epoch(made.trajectories, made.given, branch=branch)
        for epoch in (1, 2, 3):
            embeddings = made.trajectories.embeddings("train", epoch, branch)
            expected = centroid_distances(embeddings, centroids(embeddings, made.given, 3))
            np.testing.assert_allclose(found[epoch - 1], expected[np.arange(ROWS), made.given], rtol=1e-10)


@pytest.mark.parametrize("prior", [evidence_prior, paper_prior])
def test_prior_in_blocks_is_that_of_all_rows(prior, made, monkeypatch):
    whole = prior(made.trajectories, made.given, 0.3)
    monkeypatch.setattr(store, "_BLOCK_BYTES", 1000)
    found = prior(made.trajectories, made.given, 0.3)
    np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-9)
    np.testing.assert_allclose(found.suspicion, whole.suspicion, rtol=1e-10)
    np.testing.assert_allclose(found.of(made.trajectories, "test"), whole.of(made.trajectories, "test"), atol=1e-9)


def test_vectors_in_blocks_are_those_of_all_rows(made, monkeypatch):
    whole = TrajectoryVectors.fit(made.trajectories)
    w = whole(made.trajectories, "train")
    part = StoredVectors(whole, made.trajectories, "train").read([slice(250, 290), slice(10, 20)])
    assert torch.equal(part, torch.cat([w[:, 250:290], w[:, 10:20]], 1))
    monkeypatch.setattr(store, "_BLOCK_BYTES", 1000)
    found = TrajectoryVectors.fit(made.trajectories)
    # A plain sum in float32, which small data keep, is the less exact one of the two.
    np.testing.assert_allclose(found.means, whole.means, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.scales, whole.scales, rtol=1e-6)
    np.testing.assert_allclose(found.feature_mean, whole.feature_mean, atol=1e-7)
    np.testing.assert_allclose(found.feature_scale, whole.feature_scale, rtol=1e-6)


def stored(made):
    return StoredVectors(TrajectoryVectors.fit(made.trajectories), made.trajectories, "train")


def test_a_pass_from_the_disk_sees_every_row_once_with_its_own_numbers(made, monkeypatch):
    vectors = stored(made)
    w = vectors.read(slice(None))
    monkeypatch.setattr(vae_module, "_CHUNK_BYTES", 2 * SHUFFLED_ROWS * vectors.row_bytes)
    orders = []
    for iteration in (0, 1):
        rows = []
        for chunk, numbers in vae_module._chunks(vectors, 0, iteration):
            assert chunk.shape[1] == len(numbers) <= 2 * SHUFFLED_ROWS
            assert torch.equal(chunk, w[:, numbers])
            rows.append(numbers)
        assert len(rows) == 3
        orders.append(np.concatenate(rows).tolist())
        assert sorted(orders[-1]) == list(range(ROWS))
    assert orders[0] != orders[1]
    assert sorted(row_order(rows[0], 0, 1).tolist()) == list(range(len(rows[0])))


def test_one_chunk_from_the_disk_trains_the_same_vae_as_memory(made, monkeypatch):
    vectors = stored(made)
    alpha = prior_alpha(torch.from_numpy(np.eye(3)[made.given]).float())
    options = {"epochs": 2, "batch_size": 16, "show_progress": False}
    expected = fit_vae(vectors.read(slice(None)), torch.from_numpy(made.given), alpha, **options)
    found = fit_vae(vectors, torch.from_numpy(made.given), alpha, **options)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    monkeypatch.setattr(vae_module, "_CHUNK_BYTES", 2 * SHUFFLED_ROWS * vectors.row_bytes)
    apart = [fit_vae(vectors, torch.from_numpy(made.given), alpha, **options) for _ in range(2)]
    assert torch.equal(apart[0].bias, apart[1].bias)
    assert not torch.equal(apart[0].bias, expected.bias)


@pytest.mark.slow
def test_posterior_from_the_disk_is_as_good_and_says_so(made, monkeypatch):
    whole = DyGen.fit(made.trajectories, made.given, 0.3, show_progress=False)
    monkeypatch.setattr(vae_module, "_CHUNK_BYTES", 2 * SHUFFLED_ROWS * stored(made).row_bytes)
    monkeypatch.setattr(store, "_BLOCK_BYTES", 5000)
    found = DyGen.fit(made.trajectories, made.given, 0.3, show_progress=False, max_memory=0)
    assert (whole.config.shuffled_rows, found.config.shuffled_rows) == (1, SHUFFLED_ROWS)
    for labels in (None, made.given):
        right = [(d.posterior("train", labels).argmax(1) == made.true).mean() for d in (whole, found)]
        assert right[1] > right[0] - 0.02
        assert np.abs(found.posterior("train", labels) - whole.posterior("train", labels)).mean() < 0.05


def test_voters_of_the_published_prior_can_be_a_sample(made):
    whole = paper_prior(made.trajectories, made.given, 0.3)
    found = paper_prior(made.trajectories, made.given, 0.3, max_references=100, seed=3)
    right = [(p.probabilities[0].argmax(1) == made.true).mean() for p in (whole, found)]
    assert right[1] > right[0] - 0.05
    dygen = DyGen.fit(
        made.trajectories,
        made.given,
        0.3,
        preset="paper",
        vae_epochs=1,
        max_references=100,
        seed=3,
        show_progress=False,
    )
    assert dygen.config.max_references == 100
    np.testing.assert_array_equal(dygen.prior, found.probabilities)
    with pytest.raises(ValueError, match="max_references and suspects_by are for preset 'paper'"):
        DyGen.fit(made.trajectories, made.given, max_references=100)


WORKER = """
import resource, sys
from pathlib import Path
import numpy as np
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from tests.unit.dygen.synthetic import make, symmetric

def used():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0])

folder = Path(sys.argv[1])
small = make(folder / "small", symmetric(0.3, 3), rows=300)
DyGen.fit(small.trajectories, small.given, 0.3, vae_epochs=1, show_progress=False, max_memory=0).posterior("train")
trajectories, labels = Trajectories(folder / "large"), np.load(folder / "labels.npy")
limit = used() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
options = {"max_memory": int(sys.argv[3])}
DyGen.fit(trajectories, labels, 0.3, vae_epochs=1, show_progress=False, **options).posterior("train")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
def test_memory_does_not_grow_with_the_width_times_the_epochs(tmp_path):
    # 60,000 rows of 4 epochs and 2 branches of 384 dimensions: w would be 740 MB.
    rows, epochs, limit = 60_000, 4, 600 * 10**6
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, rows)
    split = {"rows": rows, "labels": store.labels_digest(labels), "fingerprint": ""}
    sizes = {"num_branches": 2, "num_classes": 3, "dim": 384, "dtype": "float16", "splits": {"train": split}}
    trajectories = store.Trajectories.create(tmp_path / "large", sizes)
    for epoch in range(1, epochs + 1):
        embeddings = rng.standard_normal((2, rows, 384), np.float32).astype(np.float16)
        logits = 2 * np.eye(3, dtype=np.float16)[np.stack([labels, labels])]
        trajectories.write("train", epoch, embeddings, logits)
    # The prior holds the features in memory, whose size does not depend on the epochs.
    features = rng.standard_normal((rows, 384), np.float32) + 2 * np.eye(3, 384, dtype=np.float32)[labels]
    trajectories.write_features("train", features)
    np.save(tmp_path / "labels.npy", labels)

    def run(max_memory):
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(limit), str(max_memory)]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    finished = run(max_memory=0)
    assert finished.returncode == 0, finished.stderr
    assert run(max_memory=1 << 40).returncode != 0  # the limit is felt
