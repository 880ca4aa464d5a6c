"""Majority vote and weighted vote of labelling rules."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

from hf_noisy.core.rng import uniforms
from hf_noisy.data.weak.votes import check_votes, count_votes

Ties = Literal["random", "lowest", "highest", "abstain"]
Uncovered = Literal["random", "abstain"] | int
_TIES = ("random", "lowest", "highest", "abstain")
# Sums of the same weights in another order differ by rounding.
_TIE_TOLERANCE = 1e-9


def majority_vote(
    votes: Integer[np.ndarray, "rows rules"],
    num_classes: int,
    seed: int = 0,
    abstain: int = -1,
    *,
    ties: Ties = "random",
    uncovered: Uncovered = "random",
) -> tuple[Integer[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """The class with the most votes in each row.

    By default ties are broken at random, and rows without a vote get a random class. Draws are keyed by seed and row,
    so a row keeps its label when rows are appended. Rows with the label `abstain` are not dropped.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        seed: Seed of ties and of rows without a vote.
        abstain: The value that means silence.
        ties: Choice among classes with the most votes: `"random"`, the `"lowest"` or `"highest"` class id, or none
            (`"abstain"`).
        uncovered: Label of rows without a vote: a `"random"` class, `"abstain"`, or a class id.

    Returns:
        The labels `[rows]`, int64, and whether any rule voted `[rows]`, bool.

    Raises:
        ValueError: If `num_classes` is below 2, a vote is neither a class nor `abstain`, or a policy is not known.

    Source: majority vote of the WRENCH benchmark (Zhang et al., 2021).

    Example:
        >>> import numpy as np
        >>> labels, covered = majority_vote(np.array([[1, 1, 0], [-1, -1, -1]]), num_classes=2)
        >>> int(labels[0]), covered.tolist()
        (1, [True, False])
        >>> votes = np.array([[2, 1, -1], [-1, -1, -1], [0, 0, 1]])
        >>> majority_vote(votes, num_classes=3, ties="lowest", uncovered="abstain")[0].tolist()
        [1, -1, 0]
    """
    cast = check_votes(votes, num_classes, abstain)
    _check_policies(ties, uncovered, num_classes)
    counts = count_votes(votes, cast, num_classes)
    tied = counts == counts.max(axis=1, keepdims=True)
    covered: Bool[np.ndarray, " rows"] = counts.sum(axis=1) > 0
    return _choose(tied, covered, seed, "majority_vote", abstain, ties, uncovered), covered


def weighted_vote(
    votes: Integer[np.ndarray, "rows rules"],
    weights: Float[np.ndarray, " weights"],
    num_classes: int,
    seed: int = 0,
    abstain: int = -1,
    *,
    ties: Ties = "random",
    uncovered: Uncovered = "random",
) -> tuple[Integer[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """The class with the largest sum of weights in each row.

    Weights may be the accuracy of each rule on some checked rows, or its log-odds; a rule of weight 0 counts as
    silent, and a negative weight counts against the class.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        weights: Weight of each rule, `[rules]`, finite.
        num_classes: Number of classes.
        seed: Seed of ties and of rows without a vote.
        abstain: The value that means silence.
        ties: As in [`majority_vote`]; sums that differ by rounding only are tied.
        uncovered: As in [`majority_vote`].

    Returns:
        The labels `[rows]`, int64, and whether any rule of nonzero weight voted `[rows]`, bool.

    Raises:
        ValueError: As [`majority_vote`], or if `weights` is not one finite number per rule.

    Example:
        >>> import numpy as np
        >>> votes = np.array([[0, 1, 1], [0, 1, -1]])
        >>> weighted_vote(votes, np.array([0.9, 0.3, 0.4]), num_classes=2)[0].tolist()
        [0, 0]
    """
    cast = check_votes(votes, num_classes, abstain)
    _check_policies(ties, uncovered, num_classes)
    _check_weights(weights, votes.shape[1])
    counted = cast & (weights != 0)
    rows, rules = np.nonzero(counted)
    cells = rows * num_classes + votes[rows, rules].astype(np.int64)
    sums = np.bincount(cells, weights=weights[rules], minlength=len(votes) * num_classes).reshape(-1, num_classes)
    scale = np.where(counted, np.abs(weights), 0.0).sum(axis=1, keepdims=True)
    tied = sums >= sums.max(axis=1, keepdims=True) - _TIE_TOLERANCE * scale
    covered: Bool[np.ndarray, " rows"] = scale[:, 0] > 0
    return _choose(tied, covered, seed, "weighted_vote", abstain, ties, uncovered), covered


def _check_weights(weights: Any, num_rules: int) -> None:
    asked = f"weights must be one finite number for each of the {num_rules} rules"
    if not isinstance(weights, np.ndarray) or weights.dtype.kind not in "fiu":
        kind = weights.dtype if isinstance(weights, np.ndarray) else type(weights).__name__
        raise ValueError(f"{asked}, got {kind}; convert them by np.asarray")
    if weights.shape != (num_rules,) or not np.isfinite(weights).all():
        infinite = weights[~np.isfinite(weights)]
        raise ValueError(f"{asked}, got shape {weights.shape}" + (f" and {infinite[0]}" if len(infinite) else ""))


def _check_policies(ties: str, uncovered: str | int, num_classes: int) -> None:
    if ties not in _TIES:
        raise ValueError(f"ties must be one of {', '.join(_TIES)}, got {ties!r}")
    known = uncovered in ("random", "abstain") if isinstance(uncovered, str) else 0 <= uncovered < num_classes
    if not known:
        raise ValueError(f"uncovered must be random, abstain or a class 0 to {num_classes - 1}, got {uncovered!r}")


def _choose(
    tied: Bool[np.ndarray, "rows classes"],
    covered: Bool[np.ndarray, " rows"],
    seed: int,
    stream: str,
    abstain: int,
    ties: Ties,
    uncovered: Uncovered,
) -> Integer[np.ndarray, " rows"]:
    num_rows, num_classes = tied.shape
    # In a row without a vote every class is tied.
    draws = uniforms(seed, stream=stream, index=np.arange(num_rows), size=num_classes)
    drawn = np.where(tied, draws, 0.0).argmax(axis=1)
    if ties == "random":
        labels = drawn
    elif ties == "highest":
        labels = num_classes - 1 - tied[:, ::-1].argmax(axis=1)
    else:
        labels = tied.argmax(axis=1)
    if ties == "abstain":
        labels = np.where(tied.sum(axis=1) > 1, abstain, labels)
    others = drawn if uncovered == "random" else np.full(num_rows, abstain if uncovered == "abstain" else uncovered)
    return np.where(covered, labels, others)
