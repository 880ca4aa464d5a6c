import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hf_noisy.detection import checks
from hf_noisy.detection.checks import (
    check_features,
    check_probabilities,
    check_shapes,
    checked_blocks,
    class_counts,
    row_blocks,
)

GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])
LABELS = np.array([0, 1])


def test_blocks_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(checks, "ELEMENTS_A_BLOCK", 12)
    values, labels = np.arange(30.0).reshape(10, 3), np.arange(10) % 3
    blocks = list(row_blocks(values, labels))
    assert [len(block.values) for block in blocks] == [4, 4, 2]
    assert_array_equal(np.concatenate([block.values for block in blocks]), values)
    assert_array_equal(np.concatenate([block.labels for block in blocks]), labels)
    assert_array_equal(np.concatenate([np.arange(10)[block.rows] for block in blocks]), np.arange(10))


def test_a_row_wider_than_a_block_is_a_block(monkeypatch):
    monkeypatch.setattr(checks, "ELEMENTS_A_BLOCK", 2)
    assert len(list(row_blocks(np.zeros((3, 5)), np.zeros(3, dtype=np.int64)))) == 3


def test_blocks_are_views_unless_they_are_half_precision(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "p.npy", mode="w+", dtype=np.float32, shape=(4, 2))
    block = next(row_blocks(stored, np.zeros(4, dtype=np.int64)))
    assert type(block.values) is np.ndarray
    assert np.shares_memory(block.values, stored)
    assert next(row_blocks(np.zeros((4, 2), dtype=np.float16), np.zeros(4, dtype=np.int64))).values.dtype == np.float32


def test_own_and_best_other():
    values = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, -3.0, -2.0]])
    block = next(row_blocks(values, np.array([0, 2, 0], dtype=np.uint8)))
    assert_array_equal(block.own(), [3, 2, -1])
    assert_array_equal(block.best_other(), [2, 3, -2])
    assert_array_equal(values[0], [3, 1, 2])  # the caller's array is untouched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_distributions_of_every_precision_pass(dtype, num_classes):
    probabilities = np.random.default_rng(0).dirichlet(np.full(num_classes, 0.5), 100).astype(dtype)
    for kind in (np.int8, np.uint16, np.int64, np.uint64):
        assert check_probabilities(probabilities, np.ones(100, dtype=kind)) is None


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.9, 0.1]], LABELS, "probabilities must be a numpy array of floats, got list; convert it"),
        (np.eye(2, dtype=np.int64), LABELS, "probabilities must be a numpy array of floats, got int64"),
        (np.ones(2), LABELS, r"probabilities must be \[rows, classes\] of at least 1 row and 2 classes, got \(2,\)"),
        (np.ones((2, 1)), LABELS, r"at least 1 row and 2 classes, got \(2, 1\)"),
        (np.ones((0, 2)), LABELS, r"at least 1 row and 2 classes, got \(0, 2\)"),
        (GOOD, [0, 1], "labels must be a numpy array of integers, got list; pass class ids"),
        (GOOD, np.array([0.0, 1.0]), "labels must be a numpy array of integers, got float64"),
        (GOOD, np.array([0.0, np.nan]), "labels must be a numpy array of integers, got float64; pass class ids, none"),
        (GOOD, np.array([True, False]), "labels must be a numpy array of integers, got bool"),
        (GOOD, np.array(["a", "b"]), "labels must be a numpy array of integers, got <U1"),
        (GOOD, np.array([0, 1, 1]), r"one class id for each of the 2 rows, got shape \(3,\)"),
        (GOOD, np.array([0, 2]), "labels must be classes 0 to 1, got 2; drop rows"),
        (GOOD, np.array([-1, 0]), "labels must be classes 0 to 1, got -1; drop rows"),
        (np.array([[0.9, 0.1], [0.2, 0.7]]), LABELS, r"must sum to 1 in each row, got 0\.9 in row 1; pass softmax"),
        (np.array([[2.0, -1.0], [0.2, 0.8]]), LABELS, "must not be negative, got -1 in row 0; pass softmax"),
        (np.array([[0.9, 0.1], [np.nan, 0.8]]), LABELS, "must be finite, got NaN or infinity in row 1; mend"),
        (np.array([[0.9, 0.1], [np.inf, 0.8]]), LABELS, "must be finite, got NaN or infinity in row 1; mend"),
        (np.array([[-np.inf, np.inf], [0.2, 0.8]]), LABELS, "must be finite, got NaN or infinity in row 0; mend"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(probabilities, labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_probabilities(probabilities, labels)
    assert "\n" not in str(caught.value)


def test_the_row_of_a_later_block_is_named(monkeypatch):
    monkeypatch.setattr(checks, "ELEMENTS_A_BLOCK", 8)
    for value, message in [(np.nan, "infinity in row 41"), (-0.5, "row 41"), (0.2, r"got 0\.7 in row 41")]:
        probabilities = np.full((50, 2), 0.5)
        probabilities[41, 1] = value
        with pytest.raises(ValueError, match=message):
            check_probabilities(probabilities, np.zeros(50, dtype=np.int64))


def test_shapes_and_labels_are_checked_before_the_first_block():
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 7"):
        checked_blocks(GOOD, np.array([0, 7]))
    with pytest.raises(ValueError, match=r"logits must be \[rows, classes\]"):
        check_shapes(np.zeros(3), LABELS, name="logits")


def test_counts_and_empty_classes():
    assert_array_equal(class_counts(np.array([1, 0, 1], dtype=np.uint64), 2), [1, 2])
    with pytest.raises(
        ValueError, match="labels must hold every class, but no row has class 1, 3; leave such classes"
    ):
        class_counts(np.array([0, 2, 2]), 4)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[1.0]], "features must be a numpy array of floats, got list"),
        (np.ones((3, 2), dtype=np.int64), "features must be a numpy array of floats, got int64"),
        (np.ones(3), r"features must be \[rows, dim\] of at least 1 row and 1 number, got \(3,\)"),
        (np.ones((3, 0)), r"features must be \[rows, dim\] of at least 1 row and 1 number, got \(3, 0\)"),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        check_features(features)
