"""Errors told apart from legitimate disagreement: what annotators and a classifier say of each given label."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from hf_noisy.core.checks import check_scores
from hf_noisy.core.types import Labels, Probabilities
from hf_noisy.data.weak.vote_table import Votes, votes_from_matrix

_FLOOR = 0.02  # share of the votes, and probability, that a class has at least
_POWER = 0.5  # of the classifier, as in `vote_model`


class Opinions(NamedTuple):
    """The result of [`opinions`].

    Attributes:
        error: `[rows]`, from 0 (all gave the label, and the classifier is sure of it) to 1 (nobody would).
        disagreement: `[rows]`, from 0 (one class is plausible) to 1 (another is as plausible as the given one).
        plausibility: `[rows, classes]`, sums to 1: shares of the votes times the root of the probabilities.
        shares: `[rows, classes]`, share of the votes for each class; equal in a row without a vote.
    """

    error: Float64[np.ndarray, " rows"]
    disagreement: Float64[np.ndarray, " rows"]
    plausibility: Float64[np.ndarray, "rows classes"]
    shares: Float64[np.ndarray, "rows classes"]


def opinions(labels: Labels, votes: Any, probabilities: Probabilities) -> Opinions:
    """Scores of error and of disagreement for each given label.

    A label is an error if few chose it and the classifier, which learned from other rows, would not either. People
    differ legitimately where the given label and another one are both plausible.

    Args:
        labels: `[rows]`, given labels.
        votes: [`~hf_noisy.data.weak.vote_table.Votes`], an integer array `[rows, annotators]` with -1 for no answer,
            or a float array `[rows, classes]` of numbers of votes, if annotators may choose several classes.
        probabilities: `[rows, classes]` of models that did not train on the row.

    Returns:
        [`Opinions`].

    Raises:
        ValueError: If the arrays do not fit each other, or a number of votes is negative or infinite.

    Example:
        >>> unsure = np.full((3, 2), 0.5)
        >>> found = opinions(np.array([0, 0, 0]), np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]]), unsure)
        >>> int(found.error.argmax()), int(found.disagreement.argmax())
        (2, 1)
    """
    check_scores(labels, probabilities)
    counts = _counts(votes, *probabilities.shape)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1e-12), 1 / counts.shape[1])
    rows = np.arange(len(labels))
    scores = (shares + _FLOOR) * (probabilities.astype(np.float64) + _FLOOR) ** _POWER
    own = scores[rows, labels]
    others = scores.copy()
    others[rows, labels] = 0.0
    best = others.max(axis=1)
    return Opinions(
        error=1 - own / (1 + _FLOOR) ** (1 + _POWER),
        disagreement=np.minimum(own, best) / np.maximum(own, best),
        plausibility=scores / scores.sum(axis=1, keepdims=True),
        shares=shares,
    )


def _counts(votes: Any, num_rows: int, num_classes: int) -> Float64[np.ndarray, "rows classes"]:
    """Numbers of votes for each class."""
    if isinstance(votes, np.ndarray) and votes.dtype.kind == "f":
        if votes.shape != (num_rows, num_classes) or not np.isfinite(votes).all() or votes.min(initial=0) < 0:
            raise ValueError(
                f"votes must be finite numbers of at least 0 for {num_rows} rows and {num_classes} classes, got shape "
                f"{votes.shape}"
            )
        return votes.astype(np.float64)
    table = votes if isinstance(votes, Votes) else votes_from_matrix(votes, num_classes)
    if (table.num_rows, len(table.classes)) != (num_rows, num_classes):
        raise ValueError(
            f"votes must be on the {num_rows} rows and {num_classes} classes of the probabilities, got "
            f"{table.num_rows} rows and {len(table.classes)} classes"
        )
    return table.counts().astype(np.float64)
