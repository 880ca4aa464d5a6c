"""Votes that no rule can have cast are refused, and votes are counted."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer


def check_votes(votes: Any, num_classes: int, abstain: int) -> Bool[np.ndarray, "rows rules"]:
    """Which votes were cast.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        abstain: The value that stands for silence.

    Returns:
        Whether each rule voted on each row, `[rows, rules]`.

    Raises:
        ValueError: If `num_classes` is below 2, `abstain` is a class, `votes` are no whole numbers `[rows, rules]`, or
            a vote is neither a class nor `abstain`.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if 0 <= abstain < num_classes:
        raise ValueError(f"abstain must be no class from 0 to {num_classes - 1}, got {abstain}; number classes from 0")
    check_whole_numbers("votes", votes)
    if votes.ndim != 2:
        raise ValueError(f"votes must be [rows, rules], got shape {votes.shape}")
    cast: Bool[np.ndarray, "rows rules"] = votes != abstain
    outside = cast & ((votes < 0) | (votes >= num_classes))
    if outside.any():
        raise ValueError(
            f"votes must be classes 0 to {num_classes - 1} or {abstain} for silence, got {int(votes[outside][0])}"
        )
    return cast


def check_whole_numbers(name: str, values: Any) -> None:
    """Refuse what is not an array of whole numbers: a vote of 0.5 would be cut down to class 0."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} must be a numpy array of whole numbers, got {kind}; convert class ids by np.asarray")


def count_votes(
    votes: Integer[np.ndarray, "rows rules"], cast: Bool[np.ndarray, "rows rules"], num_classes: int
) -> Int64[np.ndarray, "rows classes"]:
    """Number of votes for each class, `[rows, classes]`, of votes that passed [`check_votes`]."""
    rows, rules = np.nonzero(cast)
    cells = rows * num_classes + votes[rows, rules].astype(np.int64)
    return np.bincount(cells, minlength=len(votes) * num_classes).reshape(len(votes), num_classes)
