"""Features as directions from their mean: all that predictors use of them."""

import numpy as np
from jaxtyping import Float, Float64

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, row_slices


def mean_direction(features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, " width"]:
    """The mean of the rows, each divided by its length."""
    blocks = row_slices(len(features), features.shape[1], ELEMENTS_A_BLOCK)
    return np.asarray(np.sum([_unit(features[rows]).sum(0) for rows in blocks], axis=0) / len(features))


def directions(
    features: Float[np.ndarray, "rows width"], centre: Float64[np.ndarray, " width"]
) -> Float64[np.ndarray, "rows width"]:
    """Vectors of length 1, centred, of length 1 again: only directions count."""
    vectors = np.empty(features.shape)
    for rows in row_slices(len(features), features.shape[1], ELEMENTS_A_BLOCK):
        vectors[rows] = _unit(_unit(features[rows]) - centre)
    return vectors


def _unit(vectors: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows width"]:
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
