"""Features as directions from their mean: all that predictors use of them."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, row_slices

_KEPT = 1 << 26  # numbers


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


class DirectionRows:
    """[`directions`] of very many rows: those that are indexed are computed, and not kept."""

    def __init__(self, features: Float[np.ndarray, "rows width"], centre: Float64[np.ndarray, " width"]) -> None:
        self.features, self.centre, self.shape = features, centre, features.shape

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Any) -> Float64[np.ndarray, "chosen width"]:
        return directions(self.features[rows], self.centre)


Directions = Float64[np.ndarray, "rows width"] | DirectionRows


def directions_by_size(features: Float[np.ndarray, "rows width"], centre: Float64[np.ndarray, " width"]) -> Directions:
    """[`directions`] in memory up to half a GiB, else [`DirectionRows`]."""
    return directions(features, centre) if features.size <= _KEPT else DirectionRows(features, centre)


def _unit(vectors: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows width"]:
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
