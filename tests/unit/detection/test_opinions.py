"""Errors told apart from legitimate disagreement."""

import numpy as np
import pytest

from hf_noisy.detection import find_wrong_labels, opinions
from hf_noisy.detection.opinions import Opinions

LABELS = np.array([0, 1] * 40)
SURE = np.where(LABELS[:, None] == np.arange(2), 0.9, 0.1)


def votes():
    """Four annotators; in row 0 nobody gives the label, in rows 1 and 2 two do."""
    table = np.repeat(LABELS[:, None], 4, axis=1)
    table[0] = 1
    table[1:3, :2] = 1 - table[1:3, :2]
    return table


def test_an_error_scores_highest_and_a_split_vote_is_disagreement():
    predicted = SURE.copy()
    predicted[0] = [0.1, 0.9]
    predicted[1:3] = 0.5
    issues = find_wrong_labels(LABELS, predicted, votes=votes())
    assert isinstance(issues.opinions, Opinions)
    assert np.flatnonzero(issues.is_wrong).tolist() == [0]
    assert issues.suggested[0] == 1
    assert issues.opinions.error.argmax() == issues.quality.argmin() == 0
    assert set(np.argsort(-issues.opinions.disagreement)[:2]) == {1, 2}
    assert find_wrong_labels(LABELS, predicted).opinions is None


def test_checked_rows_overrule_the_votes():
    checked = np.full(80, -1)
    checked[0] = 0
    issues = find_wrong_labels(LABELS, SURE, votes=votes(), checked=checked)
    assert not issues.is_wrong[0]
    assert issues.quality[0] == 1


def test_numbers_of_votes_are_taken_and_rows_without_a_vote_are_neutral():
    counts = np.array([[3.0, 1.0], [0.0, 0.0]])
    found = opinions(np.array([0, 0]), counts, np.array([[0.5, 0.5], [0.5, 0.5]]))
    np.testing.assert_allclose(found.shares, [[0.75, 0.25], [0.5, 0.5]])
    assert found.disagreement[1] == 1


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (np.zeros((3, 2)), {}, "80 rows and 2 classes"),
        (np.full((80, 2), -1.0), {}, "at least 0"),
        (np.zeros((3, 4), int), {}, "of the probabilities"),
        (np.zeros((80, 4), int), {"evidence": [np.zeros(80)]}, "pass one of them"),
    ],
)
def test_votes_that_do_not_fit_are_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        find_wrong_labels(LABELS, SURE, votes=given, **options)
