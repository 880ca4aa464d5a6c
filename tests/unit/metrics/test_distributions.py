import numpy as np
import pytest

from hf_noisy.metrics import distance_weighted_accuracy, manhattan_distance, soft_cross_entropy

VOTES = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
PREDICTED = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])


def test_distances_by_hand():
    expected = -(np.log(0.8) + (np.log(0.2) + np.log(0.7)) / 2 + np.log(0.1 * 0.1 * 0.8) / 3) / 3
    assert soft_cross_entropy(VOTES, PREDICTED) == pytest.approx(expected)
    assert manhattan_distance(VOTES, PREDICTED) == pytest.approx((0.4 + 0.6 + 2 * (1 / 3 - 0.1) + 0.8 - 1 / 3) / 3)


def test_rows_of_even_opinion_do_not_count_and_unanimous_ones_count_fully():
    labels = np.array([0, 0, 0])  # the second row is predicted otherwise; the weights are 1, 1/2 and 0
    assert distance_weighted_accuracy(labels, VOTES, PREDICTED) == pytest.approx(2 / 3)
    assert np.isnan(distance_weighted_accuracy(labels[2:], VOTES[2:], PREDICTED[2:]))


def test_the_entropy_of_the_votes_is_the_least_cross_entropy_and_zeros_stay_finite():
    assert soft_cross_entropy(VOTES, VOTES) < soft_cross_entropy(VOTES, PREDICTED)
    assert np.isfinite(soft_cross_entropy(VOTES[:1], np.array([[0.0, 1.0, 0.0]])))


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match="probabilities"):
        soft_cross_entropy(VOTES, 2 * PREDICTED)
    with pytest.raises(ValueError, match="probabilities"):
        manhattan_distance(VOTES, -PREDICTED)
    with pytest.raises(ValueError, match="labels"):
        distance_weighted_accuracy(np.array([0, 3, 1]), VOTES, PREDICTED)
