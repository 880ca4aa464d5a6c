"""The nearest other rows of each row by cosine distance, copies of a row counted once."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.neighbour_cells import nearest_in_cells
from hf_noisy.detection.neighbours import nearest

NearestIndex = Literal["auto", "exact", "faiss"]
_NEAREST = 10
_MOST_EXACT = 20_000  # rows: an exact search takes quadratic time


class Surroundings(NamedTuple):
    """The nearest other rows of each row that is no copy of an earlier one."""

    first: Int64[np.ndarray, " rows"]  # the first row with the same features
    distinct: Int64[np.ndarray, " distinct"]  # the rows that are no copy of an earlier one, ascending
    distances: Float64[np.ndarray, "distinct k"]  # of unit vectors, in [0, 2], ascending
    neighbours: Int64[np.ndarray, "distinct k"]  # positions in `distinct`


def surroundings(features: Float[np.ndarray, "rows width"], index: NearestIndex = "exact") -> Surroundings:
    """Up to 10 nearest rows of each, fewer in smaller data; with "auto", about the nearest in very many rows."""
    check_nearest_index(index)
    first = copy_groups(features)
    distinct = np.unique(first)
    k = min(_NEAREST, len(distinct) - 1)
    if k == 0:
        return Surroundings(first, distinct, np.empty((1, 0)), np.empty((1, 0), dtype=np.int64))
    if index == "auto" and len(distinct) > _MOST_EXACT:
        return Surroundings(first, distinct, *nearest_in_cells(features, distinct, k))
    vectors = features[distinct].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths > 0, lengths, 1)
    own = np.arange(len(vectors))
    distances, neighbours = nearest(vectors, vectors, k, own=own, index="exact" if index == "auto" else index)
    return Surroundings(first, distinct, distances, neighbours)


def check_nearest_index(index: str) -> None:
    """Refuse a search that does not exist."""
    if index not in get_args(NearestIndex):
        raise ValueError(f"index must be one of {', '.join(get_args(NearestIndex))}, got {index!r}")
