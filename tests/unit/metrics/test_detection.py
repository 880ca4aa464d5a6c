import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hf_noisy.metrics import detection_scores, precision_at_k
from hf_noisy.metrics.detection import _check


def found(seed, num_rows, levels=1000):
    """Scores with ties where levels are few, and both kinds of rows."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(num_rows) < 0.4
    wrong[:2] = [True, False]
    return np.round(rng.random(num_rows) * levels) / levels + 0.2 * wrong, wrong


def test_scores_by_hand():
    scores, wrong = np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([True, False, True, False, False])
    assert detection_scores(scores, wrong) == {
        "auroc": pytest.approx(5 / 6),
        "auprc": pytest.approx((1 + 2 / 3) / 2),
        "precision_at_k": 1 / 2,
        "f1": 1 / 2,
        "k": 2,
    }
    assert detection_scores(scores, wrong, k=3)["precision_at_k"] == pytest.approx(2 / 3)
    assert detection_scores(scores, wrong, threshold=0.65)["f1"] == pytest.approx(4 / 5)
    assert detection_scores(scores, wrong, threshold=0.9)["f1"] == 0  # above, not at


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([2, 5, 1000]))
def test_agrees_with_sklearn(seed, num_rows, levels):
    scores, wrong = found(seed, num_rows, levels)
    result = detection_scores(scores, wrong, threshold=0.5)
    assert result["auroc"] == pytest.approx(roc_auc_score(wrong, scores))
    assert result["auprc"] == pytest.approx(average_precision_score(wrong, scores))
    assert result["f1"] == pytest.approx(f1_score(wrong, scores > 0.5, zero_division=0))


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_only_the_order_of_scores_matters(seed, num_rows):
    scores, wrong = found(seed, num_rows)
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    assert detection_scores(scores, wrong) == detection_scores(ranks, wrong)
    forward, backward = detection_scores(scores, wrong)["auroc"], detection_scores(-scores, wrong)["auroc"]
    assert forward + backward == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_ties_at_the_cut_count_as_the_mean_over_their_orders(k):
    scores, wrong = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([True, True, False, False, True])
    orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
    assert precision_at_k(scores, wrong, k) == pytest.approx(np.mean([wrong[order[:k]].mean() for order in orders]))


def test_nothing_to_tell_apart():
    scores = np.array([0.1, 0.7])
    none = detection_scores(scores, np.array([False, False]))
    assert np.isnan([none["auroc"], none["auprc"], none["precision_at_k"], none["f1"]]).all()
    assert detection_scores(scores, np.array([False, False]), threshold=0.5)["f1"] == 0
    everything = detection_scores(scores, np.array([True, True]))
    assert np.isnan([everything["auroc"], everything["auprc"]]).all()
    assert everything["precision_at_k"] == everything["f1"] == 1


@pytest.mark.parametrize(
    ("scores", "wrong", "k", "message"),
    [
        (np.array([0.1, np.nan]), np.array([True, False]), None, "scores must be finite, got nan in row 1"),
        (np.array([np.inf, 0.1]), np.array([True, False]), None, "scores must be finite, got inf in row 0"),
        (np.array([0.1]), np.array([True, False]), None, "of the same rows, at least one, got 1 and 2"),
        (np.array([]), np.array([], dtype=bool), None, "of the same rows, at least one, got 0 and 0"),
        (np.array([0.1, 0.2]), np.array([True, False]), 0, "k must be in 1 to 2, the number of rows, got 0"),
        (np.array([0.1, 0.2]), np.array([True, False]), 3, "k must be in 1 to 2, the number of rows, got 3"),
    ],
)
def test_bad_input_is_refused(scores, wrong, k, message):
    with pytest.raises(ValueError, match=message):
        detection_scores(scores, wrong, k=k)


@pytest.mark.parametrize(
    ("scores", "wrong", "message"),
    [
        # Taken for row numbers, these would give a precision of 0 without a word.
        (np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1]), "wrong must be .* such as given != true, got int64"),
        ([0.1, 0.9], np.array([False, True]), "scores must be a numpy array of numbers, got list"),
        (np.array(["a", "b"]), np.array([False, True]), "scores must be a numpy array of numbers, got <U1"),
    ],
)
def test_other_types_are_refused(scores, wrong, message):
    with pytest.raises(ValueError, match=message):
        _check(scores, wrong, None)
