import numpy as np
import pytest

from hf_noisy.data import majority_vote


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
    with pytest.raises(ValueError, match="votes must be classes 0 to 2 or -1"):
        majority_vote(np.array(votes), num_classes=3)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        majority_vote(np.array([[0]]), num_classes=1)
