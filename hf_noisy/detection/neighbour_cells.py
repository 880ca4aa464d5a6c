"""Nearest rows among those of the nearest cells of a partition: approximate, for very many rows."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from hf_noisy.core.blocks import row_slices

_CELL = 1000  # rows of a cell, on average
_SEARCHED = 8  # nearest cells whose rows are compared
_SAMPLE = 32  # rows a cell of which the centres are the means
_ROUNDS = 2  # of k-means
_PRODUCTS = 1 << 23  # products kept at once
_GATHERED = 1 << 22  # numbers gathered at once
_DOUBTFUL = 1e-3  # squared distances below are computed again: float32 products round them


def nearest_in_cells(
    features: Float[np.ndarray, "rows width"], chosen: Int64[np.ndarray, " chosen"], k: int
) -> tuple[Float64[np.ndarray, "chosen k"], Int64[np.ndarray, "chosen k"]]:
    """Distances between unit vectors, and positions among the chosen rows, of about the k nearest others."""
    rows = _UnitRows(features, chosen)
    cell, centres = _partition(rows)
    order = np.argsort(cell, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(cell, minlength=len(centres)))[:-1])
    near = (centres @ centres.mT).argsort(1, descending=True).numpy()
    distances, found = np.empty((len(chosen), k)), np.empty((len(chosen), k), dtype=np.int64)
    for number, own in enumerate(members):
        if not len(own):
            continue
        cells = np.concatenate([[number], near[number][near[number] != number]])
        searched = _SEARCHED
        while (count := sum(len(members[one]) for one in cells[:searched])) <= k:
            searched += 1
        others = np.concatenate([members[one] for one in cells[:searched]])
        vectors = rows[others]  # its first ones are the cell's own
        for part in row_slices(len(own), count, _PRODUCTS):
            cosines = vectors[part] @ vectors.mT
            position = torch.arange(part.start, part.stop)
            cosines[position - part.start, position] = -torch.inf
            best = cosines.topk(k)
            found[own[part]] = others[best.indices.numpy()]
            distances[own[part]] = (2 - 2 * best.values).clamp_min(0).sqrt().numpy()
    _refine(rows, distances, found)
    return distances, found


class _UnitRows:
    """The chosen rows, of length 1, made when they are indexed."""

    def __init__(self, features: Float[np.ndarray, "rows width"], chosen: Int64[np.ndarray, " chosen"]) -> None:
        self.features, self.chosen = features, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, positions: Int64[np.ndarray, " some"]) -> Float32[Tensor, "some width"]:
        vectors = torch.from_numpy(self.features[self.chosen[positions]].astype(np.float32, copy=False))
        return torch.nn.functional.normalize(vectors, eps=1e-30)


def _partition(rows: _UnitRows) -> tuple[Int64[np.ndarray, " chosen"], Float32[Tensor, "cells width"]]:
    """The cell of each row, and the centres of the cells, by k-means on a sample."""
    count = max(len(rows) // _CELL, 1)
    sample = rows[np.random.default_rng(0).permutation(len(rows))[: _SAMPLE * count]]
    centres = sample[:count]
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.mT).argmax(1)
        means = torch.zeros_like(centres).index_add_(0, nearest, sample)
        centres = torch.where(means.norm(dim=1, keepdim=True) > 0, means, centres)
        centres = torch.nn.functional.normalize(centres)
    cell = np.empty(len(rows), dtype=np.int64)
    for part in row_slices(len(rows), count, _PRODUCTS):
        cell[part] = (rows[np.arange(part.start, part.stop)] @ centres.mT).argmax(1).numpy()
    return cell, centres


def _refine(rows: _UnitRows, distances: Float64[np.ndarray, "chosen k"], found: Int64[np.ndarray, "chosen k"]) -> None:
    """Small distances from differences, and the rows in their order, ties by index."""
    one, column = np.nonzero(distances**2 < _DOUBTFUL)
    for part in row_slices(len(one), rows.features.shape[1], _GATHERED):
        difference = rows[one[part]].double() - rows[found[one[part], column[part]]].double()
        distances[one[part], column[part]] = difference.norm(dim=1).numpy()
    order = np.lexsort((found, distances), axis=1)
    distances[:], found[:] = np.take_along_axis(distances, order, 1), np.take_along_axis(found, order, 1)
