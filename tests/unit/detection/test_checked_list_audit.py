"""Checked rows correct the labels of the others."""

import numpy as np

from hf_noisy.detection.checked_cells import set_posterior
from hf_noisy.detection.checked_tags import tag_posterior


def test_tags_by_class_are_corrected_where_nobody_looked():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 600)
    features = draw.normal(size=(600, 8)) + 4 * np.eye(3, 8)[true]
    given = np.where((true == 2) & (draw.random(600) < 0.6), 0, true)  # most of a class lacks its tag
    rows, checked = np.repeat(np.arange(60), 10), np.full(600, -1)
    checked[:150] = true[:150]
    posterior = tag_posterior(features, given, rows, ["w"] * 600, checked, 3)
    assert (posterior[:150].argmax(1) == true[:150]).all()
    left = slice(150, None)
    assert (posterior[left].argmax(1) == true[left]).mean() > 0.95 > (given[left] == true[left]).mean()


def test_sets_with_missing_classes_are_corrected_where_nobody_looked():
    draw = np.random.default_rng(0)
    true = draw.random((400, 5)) < 0.3
    given = true & (draw.random(true.shape) < 0.5)
    predicted = np.where(true, 0.45, 0.05) + draw.uniform(-0.04, 0.04, true.shape)  # learned from the given sets
    index = np.arange(40)
    posterior = set_posterior(given, predicted, index, true[index])
    assert (posterior[index] == true[index]).all()
    assert ((posterior > 0.5) == true)[40:].mean() > 0.99 > (given == true)[40:].mean()


def test_predictions_that_say_nothing_change_no_label():
    draw = np.random.default_rng(0)
    true = draw.random((200, 4)) < 0.3
    given = true & (draw.random(true.shape) < 0.7)
    predicted = np.full(true.shape, 0.2)
    posterior = set_posterior(given, predicted, np.arange(50), true[:50])
    assert ((posterior > 0.5) == given)[50:].all()
