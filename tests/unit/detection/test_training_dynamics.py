import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax

from hf_noisy.core import blocks
from hf_noisy.detection.training_dynamics import aum, data_map
from hf_noisy.dynamics.store import Trajectories


def draw(seed, num_epochs, num_rows, num_classes):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((num_epochs, num_rows, num_classes))
    return rng.integers(0, num_classes, num_rows), logits


inputs = st.builds(draw, st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 20), st.integers(2, 5))


def test_by_hand():
    logits = np.log([[[0.7, 0.2, 0.1]], [[0.3, 0.6, 0.1]], [[0.5, 0.1, 0.4]], [[0.1, 0.1, 0.8]]])
    labels = np.array([0])
    margins = [np.log(0.7 / 0.2), np.log(0.3 / 0.6), np.log(0.5 / 0.4), np.log(0.1 / 0.8)]
    assert_allclose(aum(labels, logits), [np.mean(margins)])
    found = data_map(labels, logits)
    assert_allclose(found.confidence, [0.4])
    assert_allclose(found.variability, [np.std([0.7, 0.3, 0.5, 0.1])])
    assert_array_equal(found.correctness, [0.5])
    assert_array_equal(found.forgetting, [2])


@given(inputs)
def test_matches_the_formulas_on_all_epochs_at_once(data):
    labels, logits = data
    rows = np.arange(len(labels))
    others = logits.copy()
    others[:, rows, labels] = -np.inf
    margins = logits[:, rows, labels] - others.max(2)
    assert_allclose(aum(labels, logits), margins.mean(0), atol=1e-12)
    probabilities = softmax(logits, axis=2)[:, rows, labels]
    found = data_map(labels, logits)
    assert_allclose(found.confidence, probabilities.mean(0), atol=1e-12)
    assert_allclose(found.variability, probabilities.std(0), atol=1e-7)
    right = margins > 0
    assert_allclose(found.correctness, right.mean(0))
    assert_array_equal(found.forgetting, (right[:-1] & ~right[1:]).sum(0))


@given(inputs, st.integers(0, 1000), st.integers(1, 30))
def test_order_of_rows_and_size_of_a_block_do_not_matter(data, seed, elements):
    labels, logits = data
    order = np.random.default_rng(seed).permutation(len(labels))
    expected = [aum(labels, logits), *data_map(labels, logits)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ELEMENTS_A_BLOCK", elements)
        found = [aum(labels[order], logits[:, order]), *data_map(labels[order], logits[:, order])]
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs[order], atol=1e-9)


@given(inputs, st.floats(-1000, 1000))
def test_a_shift_of_all_logits_changes_nothing(data, shift):
    labels, logits = data
    assert_allclose(aum(labels, logits + shift), aum(labels, logits), atol=1e-9)
    assert_allclose(data_map(labels, logits + shift).confidence, data_map(labels, logits).confidence, atol=1e-9)


def test_limits():
    always = np.tile(np.array([[[50.0, 0.0], [0.0, 50.0], [1.0, 1.0]]]), (3, 1, 1))
    found = data_map(np.array([0, 0, 0]), always)
    assert_allclose(found.confidence, [1, 0, 0.5], atol=1e-12)
    assert_array_equal(found.variability, [0, 0, 0])
    assert_array_equal(found.correctness, [1, 0, 0])
    assert_array_equal(found.forgetting, [0, 0, 0])
    assert_array_equal(aum(np.array([0, 0, 0]), always), [50, -50, 0])


def test_large_half_precision_logits_stay_finite():
    logits = np.array([[[60000.0, -60000.0], [-60000.0, 60000.0]]], dtype=np.float16)
    assert_array_equal(aum(np.array([0, 0]), logits), [120000, -120000])
    assert_array_equal(data_map(np.array([0, 0]), logits).confidence, [1, 0])


def test_epochs_are_read_one_at_a_time():
    labels, logits = draw(0, 4, 10, 3)
    read = []

    def epochs():
        for number, values in enumerate(logits):
            read.append(number)
            yield values

    stream = epochs()
    assert read == []
    assert_array_equal(aum(labels, stream), aum(labels, logits))
    assert read == [0, 1, 2, 3]
    assert_array_equal(data_map(labels, epochs()).confidence, data_map(labels, logits).confidence)


def test_recorded_trajectories_are_read_by_branch(tmp_path):
    labels, logits = draw(0, 3, 8, 4)
    splits = {"train": {"rows": 8, "labels": None}}
    manifest = {"num_branches": 2, "num_classes": 4, "dim": 2, "splits": splits}
    store = Trajectories.create(tmp_path / "run", manifest)
    for number, values in enumerate(logits.astype(np.float32), start=1):
        store.write("train", number, np.zeros((2, 8, 2), dtype=np.float32), np.stack([values, -values]))
    assert_allclose(aum(labels, store.logits("train")[:, 0]), aum(labels, logits), atol=1e-6)
    assert_allclose(aum(labels, store.logits("train")[:, 1]), aum(labels, -logits), atol=1e-6)


@pytest.mark.parametrize("function", [aum, data_map])
@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([], "logits must hold at least one epoch, got none"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"must have the shape \(2, 3\) of the first epoch, got \(2, 4\) in 1"),
        (
            [np.zeros((2, 3)), np.zeros((3, 3))],
            r"labels must be one class id for each of the 3 rows, got 2",
        ),
        ([np.zeros((2, 3), dtype=np.int64)], "logits of epoch 0 must be a numpy array of floats, got int64"),
        ([np.zeros(2)], r"logits of epoch 0 must be \[rows, classes\]"),
        ([np.zeros((2, 2))], "labels must be classes 0 to 1, got 2"),
        (
            [np.zeros((2, 3)), np.array([[0, 0, 0], [0, np.nan, 0]])],
            "got NaN or infinity in epoch 1, row 1; drop that",
        ),
    ],
)
def test_bad_input_is_refused(function, logits, message):
    with pytest.raises(ValueError, match=message):
        function(np.array([0, 2]), logits)
