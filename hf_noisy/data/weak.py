"""Votes of labelling rules turned into one given label a row."""

import numpy as np
from jaxtyping import Bool, Integer

from hf_noisy.rng import uniforms


def majority_vote(
    votes: Integer[np.ndarray, "rows rules"], num_classes: int, seed: int = 0, abstain: int = -1
) -> tuple[Integer[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """The class with the most votes in each row.

    A tie is broken uniformly among the tied classes, and a row on which no rule voted gets a uniform class. Both draws
    are keyed by seed and row, so a row keeps its label when rows are appended.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        seed: Seed of ties and of rows without a vote.
        abstain: The value that stands for silence.

    Returns:
        The labels `[rows]`, int64, and whether any rule voted `[rows]`, bool.

    Raises:
        ValueError: If `num_classes` is below 2 or a vote is neither a class nor `abstain`.

    Source: majority vote of the WRENCH benchmark (Zhang et al., 2021).

    Example:
        >>> import numpy as np
        >>> labels, covered = majority_vote(np.array([[1, 1, 0], [-1, -1, -1]]), num_classes=2)
        >>> int(labels[0]), covered.tolist()
        (1, [True, False])
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    cast = votes != abstain
    outside = cast & ((votes < 0) | (votes >= num_classes))
    if outside.any():
        raise ValueError(
            f"votes must be classes 0 to {num_classes - 1} or {abstain} for silence, got {int(votes[outside][0])}"
        )
    num_rows = len(votes)
    rows, rules = np.nonzero(cast)
    cells = rows * num_classes + votes[rows, rules].astype(np.int64)
    counts = np.bincount(cells, minlength=num_rows * num_classes).reshape(num_rows, num_classes)
    # Uniforms lie in (0, 1): they order equal counts and never overturn a difference of one vote.
    draws = uniforms(seed, stream="majority_vote", index=np.arange(num_rows), size=num_classes)
    return np.argmax(counts + draws, axis=1), cast.any(axis=1)
