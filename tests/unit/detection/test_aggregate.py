"""Votes of annotators to labels: what must not outvote the rest, the table of annotators, and bad input."""

import logging
import time

import numpy as np
import pytest

from hf_noisy.data.weak.vote_table import votes_from_answers, votes_from_matrix
from hf_noisy.detection.aggregate import aggregate

RNG = np.random.default_rng(0)
TRUE = np.arange(600) % 3


def answers(accuracy, count, true=TRUE, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    wrong = (true[:, None] + rng.integers(1, classes, (len(true), count))) % classes
    return np.where(rng.random((len(true), count)) < accuracy, true[:, None], wrong)


def accuracy(found, true=TRUE):
    return float((found.labels == true).mean())


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).normal(size=(600, 8)) + 2 * np.eye(3, 8)[TRUE]


@pytest.mark.parametrize("method", ["model", "dawid_skene", "weighted", "majority"])
def test_independent_annotators_are_better_together_and_their_accuracies_are_found(method):
    found = aggregate(answers([0.9, 0.8, 0.6, 0.5, 0.7], 5), method=method)
    assert accuracy(found) > 0.9
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)
    order = np.argsort([row.accuracy for row in found.annotators]).tolist()
    assert order == [3, 2, 4, 1, 0]


def test_the_interval_of_an_accuracy_holds_it():
    accuracies = [0.9, 0.8, 0.6, 0.5, 0.7]
    found = aggregate(answers(accuracies, 5)).annotators
    assert sum(row.low <= true <= row.high for row, true in zip(found, accuracies, strict=True)) >= 4
    frame = found.to_frame()
    assert list(frame["answers"]) == [600] * 5
    assert str(found).count("\n") == 6


def test_annotators_of_one_class_do_not_outvote_the_rest():
    votes = np.hstack([answers(0.7, 3), np.zeros((600, 5), int)])
    found = aggregate(votes)
    assert accuracy(found) > accuracy(aggregate(votes, method="majority")) + 0.2
    assert [row.note for row in found.annotators] == [""] * 3 + ["one class only"] * 5


def test_near_copies_do_not_outvote_independent_annotators():
    bad = answers(0.5, 1, seed=1)
    same = np.where(RNG.random((600, 6)) < 0.97, bad, RNG.integers(0, 3, (600, 6)))
    votes = np.hstack([answers(0.75, 3), same])
    found = aggregate(votes)
    assert accuracy(found) > 0.85 > accuracy(aggregate(votes, method="dawid_skene")) + 0.2
    assert [row.note for row in found.annotators[4:]] == ["copy of 3"] * 5
    assert sum(row.weight for row in found.annotators[3:]) <= 1


def test_correlated_annotators_count_for_less_and_the_correlation_is_reported():
    shared = answers(0.6, 1, seed=2)
    alike = np.where(RNG.random((600, 4)) < 0.6, shared, answers(0.6, 4, seed=3))
    found = aggregate(np.hstack([answers(0.75, 7), alike]))
    weights = [row.weight for row in found.annotators]
    assert max(weights[7:]) < min(weights[:7])
    between = found.correlation[7:, 7:][~np.eye(4, dtype=bool)]
    assert between.min() > 0.15 > abs(found.correlation[:7, :7]).max()


def test_an_annotator_with_few_answers_counts_as_the_average_one():
    votes = np.hstack([answers(0.7, 4), np.full((600, 1), -1)])
    votes[:4, 4] = TRUE[:4]  # right four times out of four
    found = aggregate(votes)
    assert found.annotators[4].note == "few answers"
    assert found.annotators[4].low < 0.7
    assert found.confusion[4].max() < 0.9


def test_features_add_what_the_votes_lack(features):
    votes = np.where(RNG.random((600, 3)) < 0.5, answers(0.55, 3), -1)
    plain, with_texts = aggregate(votes), aggregate(votes, features)
    assert accuracy(with_texts) > accuracy(plain) + 0.1
    nobody = ~with_texts.covered
    assert (plain.labels[nobody] == -1).all()
    assert (with_texts.labels[nobody] >= 0).all()


def test_rules_of_one_class_each_are_corrected_by_features(features):
    fires = RNG.random((600, 12)) < np.where(TRUE[:, None] == np.arange(12) % 3, 0.2, 0.06)
    votes = np.where(fires, np.arange(12) % 3, -1)
    found, majority = aggregate(votes, features), aggregate(votes, method="majority")
    assert accuracy(found) > accuracy(majority) + 0.1


def test_checked_rows_are_kept_and_teach_about_annotators():
    always_confuses = np.where(RNG.random((600, 5)) < 0.9, (TRUE[:, None] + (TRUE[:, None] > 0)) % 3, TRUE[:, None])
    checked = np.where(np.arange(600) < 60, TRUE, -1)
    found = aggregate(always_confuses, checked=checked)
    assert (found.labels[:60] == TRUE[:60]).all()
    assert accuracy(found) > accuracy(aggregate(always_confuses)) + 0.2


def test_answers_in_a_list_are_read_and_the_last_answer_of_one_annotator_counts(caplog):
    with caplog.at_level(logging.WARNING):
        votes = votes_from_answers(
            np.array([0, 1, 0, 1, 1]), ["ann", "ann", "ann", "ben", "ben"], np.array([0, 1, 1, 0, -1]), num_rows=3
        )
    assert votes.matrix().tolist() == [[1, -1], [1, 0], [-1, -1]]
    assert "1 answers were replaced" in caplog.text
    assert "last answer counts" in caplog.text
    assert aggregate(votes).labels[2] == -1


def test_an_annotator_without_an_answer_is_ignored_and_named(caplog):
    with caplog.at_level(logging.WARNING):
        found = aggregate(np.hstack([answers(0.8, 3), np.full((600, 1), -1)]))
    assert "1 of 4 annotators have no answer and are ignored: 3" in caplog.text
    assert found.annotators[3].note == "no answer"
    assert np.isnan(found.annotators[3].accuracy)


@pytest.mark.parametrize(
    ("votes", "options", "message"),
    [
        (np.full((3, 2), -1), {"num_classes": 2}, "at least one answer"),
        (np.array([[0, 5]]), {"num_classes": 2}, "classes 0 to 1"),
        (np.array([[0.5, 1.0]]), {"num_classes": 2}, "integer"),
        (np.array([[0, 1]]), {"features": np.ones((2, 3))}, "of the 1 rows"),
        (np.array([[0, 1]]), {"checked": np.array([7])}, "not among the classes"),
        (np.array([[0, 1]]), {"method": "best"}, "method must be one of model, dawid_skene, weighted, majority"),
        (np.array([[0, 1]]), {"method": "majority", "features": np.ones((1, 3))}, "leave them out"),
    ],
)
def test_bad_input_is_refused_with_a_reason(votes, options, message):
    with pytest.raises(ValueError, match=message):
        aggregate(votes, **options)


def test_names_must_be_different():
    with pytest.raises(ValueError, match="annotators must be 2 different names"):
        votes_from_matrix(np.array([[0, 1]]), annotators=["a", "a"])


@pytest.mark.slow
def test_a_hundred_thousand_rows_of_fifty_annotators_are_fast():
    true = np.arange(100_000) % 10
    votes = answers(0.6, 50, true, 10).astype(np.int8)
    start = time.perf_counter()
    assert accuracy(aggregate(votes), true) > 0.99
    assert time.perf_counter() - start < 30
