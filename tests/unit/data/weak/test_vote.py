import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.data.weak import majority_vote, weighted_vote
from hf_noisy.data.weak.vote import _check_policies, _check_weights
from hf_noisy.data.weak.votes import check_votes


def test_the_majority_wins_and_silence_does_not_count():
    votes = np.array([[2, 2, 0, -1], [-1, 1, -1, -1], [0, 1, 1, 0], [-1, -1, -1, -1]])
    labels, covered = majority_vote(votes, num_classes=3)
    assert labels[:2].tolist() == [2, 1]
    assert labels[2] in (0, 1)
    assert covered.tolist() == [True, True, True, False]


def test_equals_a_loop_over_rows():
    rng = np.random.default_rng(0)
    votes = rng.integers(-1, 4, size=(300, 7))
    labels, covered = majority_vote(votes, num_classes=4)
    for row, label, has_votes in zip(votes, labels, covered, strict=True):
        counts = [int((row == k).sum()) for k in range(4)]
        assert counts[label] == max(counts)
        assert has_votes == (max(counts) > 0)


def test_ties_and_silent_rows_are_uniform():
    tied = np.tile([0, 2], (6000, 1))
    labels, _ = majority_vote(tied, num_classes=3)
    assert set(labels) == {0, 2}
    assert abs((labels == 2).mean() - 0.5) < 0.03
    silent, _ = majority_vote(np.full((6000, 2), -1), num_classes=3)
    assert np.abs(np.bincount(silent, minlength=3) / 6000 - 1 / 3).max() < 0.03


def test_a_row_keeps_its_label_when_rows_are_appended():
    votes = np.full((50, 3), -1)
    few, _ = majority_vote(votes[:20], num_classes=5, seed=3)
    many, _ = majority_vote(votes, num_classes=5, seed=3)
    assert (few == many[:20]).all()
    other, _ = majority_vote(votes, num_classes=5, seed=4)
    assert (many != other).any()


def test_another_sign_of_silence():
    labels, covered = majority_vote(np.array([[9, 1], [9, 9]]), num_classes=2, abstain=9)
    assert labels[0] == 1
    assert covered.tolist() == [True, False]


@pytest.mark.parametrize("votes", [[[3]], [[-2]]])
def test_votes_outside_the_classes_are_refused(votes):
    with pytest.raises(ValueError, match="votes must be classes 0 to 2, or -1"):
        majority_vote(np.array(votes), num_classes=3)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        majority_vote(np.array([[0]]), num_classes=1)


# Policies

TIED = np.array([[2, 1, -1], [-1, -1, -1], [0, 0, 1], [1, 1, 1]])


@pytest.mark.parametrize(
    ("ties", "uncovered", "expected"),
    [
        ("lowest", "abstain", [1, -1, 0, 1]),
        ("highest", "abstain", [2, -1, 0, 1]),
        ("abstain", 2, [-1, 2, 0, 1]),
        ("abstain", 0, [-1, 0, 0, 1]),
    ],
)
def test_policies_by_hand(ties, uncovered, expected):
    labels, covered = majority_vote(TIED, num_classes=3, ties=ties, uncovered=uncovered)
    assert labels.tolist() == expected
    assert covered.tolist() == [True, False, True, True]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8), st.integers(2, 5))
def test_policies_agree_where_they_have_no_say(seed, num_rows, num_rules, num_classes):
    votes = np.random.default_rng(seed).integers(-1, num_classes, (num_rows, num_rules))
    random, covered = majority_vote(votes, num_classes)
    clear, _ = majority_vote(votes, num_classes, ties="abstain", uncovered="abstain")
    decided = clear >= 0
    assert (random[decided] == clear[decided]).all()
    assert not decided[~covered].any()
    lowest, _ = majority_vote(votes, num_classes, ties="lowest", uncovered="abstain")
    highest, _ = majority_vote(votes, num_classes, ties="highest", uncovered="abstain")
    assert (lowest[covered] <= random[covered]).all()
    assert (random[covered] <= highest[covered]).all()
    assert (lowest[~covered] == -1).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8), st.integers(2, 5))
def test_equal_weights_are_a_majority(seed, num_rows, num_rules, num_classes):
    votes = np.random.default_rng(seed).integers(-1, num_classes, (num_rows, num_rules))
    # 0.1 is no binary fraction: sums of as many of them must tie all the same.
    for ties in ("lowest", "highest", "abstain"):
        labels, covered = weighted_vote(votes, np.full(num_rules, 0.1), num_classes, ties=ties, uncovered="abstain")
        expected, expected_covered = majority_vote(votes, num_classes, ties=ties, uncovered="abstain")
        assert labels.tolist() == expected.tolist()
        assert covered.tolist() == expected_covered.tolist()


def test_weighted_votes_equal_a_loop():
    rng = np.random.default_rng(1)
    votes, weights = rng.integers(-1, 4, (200, 9)), rng.normal(size=9)
    labels, _ = weighted_vote(votes, weights, num_classes=4, uncovered="abstain")
    for row, label in zip(votes, labels, strict=True):
        sums = [weights[row == k].sum() for k in range(4)]
        assert label == (np.argmax(sums) if (row >= 0).any() else -1)


def test_a_rule_without_weight_is_silent_and_a_negative_one_objects():
    labels, covered = weighted_vote(np.array([[0, -1], [0, 1]]), np.array([0.0, 1.0]), 2, uncovered="abstain")
    assert labels.tolist() == [-1, 1]
    assert covered.tolist() == [False, True]
    labels, covered = weighted_vote(np.array([[0]]), np.array([-1.0]), num_classes=2)
    assert labels.tolist() == [1]
    assert covered.all()


def test_rounding_does_not_break_a_tie():
    votes = np.array([[0, 0, 0, 1]])
    weights = np.array([0.1, 0.2, 0.3, 0.6])
    assert weights[:3].sum() != weights[3]
    assert weighted_vote(votes, weights, 2, ties="abstain")[0].tolist() == [-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "first"}, "ties must be one of random, lowest, highest, abstain, got 'first'"),
        ({"uncovered": "drop"}, "uncovered must be random, abstain or a class 0 to 2, got 'drop'"),
        ({"uncovered": 3}, "uncovered must be random, abstain or a class 0 to 2, got 3"),
        ({"uncovered": -1}, "uncovered must be random, abstain or a class 0 to 2, got -1"),
    ],
)
def test_unknown_policies_are_refused(options, message):
    # Types are checked in tests alone, where they come first: users meet the sentence.
    with pytest.raises(ValueError, match=message.replace("'", ".")):
        _check_policies(num_classes=3, **{"ties": "random", "uncovered": "random", **options})


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match=r"one finite number for each of the 3 rules, got shape \(2,\)"):
        weighted_vote(TIED, np.ones(2), num_classes=3)
    with pytest.raises(ValueError, match=r"one finite number for each of the 3 rules, got .* nan"):
        weighted_vote(TIED, np.array([1.0, np.nan, 1.0]), num_classes=3)
    with pytest.raises(ValueError, match=r"for each of the 3 rules, got list; convert them by np\.asarray"):
        _check_weights([1, 1, 1], 3)


@pytest.mark.parametrize(
    ("votes", "abstain", "message"),
    [
        (np.array([[0.5, 1.0]]), -1, "votes must be one integer per row, got float64"),
        ([[0, 1]], -1, "votes must be a numpy array of integers, got list"),
        (np.array([[None, 1]]), -1, "votes has a missing value in row 0"),
        (np.array([0, 1]), -1, r"votes must be \[rows, rules\], got shape \(2,\)"),
        (np.array([[0, 1]]), 0, "abstain must be no class from 0 to 1, got 0; number classes from 0"),
    ],
)
def test_votes_of_other_types_are_refused(votes, abstain, message):
    with pytest.raises(ValueError, match=message):
        check_votes(votes, 2, abstain)
