import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hf_noisy.metrics import (
    ReliabilityBins,
    brier_score,
    calibration_scores,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_bins,
)


def binary(confidences):
    """Two classes, class 0 predicted with the given confidence."""
    first = np.asarray(confidences, dtype=np.float64)
    return np.stack([first, 1 - first], axis=1)


def test_bins_by_hand():
    # Bins of width 0.2: 0.55 and 0.6 lie in (0.4, 0.6], 0.75 in (0.6, 0.8], 0.9, 0.95 and 1.0 in (0.8, 1].
    probabilities = binary([0.55, 0.6, 0.75, 0.9, 0.95, 1.0])
    bins = reliability_bins(np.array([0, 1, 0, 0, 0, 1]), probabilities, num_bins=5)
    assert isinstance(bins, ReliabilityBins)
    assert_array_equal(bins.count, [0, 0, 2, 1, 3])
    assert_allclose(bins.confidence, [np.nan, np.nan, 0.575, 0.75, 0.95])
    assert_allclose(bins.accuracy, [np.nan, np.nan, 0.5, 1.0, 2 / 3])


def test_error_by_hand():
    probabilities = binary([0.55, 0.6, 0.75, 0.9, 0.95, 1.0])
    error = expected_calibration_error(np.array([0, 1, 0, 0, 0, 1]), probabilities, num_bins=5)
    assert_allclose(error, (2 * 0.075 + 1 * 0.25 + 3 * (0.95 - 2 / 3)) / 6, rtol=1e-12)


def test_three_classes_by_hand():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    # One row a bin at 10 bins: |1 - 0.5|, |0 - 0.8|, |1 - 0.7|.
    assert_allclose(expected_calibration_error(np.array([0, 1, 1]), probabilities, num_bins=10), 1.6 / 3)


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15, 100])
def test_perfect_and_worst(num_bins):
    certain = np.eye(3)[[0, 1, 2, 1]]
    assert expected_calibration_error(np.array([0, 1, 2, 1]), certain, num_bins) == 0
    assert expected_calibration_error(np.array([1, 2, 0, 0]), certain, num_bins) == 1


@pytest.mark.parametrize("tenth", range(5, 11))
def test_an_edge_belongs_to_the_bin_below(tenth):
    count = reliability_bins(np.array([0]), binary([tenth / 10]), num_bins=10).count
    assert np.flatnonzero(count).tolist() == [tenth - 1]


def test_one_bin_is_the_gap_of_the_means():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    gap = abs((probabilities.argmax(1) == labels).mean() - probabilities.max(1).mean())
    assert_allclose(expected_calibration_error(labels, probabilities, num_bins=1), gap, rtol=1e-12)


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
    assert reliability_bins(labels, probabilities, num_bins).count.sum() == num_rows
    assert_allclose(expected_calibration_error(labels, probabilities, num_bins), expected, atol=1e-12)


def test_half_precision_rows_pass():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 500).astype(np.float16)
    assert 0 <= expected_calibration_error(np.zeros(500, dtype=np.int64), probabilities) <= 1


GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("probabilities", "labels", "num_bins", "message"),
    [
        (np.array([[0.9, 0.1], [0.2, 0.7]]), np.array([0, 1]), 15, r"sum to 1 in each row, got 0\.9 in row 1"),
        (np.array([[2.0, -1.0], [0.2, 0.8]]), np.array([0, 1]), 15, r"not be negative, got -1 in row 0; pass softmax"),
        (np.array([[0.9, 0.1], [np.nan, 0.8]]), np.array([0, 1]), 15, "must be finite, got NaN or infinity in row 1"),
        (GOOD, np.array([0, 2]), 15, "labels must be classes 0 to 1, got 2"),
        (GOOD, np.array([0, -1]), 15, "labels must be classes 0 to 1, got -1"),
        (np.zeros((0, 2)), np.zeros(0, dtype=np.int64), 15, r"at least 1 row and 2 classes, got \(0, 2\)"),
        (GOOD, np.array([0, 1]), 0, "num_bins must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(probabilities, labels, num_bins, message):
    for function in (reliability_bins, expected_calibration_error):
        with pytest.raises(ValueError, match=message):
            function(labels, probabilities, num_bins)


# Bins of equal mass, and the other errors


def confidences(seed, num_rows):
    """Two classes; the first is predicted, and right as often as its confidence, about."""
    rng = np.random.default_rng(seed)
    confidence = 0.5 + 0.5 * rng.beta(4, 1, num_rows)
    return binary(confidence), (rng.random(num_rows) > confidence).astype(np.int64)


def test_bins_of_equal_mass_by_hand():
    bins = reliability_bins(np.array([0, 1, 0, 0, 0, 1]), binary([0.55, 0.6, 0.75, 0.9, 0.95, 1.0]), 3, "mass")
    assert_array_equal(bins.count, [2, 2, 2])
    assert_allclose(bins.confidence, [0.575, 0.825, 0.975])
    assert_allclose(bins.accuracy, [0.5, 1.0, 0.5])
    assert_allclose(bins.edges, [0.55, 0.6, 0.9, 1.0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 20))
def test_bins_of_equal_mass_hold_as_many_rows(seed, num_rows, num_bins):
    probabilities, labels = confidences(seed, num_rows)
    bins = reliability_bins(labels, probabilities, num_bins, "mass")
    assert bins.count.sum() == num_rows
    assert (np.abs(bins.count - num_rows / num_bins) < 1).all()
    order = np.random.default_rng(seed).permutation(num_rows)
    mixed = reliability_bins(labels[order], probabilities[order], num_bins, "mass")
    assert_array_equal(mixed.count, bins.count)
    assert_allclose(mixed.accuracy, bins.accuracy, atol=1e-12)


def test_rows_of_the_same_confidence_share_a_bin():
    bins = reliability_bins(np.zeros(10, dtype=np.int64), binary([0.8] * 9 + [0.9]), 5, "mass")
    assert sorted(bins.count[bins.count > 0].tolist()) == [1, 9]


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("num_bins", [4, 15])
def test_bins_are_those_of_sklearn(binning, strategy, num_bins):
    probabilities, labels = confidences(3, 420)
    bins = reliability_bins(labels, probabilities, num_bins, binning)
    # The event that the confidence is the probability of: the prediction is right.
    accuracy, confidence = calibration_curve(labels == 0, probabilities[:, 0], n_bins=num_bins, strategy=strategy)
    filled = bins.count > 0
    assert_allclose(bins.accuracy[filled], accuracy)
    assert_allclose(bins.confidence[filled], confidence)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 20), st.sampled_from(["width", "mass"]))
def test_the_mean_gap_is_below_the_largest(seed, num_rows, num_bins, binning):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(4), num_rows), rng.integers(0, 4, num_rows)
    mean = expected_calibration_error(labels, probabilities, num_bins, binning)
    largest = maximum_calibration_error(labels, probabilities, num_bins, binning)
    assert 0 <= mean <= largest + 1e-12 <= 1 + 2e-12
    assert maximum_calibration_error(labels, probabilities, 1) == pytest.approx(
        expected_calibration_error(labels, probabilities, 1)
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 6))
def test_brier_score_is_that_of_sklearn(seed, num_rows, num_classes):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(num_classes), num_rows), rng.integers(0, num_classes, num_rows)
    score = brier_score(labels, probabilities)
    expected = np.mean([((probabilities[i] - np.eye(num_classes)[labels[i]]) ** 2).sum() for i in range(num_rows)])
    assert score == pytest.approx(expected)
    assert 0 <= score <= 2
    if "labels" not in inspect.signature(brier_score_loss).parameters:  # an older scikit-learn
        return
    positive = brier_score_loss(labels == 0, probabilities[:, 0], labels=[False, True])
    two = np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1)
    assert brier_score((labels != 0).astype(np.int64), two) == pytest.approx(2 * positive)


def test_perfect_and_worst_of_the_others():
    certain = np.eye(3)[[0, 1, 2, 1]]
    right, wrong = np.array([0, 1, 2, 1]), np.array([1, 2, 0, 0])
    assert calibration_scores(right, certain) == {"ece": 0, "mce": 0, "brier": 0}
    assert calibration_scores(wrong, certain, binning="mass") == {"ece": 1, "mce": 1, "brier": 2}


def test_scores_leave_the_probabilities_alone():
    before = GOOD.copy()
    calibration_scores(np.array([0, 1]), GOOD)
    assert_array_equal(GOOD, before)


def test_an_unknown_binning_is_refused():
    with pytest.raises((ValueError, TypeCheckError), match="binning"):
        reliability_bins(np.array([0, 1]), GOOD, 5, "quantile")


def test_bad_labels_are_refused_by_the_brier_score():
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 2"):
        brier_score(np.array([0, 2]), GOOD)
