import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hf_noisy.metrics import ReliabilityBins, expected_calibration_error, reliability_bins


def binary(confidences):
    """Two classes, class 0 predicted with the given confidence."""
    first = np.asarray(confidences, dtype=np.float64)
    return np.stack([first, 1 - first], axis=1)


def test_bins_by_hand():
    # Bins of width 0.2: 0.55 and 0.6 lie in (0.4, 0.6], 0.75 in (0.6, 0.8], 0.9, 0.95 and 1.0 in (0.8, 1].
    probabilities = binary([0.55, 0.6, 0.75, 0.9, 0.95, 1.0])
    bins = reliability_bins(probabilities, np.array([0, 1, 0, 0, 0, 1]), num_bins=5)
    assert isinstance(bins, ReliabilityBins)
    assert_array_equal(bins.count, [0, 0, 2, 1, 3])
    assert_allclose(bins.confidence, [np.nan, np.nan, 0.575, 0.75, 0.95])
    assert_allclose(bins.accuracy, [np.nan, np.nan, 0.5, 1.0, 2 / 3])


def test_error_by_hand():
    probabilities = binary([0.55, 0.6, 0.75, 0.9, 0.95, 1.0])
    error = expected_calibration_error(probabilities, np.array([0, 1, 0, 0, 0, 1]), num_bins=5)
    assert_allclose(error, (2 * 0.075 + 1 * 0.25 + 3 * (0.95 - 2 / 3)) / 6, rtol=1e-12)


def test_three_classes_by_hand():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    # One row a bin at 10 bins: |1 - 0.5|, |0 - 0.8|, |1 - 0.7|.
    assert_allclose(expected_calibration_error(probabilities, np.array([0, 1, 1]), num_bins=10), 1.6 / 3)


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15, 100])
def test_perfect_and_worst(num_bins):
    certain = np.eye(3)[[0, 1, 2, 1]]
    assert expected_calibration_error(certain, np.array([0, 1, 2, 1]), num_bins) == 0
    assert expected_calibration_error(certain, np.array([1, 2, 0, 0]), num_bins) == 1


@pytest.mark.parametrize("tenth", range(5, 11))
def test_an_edge_belongs_to_the_bin_below(tenth):
    count = reliability_bins(binary([tenth / 10]), np.array([0]), num_bins=10).count
    assert np.flatnonzero(count).tolist() == [tenth - 1]


def test_one_bin_is_the_gap_of_the_means():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    gap = abs((probabilities.argmax(1) == labels).mean() - probabilities.max(1).mean())
    assert_allclose(expected_calibration_error(probabilities, labels, num_bins=1), gap, rtol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 6), st.integers(1, 20))
def test_matches_loop_and_keeps_every_row(seed, num_rows, num_classes, num_bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_classes), num_rows)
    labels = rng.integers(0, num_classes, num_rows)
    expected = 0.0
    for m in range(num_bins):
        inside = [i for i in range(num_rows) if m / num_bins < probabilities[i].max() <= (m + 1) / num_bins]
        if inside:
            accuracy = np.mean([probabilities[i].argmax() == labels[i] for i in inside])
            confidence = np.mean([probabilities[i].max() for i in inside])
            expected += len(inside) / num_rows * abs(accuracy - confidence)
    assert reliability_bins(probabilities, labels, num_bins).count.sum() == num_rows
    assert_allclose(expected_calibration_error(probabilities, labels, num_bins), expected, atol=1e-12)


def test_half_precision_rows_pass():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 500).astype(np.float16)
    assert 0 <= expected_calibration_error(probabilities, np.zeros(500, dtype=np.int64)) <= 1


GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("probabilities", "labels", "num_bins", "message"),
    [
        (np.array([[0.9, 0.1], [0.2, 0.7]]), np.array([0, 1]), 15, r"sum to 1 in each row, got 0\.9 in row 1"),
        (np.array([[2.0, -1.0], [0.2, 0.8]]), np.array([0, 1]), 15, r"not be negative, got -1\.0; pass softmax"),
        (np.array([[0.9, 0.1], [np.nan, 0.8]]), np.array([0, 1]), 15, "must be finite, got NaN or infinity in row 1"),
        (GOOD, np.array([0, 2]), 15, "labels must be classes 0 to 1, got 2"),
        (GOOD, np.array([0, -1]), 15, "labels must be classes 0 to 1, got -1"),
        (np.zeros((0, 2)), np.zeros(0, dtype=np.int64), 15, r"at least one row, got \(0, 2\)"),
        (GOOD, np.array([0, 1]), 0, "num_bins must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(probabilities, labels, num_bins, message):
    for function in (reliability_bins, expected_calibration_error):
        with pytest.raises(ValueError, match=message):
            function(probabilities, labels, num_bins)
