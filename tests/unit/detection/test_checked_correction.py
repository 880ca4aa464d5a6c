"""Correction from a few checked rows."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.checked_layer import CheckedLayer
from hf_noisy.detection.evidence import fit_evidence


def clusters(rows: int, classes: int, *, width: int = 16, spread: float = 3.0, seed: int = 0):
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, rows)
    return draw.normal(size=(rows, width)) + spread * draw.normal(size=(classes, width))[true], true


def one_confusion(true: np.ndarray, classes: int, rate: float, seed: int = 0) -> np.ndarray:
    wrong = np.random.default_rng(seed).uniform(size=len(true)) < rate
    return np.where(wrong, (true + 1) % classes, true)


def test_noise_that_the_features_predict_is_seen_by_checked_rows_only():
    features, true = clusters(400, 3)
    given = np.where(true == 2, 1, true)  # every row of a class has a wrong label
    plain = fit_evidence(features, given, num_classes=3)
    checked = CheckedCorrection().fit(features, given, np.arange(40), true[:40])
    assert (plain.posterior.argmax(1) == true).mean() < 0.8
    assert (checked.posterior.argmax(1) == true).mean() > 0.95


def test_the_layer_is_the_optimum_of_its_objective():
    draw = np.random.default_rng(1)
    scores = np.stack([log_softmax(draw.normal(size=(12, 3)), axis=1) for _ in range(2)])
    vectors, index, labels = draw.normal(size=(12, 5)), np.arange(7), draw.integers(0, 3, 7)

    def logits(numbers: np.ndarray) -> np.ndarray:
        weights, shift, layer = numbers[:2], numbers[2:5], numbers[5:].reshape(5, 3)
        return np.einsum("p,prc->rc", weights, scores) + shift + 4 * vectors @ layer

    def loss(numbers: np.ndarray) -> float:
        fit = -log_softmax(logits(numbers)[index], axis=1)[np.arange(7), labels].sum()
        return (
            fit + 2.5 * ((numbers[:2] - 0.5) ** 2).sum() + (numbers[2:5] ** 2).sum() + 2.5 * (numbers[5:] ** 2).sum()
        )

    best = minimize(loss, np.r_[0.5, 0.5, np.zeros(18)], tol=1e-10).x
    fitted = CheckedLayer(scores, vectors, index, labels)
    found = fitted.probabilities(fitted.fit(np.arange(7), 5.0))
    np.testing.assert_allclose(found, softmax(logits(best), axis=1), atol=1e-3)


def test_checked_rows_are_pinned_and_held_out_rows_did_not_see_their_label(monkeypatch):
    monkeypatch.setattr("hf_noisy.detection.checked_correction._PRECISIONS", (5.0,))  # no choice among several
    features, true = clusters(200, 4)
    given = one_confusion(true, 4, 0.3)
    index, labels = np.arange(0, 200, 5), true[::5].copy()
    corrected = CheckedCorrection().fit(features, given, index, labels, num_classes=4)
    np.testing.assert_array_equal(corrected.posterior[index], np.eye(4)[labels])
    for array in (corrected.posterior, corrected.model_posterior, corrected.held_out, corrected.transition):
        np.testing.assert_allclose(array.sum(1), 1)
    labels[3] = (labels[3] + 1) % 4
    other = CheckedCorrection().fit(features, given, index, labels, num_classes=4)
    np.testing.assert_allclose(corrected.held_out[3], other.held_out[3], atol=1e-3)  # the start differs


@pytest.mark.parametrize("classes", [2, 40, 300])
def test_it_takes_any_number_of_classes_and_ten_checked_rows(classes: int):
    features, true = clusters(4 * classes + 40, classes, width=64, spread=6.0)
    given = one_confusion(true, classes, 0.3)
    index = np.random.default_rng(0).permutation(len(true))[:10]
    corrected = CheckedCorrection().fit(features, given, index, true[index], num_classes=classes)
    found = (corrected.posterior.argmax(1) == true).mean()
    assert found >= (given == true).mean()


def test_classes_without_a_given_label_can_be_learned_from_checked_rows():
    features, true = clusters(300, 3)
    given = np.where(true == 2, 0, true)
    corrected = CheckedCorrection().fit(features, given, np.arange(60), true[:60])
    assert corrected.posterior.shape == (300, 3)
    assert (corrected.predict(features).argmax(1) == true).mean() > 0.95


def test_new_rows_are_predicted_and_the_width_is_checked():
    features, true = clusters(400, 3)
    corrected = CheckedCorrection().fit(features[:300], one_confusion(true, 3, 0.4)[:300], np.arange(50), true[:50])
    assert (corrected.predict(features[300:]).argmax(1) == true[300:]).mean() > 0.9
    with pytest.raises(ValueError, match="width 16"):
        corrected.predict(features[:, :4])


def test_evidence_saves_time_and_changes_nothing():
    features, true = clusters(120, 3)
    given = one_confusion(true, 3, 0.3)
    method = CheckedCorrection()
    known = method.evidence(features, given, num_classes=3, seed=2)
    one = method.fit(features, given, np.arange(20), true[:20], num_classes=3, seed=2)
    other = method.fit(None, None, np.arange(20), true[:20], seed=2, evidence=known)
    np.testing.assert_array_equal(one.posterior, other.posterior)


@pytest.mark.parametrize(
    ("index", "labels", "message"),
    [
        ([1, 1], [0, 0], "each once"),
        ([], [], "at least one row"),
        ([1], [7], "0 to 2, got 7"),
        ([500], [0], "0 to 119, got 500"),
        ([1, 2], [0], "2 rows, got 1"),
    ],
)
def test_bad_checked_rows_are_refused(index: list, labels: list, message: str):
    features, true = clusters(120, 3)
    with pytest.raises(ValueError, match=message):
        CheckedCorrection().fit(features, true, np.array(index, np.int64), np.array(labels, np.int64), num_classes=3)
