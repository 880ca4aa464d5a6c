"""Checked rows correct the labels of the others."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, List

from hf_noisy.data.checked_lists import CheckedLists
from hf_noisy.detection.checked_cells import set_posterior
from hf_noisy.detection.checked_tags import tag_posterior
from hf_noisy.detection.list_audit import audit_lists


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


def test_confident_predictions_that_are_often_wrong_do_not_upset_the_correction():
    random = np.random.default_rng(0)
    true, added = random.random((2000, 10)) < 0.15, random.random((2000, 10)) < 0.1
    given = true | added  # the predictions learned the added classes too
    predicted = np.where(given, 0.97 + 0.029 * random.random(given.shape), 0.001 + 0.02 * random.random(given.shape))
    index = np.arange(200)
    posterior = set_posterior(given, predicted, index, true[index])
    of_given = posterior[200:][given[200:]].mean()
    assert abs(of_given - true[200:][given[200:]].mean()) < 0.05


def test_no_share_of_missing_classes_where_no_checked_row_has_one():
    features = Features({"label": List(ClassLabel(names=["a", "b"]))})
    rows = Dataset.from_dict({"label": [[0], [1], [], [0, 1]] * 10}, features=features)
    checked = CheckedLists(np.array([2, 6]), [[], []], ["random"] * 2)
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    shares = audit_lists(rows, vectors, checked=checked).shares
    assert shares.missing is None
    assert shares.wrong.rate == 0
