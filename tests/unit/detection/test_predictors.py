import warnings
from itertools import chain, combinations

import numpy as np
import pytest
from scipy.special import log_softmax

from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.predictors import (
    LENGTH,
    balanced_ridge,
    class_means,
    held_out_predictions,
    logistic_regressions,
)
from hf_noisy.detection.probe import out_of_fold_probabilities, probe_logits

ROWS, WIDTH, CLASSES = 60, 5, 3


def problem(seed=0, copies=0):
    """Rows of length 1, the last `copies` of which repeat the first, with random labels."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, WIDTH))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    groups = np.arange(ROWS)
    if copies:
        features[-copies:], groups[-copies:] = features[:copies], np.arange(copies)
    return features, rng.integers(0, CLASSES, ROWS), groups


def without_level(log_probabilities):
    """Differences to the first class, divided by their size: what is left without a common scale."""
    scores = log_probabilities - log_probabilities[:, :1]
    return scores / np.abs(scores).mean()


@pytest.mark.parametrize("copies", [0, 10])
def test_class_means_are_those_without_the_row_and_its_copies(copies):
    features, labels, groups = problem(copies=copies)
    expected = np.empty((ROWS, CLASSES))
    for row in range(ROWS):
        for label in range(CLASSES):
            others = features[(labels == label) & (groups != groups[row])]
            expected[row, label] = -((features[row] - others.mean(0)) ** 2).sum()
    found = class_means(features, labels, CLASSES, groups)
    np.testing.assert_allclose(without_level(found), without_level(expected), atol=1e-9)


@pytest.mark.parametrize("copies", [0, 10])
def test_ridge_is_that_without_the_row_and_its_copies(copies):
    features, labels, groups = problem(copies=copies)
    weights = ROWS / (np.bincount(labels)[labels] * CLASSES)
    inputs = np.c_[features, np.ones(ROWS)]
    penalty = np.diag([0.01 * ROWS] * WIDTH + [1e-8])
    expected = np.empty((ROWS, CLASSES))
    for row in range(ROWS):
        kept = groups != groups[row]
        weighted = inputs[kept] * weights[kept, None]
        solution = np.linalg.solve(weighted.T @ inputs[kept] + penalty, weighted.T @ np.eye(CLASSES)[labels[kept]])
        expected[row] = inputs[row] @ solution
    found = balanced_ridge(features, labels, CLASSES, groups)
    np.testing.assert_allclose(without_level(found), without_level(expected), atol=1e-7)


def test_logistic_regression_is_that_of_the_other_folds_divided_by_class_frequencies():
    features, labels, _ = problem()
    folds = np.arange(ROWS) % 4
    found = logistic_regressions(features, labels, CLASSES, folds, [0.01])[0]
    held = folds == 2
    head = fit_linear_head((LENGTH * features[~held]).astype(np.float32), np.eye(CLASSES)[labels[~held]], 0.01)
    expected = head.logits(LENGTH * features[held]) - np.log(np.bincount(labels) / ROWS)
    np.testing.assert_allclose(found[held], log_softmax(expected, axis=1), atol=1e-4)


PREDICTORS = {
    "class means": lambda features, labels, groups: class_means(features, labels, CLASSES, groups),
    "logistic": lambda features, labels, groups: logistic_regressions(features, labels, CLASSES, groups % 5, [0.01])[
        0
    ],
    "ridge": lambda features, labels, groups: balanced_ridge(features, labels, CLASSES, groups),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_prediction_does_not_depend_on_the_labels_of_the_row_and_its_copies(name, monkeypatch):
    # The common scale and the class frequencies are shared by all rows, so they are fixed: two labels are swapped.
    monkeypatch.setattr("hf_noisy.detection.predictors._sharpness", lambda *_: 1.0)
    features, labels, groups = problem()
    features[1], groups[1] = features[0], 0
    labels[0], labels[1] = 0, 1
    swapped = labels.copy()
    swapped[0], swapped[1] = 1, 0
    before, after = (PREDICTORS[name](features, given, groups) for given in (labels, swapped))
    np.testing.assert_allclose(before[:2], after[:2], atol=1e-12)
    # With one copy only, the labels count: the other rows do see them.
    apart = np.arange(ROWS)
    before, after = (PREDICTORS[name](features, given, apart) for given in (labels, swapped))
    assert np.abs(before[0] - after[0]).max() > 1e-4


def everything(features, labels, classes=CLASSES):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return held_out_predictions(features, labels, classes, 5, 0)


def test_the_folds_of_few_rows_are_drawn_several_times(monkeypatch):
    features, labels, _ = problem()
    several = everything(features, labels)
    monkeypatch.setattr("hf_noisy.detection.predictors._DRAWN", 2 * ROWS - 1)
    for name, (one, *more) in everything(features, labels).items():
        assert not more
        np.testing.assert_array_equal(several[name][0], one)
        assert len(several[name]) == (3 if name.startswith("logistic") else 1)
        for first, second in combinations(several[name], 2):
            assert np.abs(first - second).max() > 1e-3


def test_a_class_without_rows_is_never_predicted():
    features, labels, _ = problem()
    for predicted in chain(*everything(features, 2 * labels, 5).values()):
        assert np.isfinite(predicted).all()
        assert np.exp(predicted[:, [1, 3]]).max() < 1e-12
        np.testing.assert_allclose(np.exp(predicted).sum(1), 1)


def test_a_class_of_one_row_is_not_known_for_that_row():
    features, labels, _ = problem()
    labels = np.where(np.arange(ROWS) == 7, 2, labels % 2)
    for name, draws in everything(features, labels).items():
        assert np.isfinite(draws).all()
        if name != "class means":  # which are neutral there
            assert all(predicted[7].argmax() != 2 for predicted in draws)


@pytest.mark.parametrize("features", [np.zeros((20, 3)), np.ones((20, 3)), np.eye(20, 3)])
def test_features_that_are_equal_give_finite_predictions(features):
    for predicted in chain(*everything(features.astype(np.float64), np.arange(20) % 3).values()):
        assert np.isfinite(predicted).all()


def test_very_many_rows_give_the_same_without_their_directions_in_memory(monkeypatch):
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(200, 6)) + np.eye(3, 6)[np.arange(200) % 3]).astype(np.float32)
    given = np.where(rng.random(200) < 0.2, rng.integers(0, 3, 200), np.arange(200) % 3)
    expected, probe = fit_evidence(features, given), out_of_fold_probabilities(features, given)
    monkeypatch.setattr("hf_noisy.detection.directions._KEPT", 10)
    found = fit_evidence(features, given)
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=1e-9)
    np.testing.assert_allclose(found.head.weight, expected.head.weight, atol=1e-6)
    np.testing.assert_allclose(out_of_fold_probabilities(features, given), probe, atol=1e-9)


def test_the_logits_of_a_probe_do_not_depend_on_what_is_kept_in_memory(monkeypatch):
    features = np.random.default_rng(0).normal(3, 2, size=(150, 5)).astype(np.float32)
    expected = list(probe_logits(features, np.arange(150) % 3, 3, epochs=2))
    monkeypatch.setattr("hf_noisy.detection.probe._KEPT", 10)
    monkeypatch.setattr("hf_noisy.detection.probe._EVALUATED", 40)
    np.testing.assert_allclose(list(probe_logits(features, np.arange(150) % 3, 3, epochs=2)), expected, atol=1e-5)
    monkeypatch.setattr("hf_noisy.detection.probe._MOST_STEPS", 1)  # batches of 150 rows
    assert np.abs(np.subtract(list(probe_logits(features, np.arange(150) % 3, 3, epochs=2)), expected)).max() > 1e-3
