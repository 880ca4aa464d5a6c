import numpy as np
import pytest

from hf_noisy.detection.agreement import (
    expected_accuracy,
    informed_agreement,
    posterior_given_label,
    random_noise,
    with_confidence,
)


def predictions(rows, classes, accuracy, seed=0):
    """True labels and predictions of an accuracy, whose confident ones are right."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    wrong = rng.random(rows) > accuracy
    predicted = np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true)
    top = np.where(wrong, 0.51, rng.uniform(0.51, 0.95, rows))
    probabilities = np.repeat(((1 - top) / (classes - 1))[:, None], classes, 1)
    probabilities[np.arange(rows), predicted] = top
    return true, probabilities


def flipped(true, classes, rate, seed=1):
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(true)) < rate
    return np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_expected_accuracy_is_the_true_one_under_random_noise(classes, rate):
    true, probabilities = predictions(40_000, classes, 0.8)
    labels = flipped(true, classes, rate)
    assert random_noise(labels, probabilities) == pytest.approx(rate, abs=0.02)
    assert expected_accuracy(labels, probabilities) == pytest.approx(0.8, abs=0.05)


def test_expected_accuracy_inverts_its_formula(monkeypatch):
    classes, rate, accuracy = 4, 0.3, 0.7
    monkeypatch.setattr("hf_noisy.detection.agreement.random_noise", lambda *_: rate)
    agreement = accuracy * (1 - rate) + (1 - accuracy) * rate / (classes - 1)
    rows = 10_000
    labels = np.where(np.arange(rows) < agreement * rows, 0, 1)
    probabilities = np.tile([0.7, 0.1, 0.1, 0.1], (rows, 1))
    assert expected_accuracy(labels, probabilities) == pytest.approx(accuracy, abs=1e-3)


def test_expected_accuracy_has_limits():
    probabilities = np.tile([0.9, 0.1], (100, 1))
    assert expected_accuracy(np.zeros(100, np.int64), probabilities) == 0.98
    assert expected_accuracy(np.ones(100, np.int64), probabilities) == pytest.approx(0.52)


def test_random_noise_is_that_of_the_most_confident_tenth():
    confidence = np.linspace(0.99, 0.51, 2000)
    probabilities = np.stack([confidence, 1 - confidence], 1)
    labels = np.ones(2000, np.int64)
    labels[:140] = 0
    assert random_noise(labels, probabilities) == pytest.approx(0.3)
    # Of fewer rows, the most confident 100.
    assert random_noise(labels[100:400], probabilities[100:400]) == pytest.approx(0.6)


def test_agreement_is_zero_by_chance_and_one_at_most():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 2000, p=[0.8, 0.15, 0.05])
    assert informed_agreement(labels, labels) == pytest.approx(1.0)
    assert informed_agreement(labels, rng.permutation(labels)) == pytest.approx(0.0, abs=0.02)
    assert informed_agreement(labels, np.zeros_like(labels)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("confidence", [0.4, 0.7, 0.95])
def test_temperature_gives_the_mean_confidence_and_keeps_the_order(confidence):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    found = with_confidence(probabilities, confidence)
    assert found.max(1).mean() == pytest.approx(confidence, abs=2e-3)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_array_equal(found.argsort(1), probabilities.argsort(1))


def test_temperature_has_limits():
    certain = np.tile([1.0, 0.0], (10, 1))
    assert np.isfinite(with_confidence(certain, 0.6)).all()
    even = np.full((10, 2), 0.5)
    np.testing.assert_allclose(with_confidence(even, 0.9), even)


def test_posterior_is_that_of_bayes():
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([0, 1, 1])
    counts = np.array([[0.8, 0.9], [0.2, 1.1]]) + 0.5
    expected = counts / counts.sum(1, keepdims=True)
    posterior, transition = posterior_given_label(probabilities, labels)
    np.testing.assert_allclose(transition, expected)
    joint = probabilities * expected[:, labels].T
    np.testing.assert_allclose(posterior, joint / joint.sum(1, keepdims=True))


def test_a_known_transition_is_recovered():
    transition = np.array([[0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 20_000)
    labels = (rng.random(20_000)[:, None] > transition.cumsum(1)[true]).sum(1)
    _, found = posterior_given_label(np.eye(3)[true], labels)
    np.testing.assert_allclose(found, transition, atol=0.02)
