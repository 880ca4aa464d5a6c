import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hf_noisy.detection.agreement import posterior_given_label
from hf_noisy.detection.audit import audit
from hf_noisy.detection.likely_transition import label_quality, likely_transition
from tests.unit.detection.test_audit import noisy_rows

CLASSES, ROWS = 6, 2000


def predicted(noise: str, seed: int = 0):
    """Given and true labels, and calibrated predictions that confuse pairs of similar classes."""
    draw = np.random.default_rng(seed)
    similar = draw.beta(0.5, 0.5, ROWS)  # whether a row is of the first or the second class of its pair
    pair, rest = draw.integers(0, 3, ROWS), 0.1
    probabilities = np.full((ROWS, CLASSES), rest / CLASSES)
    probabilities[np.arange(ROWS), 2 * pair] += (1 - rest) * similar
    probabilities[np.arange(ROWS), 2 * pair + 1] += (1 - rest) * (1 - similar)
    true = (draw.random(ROWS)[:, None] > probabilities.cumsum(1)).sum(1).clip(max=CLASSES - 1)
    wrong = draw.random(ROWS) < 0.2
    other = draw.integers(1, CLASSES, ROWS) if noise == "uniform" else 1
    return np.where(wrong, (true + other) % CLASSES, true), true, probabilities


def auprc(given, true, quality):
    return average_precision_score(given != true, -quality)


def counted(given, probabilities):
    return posterior_given_label(probabilities, given)[0][np.arange(ROWS), given]


def test_under_uniform_noise_the_probability_of_the_given_label_ranks():
    given, true, probabilities = predicted("uniform")
    own = probabilities[np.arange(ROWS), given]
    quality = label_quality(given, probabilities)
    assert auprc(given, true, quality) > auprc(given, true, own) - 0.005
    assert auprc(given, true, quality) > auprc(given, true, counted(given, probabilities)) + 0.005
    transition = likely_transition(given, probabilities)
    np.testing.assert_allclose(transition.sum(1), 1)
    assert np.diagonal(transition).mean() == pytest.approx(0.8, abs=0.03)


def test_noise_towards_one_class_is_found_by_its_direction():
    given, true, probabilities = predicted("next class")
    quality = label_quality(given, probabilities)
    assert auprc(given, true, quality) > auprc(given, true, probabilities[np.arange(ROWS), given]) + 0.05
    assert auprc(given, true, quality) > auprc(given, true, counted(given, probabilities)) + 0.01
    transition = likely_transition(given, probabilities)
    assert (transition - np.diag(np.diagonal(transition))).argmax(1).tolist() == [1, 2, 3, 4, 5, 0]


def test_a_class_without_rows_and_certain_predictions():
    given = np.array([0, 0, 1, 1] * 5)
    quality = label_quality(given, np.eye(3)[[0, 1, 1, 1] * 5])
    assert np.isfinite(quality).all()
    assert quality[1::4].max() < quality[0::4].min()


def test_the_audit_ranks_by_it():
    rows, _ = noisy_rows(120)
    found = audit(rows, epochs=1, seed=2)
    np.testing.assert_array_equal(found.issues.quality, label_quality(found.labels, found.probabilities, 2))
