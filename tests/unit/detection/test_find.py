import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from hf_noisy.detection.find import find_wrong_labels, mean_rank, most_suspicious
from hf_noisy.detection.label_issues import most_expected_f1
from hf_noisy.detection.label_model import LabelPosterior


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def noisy(rate, rows=4000, classes=4, sure=5.0, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), true] += sure
    wrong = rng.random(rows) < rate
    given = np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true)
    return given, softmax(logits).astype(np.float32), true


def epochs(rate, rows=2000, classes=4):
    """Logits of a network that learns the true class first and the given one later."""
    given, _, true = noisy(rate, rows, classes)
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(6, rows, classes))
    for epoch in range(6):
        logits[epoch, np.arange(rows), true] += 4.0
        logits[epoch, np.arange(rows), given] += 1.0 * epoch
    return given, logits.astype(np.float32), true


def f1(found, wrong):
    return 2 * (found & wrong).sum() / (found.sum() + wrong.sum())


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_wrong_labels_of_a_good_classifier_are_found_and_mended(rate):
    given, probabilities, true = noisy(rate)
    issues = find_wrong_labels(given, probabilities)
    assert f1(issues.is_wrong, given != true) > 0.97
    assert issues.noise_rate.rate == pytest.approx((given != true).mean(), abs=0.015)
    assert (issues.suggested == true).mean() > 0.985
    assert (issues.suggested[~issues.is_wrong] == given[~issues.is_wrong]).all()
    assert (issues.suggested[issues.is_wrong] != given[issues.is_wrong]).all()
    assert 0 <= issues.quality.min() <= issues.quality.max() <= 1


@pytest.mark.parametrize(("rate", "least"), [(0.1, 0.75), (0.3, 0.9)])
def test_one_training_needs_no_cross_validation(rate, least):
    given, logits, true = epochs(rate)
    issues = find_wrong_labels(given, dynamics=logits)
    assert f1(issues.is_wrong, given != true) > least
    assert issues.is_wrong.sum() == round(issues.noise_rate.rate * len(given))
    listed = find_wrong_labels(given, dynamics=list(logits))
    np.testing.assert_array_equal(listed.quality, issues.quality)


def test_all_evidence_is_ranked_together():
    given, logits, true = epochs(0.2)
    _, probabilities, _ = noisy(0.2, rows=2000, sure=1.0)
    alone = find_wrong_labels(given, probabilities)
    oracle = (given == true).astype(np.float64)
    together = find_wrong_labels(given, probabilities, logits, evidence=[oracle])
    assert together.is_wrong.sum() == alone.is_wrong.sum()
    assert together.noise_rate == alone.noise_rate
    assert (together.is_wrong & (given != true)).sum() > (alone.is_wrong & (given != true)).sum()


def test_order_of_the_rows_and_names_of_the_classes_do_not_matter():
    given, probabilities, _ = noisy(0.2, sure=2.0)
    expected = find_wrong_labels(given, probabilities)
    rows = np.random.default_rng(0).permutation(len(given))
    moved = find_wrong_labels(given[rows], probabilities[rows])
    np.testing.assert_allclose(moved.quality, expected.quality[rows], atol=1e-3)
    classes = np.array([2, 0, 3, 1])
    renamed = find_wrong_labels(np.argsort(classes)[given], probabilities[:, classes])
    np.testing.assert_allclose(renamed.quality, expected.quality, atol=1e-3)
    assert renamed.noise_rate.rate == pytest.approx(expected.noise_rate.rate, abs=1e-3)


def test_same_arrays_give_the_same_result_and_stay_as_they_are():
    given, probabilities, _ = noisy(0.2)
    before = probabilities.copy()
    first, second = find_wrong_labels(given, probabilities), find_wrong_labels(given, probabilities)
    np.testing.assert_array_equal(first.quality, second.quality)
    np.testing.assert_array_equal(probabilities, before)


def test_nothing_is_found_where_classifier_and_labels_agree():
    given = np.arange(40) % 2
    issues = find_wrong_labels(given, np.eye(2)[given])
    assert not issues.is_wrong.any()
    assert issues.noise_rate.low == 0.0


@settings(max_examples=50)
@hypothesis_given(st.lists(st.tuples(st.floats(0.0625, 0.9375, width=32), st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_is_expected_to_reach_more(rows):
    wrong = np.array([row[0] for row in rows], dtype=np.float32)
    disagrees = np.array([row[1] for row in rows])
    flagged = most_expected_f1(LabelPosterior(wrong, wrong, np.zeros(len(rows), dtype=np.int32), disagrees))
    assert not flagged[~disagrees].any()

    def expected(found):
        return 2 * wrong[found].sum() / (found.sum() + wrong.sum())

    for threshold in wrong:
        assert expected(flagged) >= expected(disagrees & (wrong >= threshold)) - 1e-6


def test_hard_rows_with_right_labels_are_flagged_less():
    given, probabilities, _ = noisy(0.0, sure=2.5)
    disagrees = probabilities.argmax(1) != given
    assert disagrees.mean() > 0.08
    assert find_wrong_labels(given, probabilities).is_wrong.sum() < 0.6 * disagrees.sum()


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_flags_beat_plain_disagreement_of_a_classifier_that_errs(rate):
    given, probabilities, true = noisy(rate, sure=2.5)
    found, wrong = find_wrong_labels(given, probabilities).is_wrong, given != true
    assert f1(found, wrong) > f1(probabilities.argmax(1) != given, wrong) + 0.02


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_noise_between_pairs_of_classes_is_found(rate):
    """Planted errors of other pairs are clearer than any real one, and must not hide these."""
    rng = np.random.default_rng(1)
    true = rng.integers(0, 8, 2000)
    wrong = rng.random(2000) < rate
    given = np.where(wrong, (true + 1) % 8, true)
    logits = 5 * np.eye(8)[true] + rng.normal(size=(2000, 8))
    probabilities = (1 - rate) * softmax(logits) + rate * np.roll(softmax(logits), 1, axis=1)
    assert f1(find_wrong_labels(given, probabilities).is_wrong, wrong) > 0.85


def test_the_most_suspicious_rows_are_kept_where_planted_errors_show_less_noise():
    wrong = np.array([0.6, 0.9, 0.1, 0.8, 0.7])
    posterior = LabelPosterior(wrong, wrong, np.zeros(5, dtype=np.int32), wrong > 0.5)
    assert np.flatnonzero(most_suspicious(posterior, 0.6)).tolist() == [0, 1, 3, 4]  # 3 of 5 are expected
    assert np.flatnonzero(most_suspicious(posterior, 0.15)).tolist() == [1, 3]
    assert not most_suspicious(posterior, 0.0).any()


def test_mean_rank_is_one_of_order_only():
    scores = np.random.default_rng(0).normal(size=(2, 50))
    np.testing.assert_allclose(mean_rank(list(scores)), mean_rank([np.exp(scores[0]), 3 * scores[1] - 1]))
    assert mean_rank([np.arange(5.0), np.arange(5.0)]).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert mean_rank([np.ones(1)]).tolist() == [0.0]


def test_nothing_to_go_by_is_refused():
    with pytest.raises(ValueError, match="probabilities or dynamics are needed, got neither; pass one of them"):
        find_wrong_labels(np.array([0, 1]))


@pytest.mark.parametrize("score", [np.ones(3), np.array([1.0, np.nan])], ids=["rows", "nan"])
def test_evidence_that_does_not_fit_is_refused(score):
    with pytest.raises(ValueError, match="evidence must be 2 finite scores each, but score 1 is not"):
        mean_rank([np.ones(2), score])


def test_bad_probabilities_are_refused():
    given, probabilities, _ = noisy(0.2)
    with pytest.raises(ValueError, match="probabilities must sum to 1 in each row, got 2"):
        find_wrong_labels(given, 2 * probabilities)
    with pytest.raises(ValueError, match="labels must be classes 0 to 3, got 4"):
        find_wrong_labels(np.where(given == 3, 4, given), probabilities)
    probabilities[7, 1] = np.nan
    with pytest.raises(ValueError, match="probabilities must be finite, got NaN or infinity in row 7"):
        find_wrong_labels(given, probabilities)


def test_checked_rows_are_known():
    given, probabilities, true = noisy(0.3, rows=300)
    checked = np.where(np.arange(300) < 100, true, -1)
    plain = find_wrong_labels(given, probabilities)
    for options in ({}, {"evidence": [probabilities.max(1).astype(np.float64)]}):
        issues = find_wrong_labels(given, probabilities, checked=checked, **options)
        assert issues.is_wrong[:100].tolist() == (given != true)[:100].tolist()
        assert issues.suggested[:100].tolist() == true[:100].tolist()
        assert issues.quality[:100].tolist() == (given == true)[:100].astype(float).tolist()
    np.testing.assert_array_equal(
        plain.is_wrong[100:], find_wrong_labels(given, probabilities, checked=checked)[0][100:]
    )
    with pytest.raises(ValueError, match="checked has 4 in row 0, which is not among the classes 0, 1, 2, 3"):
        find_wrong_labels(given, probabilities, checked=np.where(checked == -1, -1, 4))
    with pytest.raises(ValueError, match="a class or -1 for each of the 300 rows, got 2"):
        find_wrong_labels(given, probabilities, checked=[0, 1])
