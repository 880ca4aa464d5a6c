import warnings

import numpy as np
import pytest
from datasets import Dataset
from scipy.special import softmax

from hf_noisy.data.checked import checked_rows
from hf_noisy.detection.find import find_wrong_labels
from hf_noisy.detection.noise_rate import estimate_noise_rate, mixture_noise_rate, rate_from_held_out
from hf_noisy.detection.rows_to_check import rows_to_check


def mixture(share, rows=4000, distance=6.0, deviations=(1.0, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    wrong = round(rows * share)
    scores = [rng.normal(0, deviations[0], rows - wrong), rng.normal(distance, deviations[1], wrong)]
    return rng.permutation(np.concatenate(scores))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.45, 0.7])
@pytest.mark.parametrize("deviations", [(1.0, 1.0), (0.5, 1.5)])
def test_share_of_a_known_mixture(share, deviations):
    assert mixture_noise_rate(mixture(share, deviations=deviations)) == pytest.approx(share, abs=0.02)


def test_overlap_is_shared_out():
    assert mixture_noise_rate(mixture(0.3, distance=3.0)) == pytest.approx(0.3, abs=0.05)


def test_scale_shift_and_order_do_not_matter():
    scores = mixture(0.2)
    expected = mixture_noise_rate(scores)
    assert mixture_noise_rate(1e3 * scores - 50) == pytest.approx(expected, abs=1e-3)
    assert mixture_noise_rate(np.sort(scores)) == pytest.approx(expected, abs=1e-3)
    assert mixture_noise_rate(scores.astype(np.float32)) == pytest.approx(expected, abs=1e-3)
    assert mixture_noise_rate(-scores) == pytest.approx(1 - expected, abs=1e-3)


def test_same_seed_gives_the_same_number_and_leaves_the_global_generator():
    scores = mixture(0.2, distance=2.0)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert mixture_noise_rate(scores, seed=3) == mixture_noise_rate(scores, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_constant_scores_show_no_noise():
    assert mixture_noise_rate(np.full(10, 2.5)) == 0.0


@pytest.mark.parametrize("scores", [[0, 0, 0, 1], [0, 0, 0, 0, 0, 9, 9, 9, 9, 9], [0, 0, 0, 1e-12]])
def test_few_distinct_scores_warn_of_nothing(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0.0 <= mixture_noise_rate(np.array(scores, float)) < 1.0


def test_two_values_give_their_shares():
    assert mixture_noise_rate(np.array([0.0] * 15 + [4.0] * 5)) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    "scores", [[], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, np.inf]], ids=["0", "3", "nan", "inf"]
)
def test_scores_that_tell_nothing_are_refused(scores):
    expected = f"scores must be at least 4 finite numbers, got {len(scores)}; pass noise_rate yourself"
    with pytest.raises(ValueError, match=expected):
        mixture_noise_rate(np.array(scores))


def labelled(rate, sure, rows=5000, classes=5):
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), true] += sure
    powers = np.exp(logits)
    wrong = rng.random(rows) < rate
    given = np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true)
    return given, powers / powers.sum(axis=1, keepdims=True), logits


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("sure", [3.0, 6.0])
def test_rate_from_probabilities_leaves_out_the_errors_of_the_classifier(rate, sure):
    given, probabilities, _ = labelled(rate, sure)
    estimated = estimate_noise_rate(given, probabilities)
    differs = (probabilities.argmax(axis=1) != given).mean()
    assert abs(estimated.rate - rate) < max(abs(differs - rate), 0.02)
    assert 0 <= estimated.low <= estimated.rate <= estimated.high <= 1
    assert estimated.low <= rate <= estimated.high


def test_more_rows_narrow_the_interval():
    narrow = estimate_noise_rate(*labelled(0.2, 6.0, rows=20_000)[:2])
    wide = estimate_noise_rate(*labelled(0.2, 6.0, rows=300)[:2])
    assert narrow.high - narrow.low < wide.high - wide.low


def test_rate_from_dynamics_lies_between_its_two_figures():
    given, _, logits = labelled(0.2, 6.0)
    epochs = np.stack([logits, logits])
    estimated = estimate_noise_rate(given, dynamics=epochs)
    assert estimated.rate == pytest.approx(0.2, abs=0.03)
    assert estimated.low < 0.2 < estimated.high
    assert estimate_noise_rate(given, dynamics=[logits]).rate == pytest.approx(estimated.rate, abs=1e-6)


def test_probabilities_decide_where_both_are_given():
    given, probabilities, logits = labelled(0.2, 3.0)
    assert estimate_noise_rate(given, probabilities, [logits]) == estimate_noise_rate(given, probabilities)


def test_nothing_to_go_by_is_refused():
    with pytest.raises(ValueError, match="probabilities or dynamics are needed, got neither; pass one of them"):
        estimate_noise_rate(np.array([0, 1]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6])
def test_random_noise_is_measured_where_predictions_are_confident(share):
    draw = np.random.default_rng(0)
    true, wrong = draw.integers(0, 5, 4000), draw.random(4000) < share
    given = np.where(wrong, (true + draw.integers(1, 5, 4000)) % 5, true)
    scores = draw.normal(0, 1, (4000, 5)) + 4 * np.eye(5)[true]  # not perfect, but calibrated
    rate = rate_from_held_out(given, softmax(4 * scores, axis=1))
    assert rate.rate == pytest.approx(share, abs=0.05)
    assert rate.low <= share <= rate.high


def test_noise_that_the_features_predict_is_within_the_interval():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 4, 2000)
    given = np.where((true == 3) & (draw.random(2000) < 0.4), 2, true)  # 10 % wrong, as rules err
    scores = draw.normal(0, 1, (2000, 4)) + 3 * np.eye(4)[given]  # the features predict the rule
    rate = rate_from_held_out(given, softmax(3 * scores, axis=1))
    assert rate.rate < 0.05
    assert rate.high > 0.1


def test_checked_rows_give_an_interval_that_predictions_make_narrower():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 1500)
    logits = rng.normal(size=(1500, 3)) + 5 * np.eye(3)[true]
    given = np.where(rng.random(1500) < 0.3, (true + 1) % 3, true)
    rows = Dataset.from_dict({"text": [str(row) for row in range(1500)], "label": given})
    column = np.full(1500, -1)
    column[rows_to_check(rows, 100).index] = true[rows_to_check(rows, 100).index]
    checked = checked_rows(rows, column, strategy="random")
    exact = estimate_noise_rate(given, checked=checked)
    narrow = estimate_noise_rate(given, softmax(logits, axis=1), checked=checked)
    found = find_wrong_labels(given, softmax(logits, axis=1), checked=checked).noise_rate
    by_epoch = estimate_noise_rate(given, dynamics=[logits, logits], checked=checked)
    for rate in (exact, narrow, by_epoch):
        assert rate.low < (given != true).mean() < rate.high
    assert found == narrow
    assert 1.5 * (narrow.high - narrow.low) < exact.high - exact.low
    with pytest.raises(TypeError, match="checked must be CheckedRows, which say how rows were drawn, got ndarray"):
        estimate_noise_rate(given, checked=column)
    with pytest.raises(ValueError, match="no valid interval: it is not known how the rows were chosen"):
        estimate_noise_rate(given, checked=checked_rows(rows, column))
