"""The nearest other rows of each row by cosine distance, copies of a row counted once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.neighbours import Index, nearest

_NEAREST = 10


class Surroundings(NamedTuple):
    """The nearest other rows of each row that is no copy of an earlier one."""

    first: Int64[np.ndarray, " rows"]  # the first row with the same features
    distinct: Int64[np.ndarray, " distinct"]  # the rows that are no copy of an earlier one, ascending
    distances: Float64[np.ndarray, "distinct k"]  # of unit vectors, in [0, 2], ascending
    neighbours: Int64[np.ndarray, "distinct k"]  # positions in `distinct`


def surroundings(features: Float[np.ndarray, "rows width"], index: Index = "exact") -> Surroundings:
    """Up to 10 nearest rows of each; fewer in smaller data."""
    first = copy_groups(features)
    distinct = np.unique(first)
    vectors = features[distinct].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths > 0, lengths, 1)
    k = min(_NEAREST, len(distinct) - 1)
    if k == 0:
        return Surroundings(first, distinct, np.empty((1, 0)), np.empty((1, 0), dtype=np.int64))
    distances, neighbours = nearest(vectors, vectors, k, own=np.arange(len(vectors)), index=index)
    return Surroundings(first, distinct, distances, neighbours)
