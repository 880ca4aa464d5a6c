import numpy as np
import pytest

from hf_noisy.detection.planted import planted_error_rate


def draw(rate, rows=4000, classes=5, sure=3.0, seed=0):
    """Calibrated probabilities, and labels of which a share is replaced by another class."""
    rng = np.random.default_rng(seed)
    logits = sure * rng.normal(size=(rows, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (probabilities.cumsum(1) > rng.random((rows, 1))).argmax(1)
    wrong = rng.random(rows) < rate
    return np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true), probabilities


def test_hard_rows_count_little():
    given, probabilities = draw(0.0)
    disagreement = (probabilities.argmax(1) != given).mean()
    assert disagreement > 0.2
    assert planted_error_rate(given, probabilities, 1.0) < 0.6 * disagreement


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_random_errors_count_at_least_as_much_as_planted_ones(rate):
    given, probabilities = draw(rate)
    assert planted_error_rate(given, probabilities, 1.0) > rate


def test_a_brute_force_count_agrees():
    given, probabilities = draw(0.2, rows=60)
    logs, rows = np.log(probabilities), np.arange(60)

    def contradiction(row, label):
        return max(logs[row, other] for other in range(5) if other != label) - logs[row, label]

    own = np.array([contradiction(row, given[row]) for row in rows])
    others = probabilities**0.5
    others[rows, given] = 0
    others /= others.sum(1, keepdims=True)
    ratios = []
    for threshold in own:
        planted = sum(
            others[row, label] for row in rows for label in range(5) if contradiction(row, label) > threshold + 1e-6
        )
        if planted >= 0.5 * 60:
            ratios.append(((own > threshold).sum() + 1) / planted)
    assert planted_error_rate(given, probabilities, 2.0) == pytest.approx(min(1, *ratios), rel=1e-5)


def test_certain_probabilities_give_the_share_of_disagreement():
    given = np.arange(40) % 2
    probabilities = np.eye(2)[given]
    assert planted_error_rate(given, probabilities, 1.0) == pytest.approx(1 / 40)
    given[:10] = 1 - given[:10]
    # Of 40 planted errors 30 contradict: the label planted in a wrong row is the right one.
    assert planted_error_rate(given, probabilities, 1.0) == pytest.approx(11 / 30)
    assert planted_error_rate(np.zeros(3, dtype=np.int64), np.ones((3, 1)), 1.0) == 0


def test_many_rows_and_classes_are_measured_on_a_part():
    given, probabilities = draw(0.3, rows=50_000, classes=50)
    estimate = planted_error_rate(given, probabilities, 1.0)
    assert estimate == pytest.approx(planted_error_rate(given[::2], probabilities[::2], 1.0), abs=0.03)
