"""Rows with the same features, found by sorting random projections."""

import numpy as np
from jaxtyping import Float, Int64

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, row_slices
from hf_noisy.detection.directions import DirectionRows
from hf_noisy.detection.links import first_of_group, linked_groups

_TOLERANCE = 1e-5  # of a row's length: an encoder rounds the same text differently in batches of other lengths
_PROJECTIONS = 8
_APART = 4  # places in the sorted order up to which two rows are compared
_GATHERED = 1 << 24  # numbers gathered at once


def copy_groups(features: Float[np.ndarray, "rows width"] | DirectionRows) -> Int64[np.ndarray, " rows"]:
    """The index of the first row with the same features, up to rounding; the row's own index where it is unique."""
    rows = np.arange(len(features))
    random = np.random.default_rng(0).standard_normal((features.shape[1], _PROJECTIONS))
    random /= np.linalg.norm(random, axis=0)
    # Projections on directions of length 1 differ by at most the distance of the rows.
    projected, tolerance = np.empty((len(rows), _PROJECTIONS)), np.empty(len(rows))
    for part in row_slices(len(rows), features.shape[1], ELEMENTS_A_BLOCK):
        block = features[part]
        block = block.astype(np.float32) if block.itemsize < 4 else block
        tolerance[part] = _TOLERANCE * np.sqrt(np.einsum("rw,rw->r", block, block, dtype=np.float64))
        projected[part] = block @ random.astype(block.dtype)
    order = np.argsort(projected[:, 0], kind="stable")
    links = [np.empty((0, 2), dtype=np.int64)]
    for apart in range(1, min(_APART, len(rows) - 1) + 1):
        pairs = np.stack([order[:-apart], order[apart:]], axis=1)
        for column in range(_PROJECTIONS):
            one, other = pairs.T
            pairs = pairs[np.abs(projected[one, column] - projected[other, column]) <= tolerance[one]]
        links.append(pairs[_distances(features, pairs) <= tolerance[pairs[:, 0]]])
    one, other = np.concatenate(links).T
    return first_of_group(linked_groups(one, other, len(rows)))


def _distances(
    features: Float[np.ndarray, "rows width"] | DirectionRows, pairs: Int64[np.ndarray, "pairs two"]
) -> Float[np.ndarray, " pairs"]:
    distances = np.empty(len(pairs))
    step = max(_GATHERED // features.shape[1], 1)
    for start in range(0, len(pairs), step):
        one, other = pairs[start : start + step].T
        difference = features[one] - features[other]
        distances[start : start + step] = np.linalg.norm(difference, axis=1)
    return distances
