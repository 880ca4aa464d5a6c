import logging

import datasets
import numpy as np
import pytest

from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.random_errors import random_error_posterior
from hf_noisy.purification.evidence_posterior import ONLY_RANDOM, evidence_posterior
from hf_noisy.purification.policies import purify
from hf_noisy.purification.summary import summarise


def clusters(distance=3.0, classes=4, rows=800, seed=0):
    draw = np.random.default_rng(seed)
    clean = draw.integers(0, classes, rows)
    return distance * draw.normal(size=(classes, 6))[clean] + draw.normal(size=(rows, 6)), clean


def symmetric(clean, rate, classes=4, seed=1):
    draw = np.random.default_rng(seed)
    wrong = draw.random(len(clean)) < rate
    return np.where(wrong, (clean + draw.integers(1, classes, len(clean))) % classes, clean)


def one_way(clean, rate, classes=4, seed=1):
    return np.where(np.random.default_rng(seed).random(len(clean)) < rate, (clean + 1) % classes, clean)


def purified(features, labels, clean, *purifier, **arguments):
    columns = {"features": features.astype(np.float32), "label": labels, "clean_label": clean}
    return purify(datasets.Dataset.from_dict(columns), *purifier, **arguments)


@pytest.mark.parametrize(("kind", "rate"), [(symmetric, 0.1), (symmetric, 0.4), (one_way, 0.4)])
def test_random_errors_are_corrected_and_the_precision_is_not_overstated(kind, rate):
    features, clean = clusters()
    summary = summarise(purified(features, kind(clean, rate), clean))
    assert summary.purifier == "evidence"
    assert summary.true_noise_after < summary.true_noise_before / 2
    assert summary.estimated_precision <= summary.true_precision + 0.05
    assert summary.estimated_precision > 0.75
    assert str(summary).endswith(ONLY_RANDOM)


@pytest.mark.parametrize("distance", [0.3, 0.7, 3.0])
def test_right_labels_stay_however_weak_the_features_are(distance, caplog):
    features, clean = clusters(distance)
    with caplog.at_level(logging.WARNING):
        changed = purified(features, clean, clean)
    summary = summarise(changed)
    assert summary.changed == 0
    assert list(changed["label"]) == clean.tolist()
    assert summary.estimated_noise_before is summary.estimated_noise_after is None
    assert "No label is overruled" in caplog.text
    assert "No label is overruled" in str(summary)
    assert ONLY_RANDOM in str(summary)


def test_errors_that_the_features_predict_are_not_touched():
    features, clean = clusters(distance=1.0)
    ruled = np.where(features[:, 0] > np.quantile(features[:, 0], 0.7), 0, clean)  # a rule gives class 0
    summary = summarise(purified(features, ruled, clean))
    assert summary.changed <= 0.01 * len(clean)


def test_features_without_information_change_nothing():
    _, clean = clusters()
    features = np.random.default_rng(3).normal(size=(len(clean), 6))
    assert summarise(purified(features, symmetric(clean, 0.3), clean)).changed == 0


def test_predictions_can_take_the_place_of_features():
    features, clean = clusters()
    given = symmetric(clean, 0.3)
    probabilities = fit_evidence(features, given).probabilities
    summary = summarise(purified(features, given, clean, probabilities=probabilities.astype(np.float32)))
    assert summary.true_noise_after < summary.true_noise_before / 2


def test_a_class_without_rows_has_probability_zero():
    features, clean = clusters()
    posterior = evidence_posterior(features, symmetric(clean, 0.2), num_classes=6)
    assert posterior.shape == (800, 6)
    assert posterior[:, 4:].max() < 1e-3
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-5)


def test_soft_labels_of_rows_without_doubt_are_one_hot():
    features, clean = clusters()
    soft = np.array(purified(features, clean, clean, policy="soft")["label"])
    np.testing.assert_allclose(soft, np.eye(4)[clean], atol=0.05)


def test_posterior_is_that_of_bayes_where_predictions_are_exact():
    draw = np.random.default_rng(0)
    true = draw.dirichlet(np.full(4, 0.2), 5000)
    clean = (draw.random((5000, 1)) > true.cumsum(1)).sum(1).clip(max=3)
    given = symmetric(clean, 0.3)
    expected = true * np.where(np.eye(4, dtype=bool), 0.7, 0.1)[:, given].T
    expected /= expected.sum(1, keepdims=True)
    found = random_error_posterior(given, true, outliers=0.0)
    assert np.abs(found - expected).mean() < 0.02


def test_outliers_are_kept():
    features, clean = clusters()
    given = symmetric(clean, 0.01, seed=5)
    assert 0 < (given != clean).sum() <= 12
    assert summarise(purified(features, given, clean)).changed == 0
