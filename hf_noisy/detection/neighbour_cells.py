"""Nearest rows among those of the nearest cells of a partition: approximate, for very many rows."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from hf_noisy.core.blocks import row_slices

_CELL = 500  # rows of a cell, on average
_SEARCHED = 6  # cells in which the neighbours of a row are searched: those with the nearest centres
_FARTHEST = 1000  # rows whose neighbours are searched among all
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
    nearest = _nearest_cells(rows)
    count = int(nearest.max()) + 1
    members, asking = _rows_by_cell(nearest[:, :1], count), _rows_by_cell(nearest, count)
    best = np.full((len(chosen), k), -np.inf, dtype=np.float32)  # cosines
    found = np.zeros((len(chosen), k), dtype=np.int64)
    for own, queries in zip(members, asking, strict=True):
        _search(rows, queries, own, best, found)
    # All rows are searched for those whose cells hold too few, and for the farthest ones, which may be outliers.
    again = best[:, -1] == -np.inf
    again[np.argsort(best.mean(1), kind="stable")[:_FARTHEST]] = True
    best[again] = -np.inf
    for part in row_slices(len(chosen), features.shape[1], _GATHERED):
        _search(rows, np.flatnonzero(again), np.arange(part.start, part.stop), best, found)
    distances = np.sqrt(np.maximum(2 - 2 * best.astype(np.float64), 0))
    _refine(rows, distances, found)
    return distances, found


def _search(
    rows: "_UnitRows",
    queries: Int64[np.ndarray, " queries"],
    members: Int64[np.ndarray, " members"],
    best: Float32[np.ndarray, "chosen k"],
    found: Int64[np.ndarray, "chosen k"],
) -> None:
    """Put the nearest of some ascending members among the best of the queries."""
    if not len(queries) or not len(members):
        return
    references, k = rows[members], best.shape[1]
    for part in row_slices(len(queries), len(members), _PRODUCTS):
        asking = queries[part]
        cosines = rows[asking] @ references.mT
        place = np.searchsorted(members, asking).clip(max=len(members) - 1)
        itself = np.flatnonzero(members[place] == asking)
        cosines[itself, place[itself]] = -torch.inf
        here = cosines.topk(min(k, len(members)))
        merged = torch.cat([torch.from_numpy(best[asking]), here.values], 1).topk(k)
        candidates = np.concatenate([found[asking], members[here.indices.numpy()]], axis=1)
        best[asking] = merged.values.numpy()
        found[asking] = np.take_along_axis(candidates, merged.indices.numpy(), 1)


def _rows_by_cell(cells: Int64[np.ndarray, "chosen some"], count: int) -> list[Int64[np.ndarray, " rows"]]:
    """The rows of each cell, ascending."""
    order = np.argsort(cells.ravel(), kind="stable")
    return np.split(order // cells.shape[1], np.cumsum(np.bincount(cells.ravel(), minlength=count))[:-1])


class _UnitRows:
    """The chosen rows, of length 1, made when they are indexed."""

    def __init__(self, features: Float[np.ndarray, "rows width"], chosen: Int64[np.ndarray, " chosen"]) -> None:
        self.features, self.chosen = features, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, positions: Int64[np.ndarray, " some"]) -> Float32[Tensor, "some width"]:
        vectors = torch.from_numpy(self.features[self.chosen[positions]].astype(np.float32, copy=False))
        return torch.nn.functional.normalize(vectors, eps=1e-30)


def _nearest_cells(rows: _UnitRows) -> Int64[np.ndarray, "chosen some"]:
    """The cells with the nearest centres, by k-means on a sample, of each row; the first one holds the row."""
    count = max(len(rows) // _CELL, 1)
    sample = rows[np.random.default_rng(0).permutation(len(rows))[: _SAMPLE * count]]
    centres = sample[:count]
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.mT).argmax(1)
        means = torch.zeros_like(centres).index_add_(0, nearest, sample)
        centres = torch.where(means.norm(dim=1, keepdim=True) > 0, means, centres)
        centres = torch.nn.functional.normalize(centres)
    cells = np.empty((len(rows), min(_SEARCHED, count)), dtype=np.int64)
    for part in row_slices(len(rows), count, _PRODUCTS):
        products = rows[np.arange(part.start, part.stop)] @ centres.mT
        cells[part] = products.topk(cells.shape[1]).indices.numpy()
    return cells


def _refine(rows: _UnitRows, distances: Float64[np.ndarray, "chosen k"], found: Int64[np.ndarray, "chosen k"]) -> None:
    """Small distances from differences, and the rows in their order, ties by index."""
    one, column = np.nonzero(distances**2 < _DOUBTFUL)
    for part in row_slices(len(one), rows.features.shape[1], _GATHERED):
        difference = rows[one[part]].double() - rows[found[one[part], column[part]]].double()
        distances[one[part], column[part]] = difference.norm(dim=1).numpy()
    order = np.lexsort((found, distances), axis=1)
    distances[:], found[:] = np.take_along_axis(distances, order, 1), np.take_along_axis(found, order, 1)
