"""Votes that no rule can have cast are refused, and votes are counted."""

import numpy as np
from jaxtyping import Bool, Int64, Integer


def check_votes(
    votes: Integer[np.ndarray, "rows rules"], num_classes: int, abstain: int
) -> Bool[np.ndarray, "rows rules"]:
    """Which votes were cast.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        abstain: The value that stands for silence.

    Returns:
        Whether each rule voted on each row, `[rows, rules]`.

    Raises:
        ValueError: If `num_classes` is below 2 or a vote is neither a class nor `abstain`.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    cast: Bool[np.ndarray, "rows rules"] = votes != abstain
    outside = cast & ((votes < 0) | (votes >= num_classes))
    if outside.any():
        raise ValueError(
            f"votes must be classes 0 to {num_classes - 1} or {abstain} for silence, got {int(votes[outside][0])}"
        )
    return cast


def count_votes(
    votes: Integer[np.ndarray, "rows rules"], cast: Bool[np.ndarray, "rows rules"], num_classes: int
) -> Int64[np.ndarray, "rows classes"]:
    """Number of votes for each class, `[rows, classes]`, of votes that passed [`check_votes`]."""
    rows, rules = np.nonzero(cast)
    cells = rows * num_classes + votes[rows, rules].astype(np.int64)
    return np.bincount(cells, minlength=len(votes) * num_classes).reshape(len(votes), num_classes)
