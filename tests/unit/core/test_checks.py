import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hf_noisy.core import blocks as blocks_module
from hf_noisy.core.blocks import labelled_blocks
from hf_noisy.core.checks import (
    check_features,
    check_label_columns,
    check_labels,
    check_probabilities,
    check_rate,
    check_scores,
    check_soft_labels,
    check_weights,
    class_counts,
    probability_blocks,
)

GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])
LABELS = np.array([0, 1])


def test_blocks_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(blocks_module, "ELEMENTS_A_BLOCK", 12)
    values, labels = np.arange(30.0).reshape(10, 3), np.arange(10) % 3
    blocks = list(labelled_blocks(labels, values))
    assert [len(block.values) for block in blocks] == [4, 4, 2]
    assert_array_equal(np.concatenate([block.values for block in blocks]), values)
    assert_array_equal(np.concatenate([block.labels for block in blocks]), labels)
    assert_array_equal(np.concatenate([np.arange(10)[block.rows] for block in blocks]), np.arange(10))


def test_a_row_wider_than_a_block_is_a_block(monkeypatch):
    monkeypatch.setattr(blocks_module, "ELEMENTS_A_BLOCK", 2)
    assert len(list(labelled_blocks(np.zeros(3, dtype=np.int64), np.zeros((3, 5))))) == 3


def test_blocks_are_views_unless_they_are_half_precision(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "p.npy", mode="w+", dtype=np.float32, shape=(4, 2))
    block = next(labelled_blocks(np.zeros(4, dtype=np.int64), stored))
    assert type(block.values) is np.ndarray
    assert np.shares_memory(block.values, stored)
    assert (
        next(labelled_blocks(np.zeros(4, dtype=np.int64), np.zeros((4, 2), dtype=np.float16))).values.dtype
        == np.float32
    )


def test_own_and_best_other():
    values = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, -3.0, -2.0]])
    block = next(labelled_blocks(np.array([0, 2, 0], dtype=np.uint8), values))
    assert_array_equal(block.own(), [3, 2, -1])
    assert_array_equal(block.best_other(), [2, 3, -2])
    assert_array_equal(values[0], [3, 1, 2])  # the caller's array is untouched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_distributions_of_every_precision_pass(dtype, num_classes):
    probabilities = np.random.default_rng(0).dirichlet(np.full(num_classes, 0.5), 100).astype(dtype)
    for kind in (np.int8, np.uint16, np.int64, np.uint64):
        assert check_probabilities(np.ones(100, dtype=kind), probabilities) is None


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.9, 0.1]], LABELS, "probabilities must be a numpy array of floats, got list; convert it"),
        (np.eye(2, dtype=np.int64), LABELS, "probabilities must be a numpy array of floats, got int64"),
        (np.ones(2), LABELS, r"probabilities must be \[rows, classes\] with at least 1 row and 2 classes, got \(2,\)"),
        (np.ones((2, 1)), LABELS, r"at least 1 row and 2 classes, got \(2, 1\)"),
        (np.ones((0, 2)), LABELS, r"at least 1 row and 2 classes, got \(0, 2\)"),
        (GOOD, [0, 1], "labels must be a numpy array of integers, got list; convert it"),
        (GOOD, np.array([0.0, 1.0]), "labels must be one integer per row, got float64"),
        (GOOD, np.array([0.0, np.nan]), "labels has a missing value in row 1; drop such rows"),
        (GOOD, np.array([True, False]), "labels must be one integer per row, got bool"),
        (GOOD, np.array(["a", "b"]), "labels must be integers, got text such as 'a'"),
        (GOOD, np.array([0, 1, 1]), r"one class id for each of the 2 rows, got 3"),
        (GOOD, np.array([0, 2]), "labels must be classes 0 to 1, got 2 in row 1; drop such rows"),
        (GOOD, np.array([-1, 0]), "labels must be classes 0 to 1, got -1 in row 0; drop rows"),
        (np.array([[0.9, 0.1], [0.2, 0.7]]), LABELS, r"must sum to 1 in each row, got 0\.9 in row 1; pass softmax"),
        (np.array([[2.0, -1.0], [0.2, 0.8]]), LABELS, "must not be negative, got -1 in row 0; pass softmax"),
        (np.array([[0.9, 0.1], [np.nan, 0.8]]), LABELS, "must be finite, got NaN or infinity in row 1; fix or drop"),
        (np.array([[0.9, 0.1], [np.inf, 0.8]]), LABELS, "must be finite, got NaN or infinity in row 1; fix or drop"),
        (
            np.array([[-np.inf, np.inf], [0.2, 0.8]]),
            LABELS,
            "must be finite, got NaN or infinity in row 0; fix or drop",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(probabilities, labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_probabilities(labels, probabilities)
    assert "\n" not in str(caught.value)


def test_the_row_of_a_later_block_is_named(monkeypatch):
    monkeypatch.setattr(blocks_module, "ELEMENTS_A_BLOCK", 8)
    for value, message in [(np.nan, "infinity in row 41"), (-0.5, "row 41"), (0.2, r"got 0\.7 in row 41")]:
        probabilities = np.full((50, 2), 0.5)
        probabilities[41, 1] = value
        with pytest.raises(ValueError, match=message):
            check_probabilities(np.zeros(50, dtype=np.int64), probabilities)


def test_shapes_and_labels_are_checked_before_the_first_block():
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 7"):
        probability_blocks(np.array([0, 7]), GOOD)
    with pytest.raises(ValueError, match=r"logits must be \[rows, classes\]"):
        check_scores(LABELS, np.zeros(3), name="logits")


def test_counts_and_empty_classes():
    assert_array_equal(class_counts(np.array([1, 0, 1], dtype=np.uint64), 2), [1, 2])
    with pytest.raises(
        ValueError, match="labels must hold every class, but no row has class 1, 3; leave such classes"
    ):
        class_counts(np.array([0, 2, 2]), 4)


def test_swapped_arguments_are_refused():
    with pytest.raises(ValueError, match="labels come first and probabilities second; swap the two arguments"):
        check_probabilities(GOOD, LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, None], dtype=object), "column 'label' has a missing value in row 1"),
        (
            np.zeros((2, 2), dtype=np.int64),
            r"column 'label' must be one class id per row, got an array of shape \(2, 2\)",
        ),
        (np.array([0, -100]), "column 'label' must be classes from 0, got -100 in row 1; drop rows without a label"),
    ],
)
def test_labels_are_named_as_the_caller_knows_them(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, name="column 'label'")


def test_no_labels_are_in_range():
    assert len(check_labels(np.array([], dtype=np.int64), 3)) == 0


def test_label_columns_are_of_the_same_rows():
    check_label_columns(given=LABELS, true=LABELS)
    with pytest.raises(ValueError, match="all label columns must have the same rows, got given 2, true 1"):
        check_label_columns(given=LABELS, true=LABELS[:1])
    with pytest.raises(ValueError, match="true must have at least one row"):
        check_label_columns(given=LABELS, true=LABELS[:0])
    with pytest.raises(ValueError, match="given must be a numpy array of integers, got list"):
        check_label_columns(given=[0, 1], true=LABELS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (LABELS, r"soft labels must be an array of floats \[rows, classes\], got int64 of shape \(2,\)"),
        (GOOD[:, :1], "soft labels must have a column for each of the 2 classes, got 1"),
        (GOOD[:1], "soft labels must be one distribution for each of the 2 rows, got 1"),
        (GOOD * 2, "soft labels must sum to 1 in each row, got 2 in row 0"),
        (GOOD - 1, "soft labels must not be negative"),
        (GOOD * np.nan, "soft labels must be finite, got NaN or infinity in row 0"),
    ],
)
def test_bad_soft_labels_are_refused(values, message):
    assert check_soft_labels(GOOD.astype(np.float16), 2, 2).dtype == np.float16
    with pytest.raises(ValueError, match=message):
        check_soft_labels(values, 2, 2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, None], "column 'w' must hold one finite number per row"),
        ([1.0, np.inf], "column 'w' must hold one finite number per row"),
        ([[1.0], [1.0]], "column 'w' must hold one finite number per row"),
        ([1.0, -0.1], "column 'w' must be at least 0, and above 0 in some row"),
        ([0.0, 0.0], "column 'w' must be at least 0, and above 0 in some row"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    check_weights([0.0, 1.0], "column 'w'")
    with pytest.raises(ValueError, match=message):
        check_weights(weights, "column 'w'")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[1.0], [1.0, 2.0]], "features must hold numeric vectors of the same length in every row"),
        ([["a"]], "features must hold numeric vectors of the same length in every row, got <U1"),
        (
            np.ones(3),
            r"features must hold numeric vectors of the same length in every row, got float64",
        ),
        (np.ones((3, 0)), "features must hold numeric vectors of the same length in every row"),
        (
            [[1.0], [np.nan], [np.inf]],
            "features must be finite, but 2 rows have NaN or infinity, .* row 1; drop",
        ),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        check_features(features)


def test_features_keep_their_precision():
    assert check_features(np.ones((2, 2), np.float16)).dtype == np.float16
    assert check_features([[1, 2]]).dtype == np.float64


@pytest.mark.parametrize("rate", [1.0, -0.01, 40.0, float("nan"), "0.4", True, None])
def test_bad_rates_are_refused(rate):
    for good in (0, 0.999, np.float32(0.5)):
        check_rate(good)
    with pytest.raises(ValueError, match=r"noise_rate must be a number in \[0, 1\), got .*; pass None to have it"):
        check_rate(rate)
