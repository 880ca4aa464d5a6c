"""Checked rows correct the labels of the others."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.checked_lists import CheckedLists
from hf_noisy.detection.checked_cells import set_posterior
from hf_noisy.detection.checked_tags import tag_posterior
from hf_noisy.detection.list_audit import audit_lists
from hf_noisy.detection.list_posterior import cell_targets, token_targets


def looked_at(true, count):
    """The first rows as checked ones."""
    return np.where(np.arange(len(true))[:, None] < count, true, -1)


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
    posterior = set_posterior(given, predicted, looked_at(true, 40))
    assert (posterior[:40] == true[:40]).all()
    assert ((posterior > 0.5) == true)[40:].mean() > 0.99 > (given == true)[40:].mean()


def test_predictions_that_say_nothing_change_no_label():
    draw = np.random.default_rng(0)
    true = draw.random((200, 4)) < 0.3
    given = true & (draw.random(true.shape) < 0.7)
    predicted = np.full(true.shape, 0.2)
    posterior = set_posterior(given, predicted, looked_at(true, 50))
    assert ((posterior > 0.5) == given)[50:].all()


def test_confident_predictions_that_are_often_wrong_do_not_upset_the_correction():
    random = np.random.default_rng(0)
    true, added = random.random((2000, 10)) < 0.15, random.random((2000, 10)) < 0.1
    given = true | added  # the predictions learned the added classes too
    predicted = np.where(given, 0.97 + 0.029 * random.random(given.shape), 0.001 + 0.02 * random.random(given.shape))
    posterior = set_posterior(given, predicted, looked_at(true, 200))
    of_given = posterior[200:][given[200:]].mean()
    assert abs(of_given - true[200:][given[200:]].mean()) < 0.05


@pytest.mark.parametrize("kind", ["tokens", "sets"])
def test_single_checked_labels_are_certain_and_teach_nothing_about_others(kind):
    random = np.random.default_rng(0)
    true, names = random.integers(0, 2, (40, 3)), ["O", "B-X"] if kind == "tokens" else ["a", "b", "c"]
    given = true * (random.random(true.shape) < 0.6)
    values = np.full(true.shape, -1)
    values[:20][given[:20] != true[:20]] = 1  # those that look wrong

    def rows(labels):
        listed = labels.tolist() if kind == "tokens" else [np.flatnonzero(one).tolist() for one in labels]
        features = {"label": List(ClassLabel(names=names)), "tokens": List(Value("string"))}
        data = {"label": listed, "tokens": [["x", "y", "z"]] * 40}
        made = Dataset.from_dict(data, Features(features))
        return made if kind == "tokens" else made.remove_columns("tokens")

    vectors = random.normal(size=((120 if kind == "tokens" else 40), 4)).astype(np.float32)
    looked_at = np.flatnonzero((values >= 0).any(1))
    checked = CheckedLists(looked_at, list(values[looked_at]), ["unknown"] * len(looked_at))
    found = audit_lists(rows(given), vectors, checked=checked)
    expected = audit_lists(rows(np.where(values == 1, 1, given)), vectors)
    certain = values.reshape(found.given.shape) >= 0
    assert found.issues.is_wrong[certain].all()
    assert (found.issues.quality[certain] == 0).all()
    np.testing.assert_array_equal(found.issues.quality[~certain], expected.issues.quality[~certain])
    assert found.shares is None


def test_a_checked_sentence_without_given_tags_says_nothing():
    features = Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=["O", "B-X"]))})
    tags = [[-1, -1], *[[0, 1], [0, 0]] * 10]
    rows = Dataset.from_dict({"tokens": [["a", "b"]] * 21, "label": tags}, features=features)
    vectors = np.random.default_rng(0).normal(size=(42, 4)).astype(np.float32)
    found = audit_lists(rows, vectors, checked=CheckedLists(np.array([0]), [np.array([0, 1])], ["random"]))
    assert found.shares is None
    assert np.isfinite(found.issues.noise_rate.rate)


@pytest.mark.parametrize("cells", [False, True])
def test_single_checked_labels_teach_no_targets_of_training(cells):
    random = np.random.default_rng(0)
    given = random.integers(0, 2, 120)
    column = np.where((np.arange(120) % 3 == 0) & (np.arange(120) < 60), 1 - given, -1)
    index = np.flatnonzero(column >= 0)
    nothing = np.full(len(index), np.nan)
    checked = CheckedRows(index, column[index], ["unknown"] * len(index), nothing, np.zeros(len(index), int), 120)
    vectors = random.normal(size=((40 if cells else 120), 4)).astype(np.float32)
    replaced = np.where(column >= 0, column, given)
    rows = np.repeat(np.arange(40), 3)
    if cells:
        found, expected = cell_targets(vectors, given, 3, checked), cell_targets(vectors, replaced, 3)
    else:
        found, expected = token_targets(vectors, given, rows, 2, checked), token_targets(vectors, replaced, rows, 2)
    np.testing.assert_allclose(found[column < 0], expected[column < 0])
    np.testing.assert_array_equal(found[index], np.eye(2)[column[index]])


def test_no_share_of_missing_classes_where_no_checked_row_has_one():
    features = Features({"label": List(ClassLabel(names=["a", "b"]))})
    rows = Dataset.from_dict({"label": [[0], [1], [], [0, 1]] * 10}, features=features)
    checked = CheckedLists(np.array([2, 6]), [np.zeros(2, int)] * 2, ["random"] * 2)
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    shares = audit_lists(rows, vectors, checked=checked).shares
    assert shares.missing is None
    assert shares.wrong.rate == 0
