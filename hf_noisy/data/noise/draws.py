"""Draws shared by all kinds of noise: which rows change."""

import numpy as np
from jaxtyping import Bool, Float, Integer

from hf_noisy.core.rng import uniforms

_ROWS = 8192  # the arrays in between stay in the cache of the processor


def noise_draws(seed: int, stream: str, num_rows: int, size: int) -> Float[np.ndarray, "rows {size}"]:
    """Uniform numbers `[rows, size]` keyed by seed, stream and row: does it flip, where to, how likely was it."""
    draws = np.empty((num_rows, size))
    for start in range(0, num_rows, _ROWS):
        rows = np.arange(start, min(start + _ROWS, num_rows))
        draws[start : start + _ROWS] = uniforms(seed, stream=f"label_noise/{stream}", index=rows, size=size)
    return draws


def choose(margins: Float[np.ndarray, " rows"], rate: float, exact: bool) -> Bool[np.ndarray, " rows"]:
    """Rows that flip: the `round(rate * rows)` largest margins, or, if not exact, those above 0."""
    if not exact:
        return margins > 0
    flips = np.zeros(len(margins), dtype=bool)
    count = round(rate * len(margins))
    if count:
        flips[np.argpartition(-margins, count - 1)[:count]] = True
    return flips


def rows_by_class(labels: Integer[np.ndarray, " rows"], num_classes: int) -> list[Integer[np.ndarray, "_"]]:
    """Indices of the rows of each class, rising, by one sort for all classes."""
    # Numpy sorts 16-bit numbers by radix, and longer ones by comparing them.
    keys = labels.astype(np.uint16) if num_classes <= 2**16 else labels
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])
