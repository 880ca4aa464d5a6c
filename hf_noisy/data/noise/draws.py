"""Which rows a noise changes: the draws that all noises share."""

import numpy as np
from jaxtyping import Bool, Float, Integer

from hf_noisy.core.rng import uniforms

_ROWS = 8192  # the arrays in between stay in the cache of the processor


def noise_draws(seed: int, stream: str, num_rows: int, size: int) -> Float[np.ndarray, "rows {size}"]:
    """Uniform numbers of each row: whether it flips, where to, how likely it was to flip.

    Args:
        seed: Seed of the noise.
        stream: Name of the split, so that row 0 of two splits has two draws.
        num_rows: Number of rows.
        size: How many of the three a noise needs; the first ones are the same for any size.

    Returns:
        Array `[rows, size]` in (0, 1), keyed by seed, stream and row.
    """
    draws = np.empty((num_rows, size))
    for start in range(0, num_rows, _ROWS):
        rows = np.arange(start, min(start + _ROWS, num_rows))
        draws[start : start + _ROWS] = uniforms(seed, stream=f"label_noise/{stream}", index=rows, size=size)
    return draws


def choose(margins: Float[np.ndarray, " rows"], rate: float, exact: bool) -> Bool[np.ndarray, " rows"]:
    """Rows that flip: those with the largest margin, or, if not exact, those with a positive one.

    Args:
        margins: Probability of a flip minus a uniform number, `[rows]`.
        rate: Share of the rows that flip, in [0, 1).
        exact: Flip exactly `round(rate * rows)` rows.

    Returns:
        Whether each row flips, `[rows]`.

    Example:
        >>> choose(np.array([0.1, -0.2, 0.3]), rate=0.3, exact=True).tolist()
        [False, False, True]
    """
    if not exact:
        return margins > 0
    flips = np.zeros(len(margins), dtype=bool)
    count = round(rate * len(margins))
    if count:
        flips[np.argpartition(-margins, count - 1)[:count]] = True
    return flips


def rows_by_class(labels: Integer[np.ndarray, " rows"], num_classes: int) -> list[Integer[np.ndarray, "_"]]:
    """Indices of the rows of each class, rising, by one sort for all classes.

    Args:
        labels: Classes `[rows]`, in `[0, num_classes)`.
        num_classes: Number of classes.

    Returns:
        One array of row indices a class, empty where a class has no rows.

    Example:
        >>> [rows.tolist() for rows in rows_by_class(np.array([2, 0, 2]), 3)]
        [[1], [], [0, 2]]
    """
    # Numpy sorts 16-bit numbers by radix, and longer ones by comparing them.
    keys = labels.astype(np.uint16) if num_classes <= 2**16 else labels
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])
