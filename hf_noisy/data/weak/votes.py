"""Votes of labelling rules: checked, and counted."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from hf_noisy.core.checks import check_integers


def check_votes(votes: Any, num_classes: int, abstain: int) -> Bool[np.ndarray, "rows rules"]:
    """Whether each rule voted on each row, `[rows, rules]`; values other than classes and `abstain` are refused."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if 0 <= abstain < num_classes:
        raise ValueError(f"abstain must be no class from 0 to {num_classes - 1}, got {abstain}; number classes from 0")
    check_integers(votes, "votes")
    if votes.ndim != 2:
        raise ValueError(f"votes must be [rows, rules], got shape {votes.shape}")
    return check_classes_or_abstain(votes, num_classes, abstain, "votes")


def check_classes_or_abstain(values: np.ndarray, num_classes: int, abstain: int, name: str) -> Bool[np.ndarray, "..."]:
    """Which values are classes; values other than classes and `abstain` are refused."""
    cast: np.ndarray = values != abstain
    outside = cast & ((values < 0) | (values >= num_classes))
    if outside.any():
        raise ValueError(
            f"{name} must be classes 0 to {num_classes - 1}, or {abstain} for none, got {int(values[outside][0])}"
        )
    return cast


def count_votes(
    votes: Integer[np.ndarray, "rows rules"], cast: Bool[np.ndarray, "rows rules"], num_classes: int
) -> Int64[np.ndarray, "rows classes"]:
    """Number of votes for each class, `[rows, classes]`; the votes have passed [`check_votes`]."""
    rows, rules = np.nonzero(cast)
    cells = rows * num_classes + votes[rows, rules].astype(np.int64)
    return np.bincount(cells, minlength=len(votes) * num_classes).reshape(len(votes), num_classes)
