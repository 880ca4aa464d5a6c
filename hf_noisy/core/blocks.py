"""Rows in blocks that fit in the CPU cache, so that memory does not grow with the number of rows."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.core.types import Labels

# 256 KiB in float32: a block and one copy of it stay in the second-level cache of a core.
ELEMENTS_A_BLOCK = 1 << 16


class Block(NamedTuple):
    """Consecutive rows: their slice, given labels and values `[block, classes]` (float16 becomes float32)."""

    rows: slice
    labels: Integer[np.ndarray, " block"]
    values: Float[np.ndarray, "block classes"]

    def own(self) -> Float[np.ndarray, " block"]:
        """The value of each row's given label, `[block]`."""
        return np.asarray(self.values[np.arange(len(self.labels)), self.labels])

    def best_other(self) -> Float[np.ndarray, " block"]:
        """The highest value among the other classes of each row, `[block]`."""
        # A maximum along the short class axis takes three times as long as one over contiguous columns.
        columns = np.array(self.values.T, order="C")
        columns[self.labels, np.arange(len(self.labels))] = -np.inf
        return np.asarray(columns.max(axis=0))


def evenly_spaced(values: np.ndarray, at_most: int) -> np.ndarray:
    """At most `at_most` entries at even positions (quantiles, if `values` are sorted), to bound the time of a fit."""
    if len(values) <= at_most:
        return values
    return np.asarray(values[((np.arange(at_most) + 0.5) / at_most * len(values)).astype(np.int64)])


def row_slices(num_rows: int, width: int, elements: int) -> list[slice]:
    """Slices that cover all rows in order, each of at most `elements` elements, but at least one row."""
    step = max(elements // max(width, 1), 1)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]


def labelled_blocks(labels: Labels, values: Float[np.ndarray, "rows classes"]) -> Iterator[Block]:
    """All rows in order, in blocks small enough for the cache; `values` may be memory-mapped. Nothing is checked."""
    # Slicing a memmap makes a memmap, which is slower than a plain view.
    labels, values = np.asarray(labels), np.asarray(values)
    for rows in row_slices(len(values), values.shape[1], ELEMENTS_A_BLOCK):
        block = values[rows]
        wide = block.astype(np.float32) if block.dtype == np.float16 else block
        yield Block(rows, labels[rows].astype(np.intp, copy=False), wide)
