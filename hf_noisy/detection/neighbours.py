"""Nearest rows, by exact blocked matrix products or by an approximate index."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Integer
from torch import Tensor

from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import Labels

Index = Literal["exact", "faiss"]
_QUERIES, _REFERENCES = 512, 32_768  # of a block: 64 MiB of products
_GATHERED = 1 << 22  # numbers gathered at once for distances in float64
_SPARE = 16  # candidates beyond k, among which float64 decides
_ROUNDING = 4e-6  # rounding error of squared distances by float32 products, relative to the squared lengths
_SEARCHED = 32  # cells of the approximate index searched per query


def nearest(
    queries: Float[np.ndarray, "queries width"],
    references: Float[np.ndarray, "rows width"],
    k: int,
    *,
    own: Integer[np.ndarray, " queries"] | None = None,
    index: Index = "exact",
) -> tuple[Float64[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]:
    """Distances and indices of the k nearest references, ties by index, without the query itself (`own`)."""
    # Candidates come from float32 products, their distances from float64 differences, so duplicates have distance 0.
    check_index(index)
    own = np.full(len(queries), -1) if own is None else own
    allowed = len(references) - int((own >= 0).any())
    if not 1 <= k <= allowed:
        raise ValueError(f"k must be 1 to {allowed}, the number of references, got {k}")
    if index == "faiss":
        return _approximate(queries, references, k, own)
    # Centred, rows are shorter and float32 distances more precise.
    origin = references.mean(0, dtype=np.float64).astype(references.dtype)
    reference = torch.from_numpy(np.asarray(references - origin, dtype=np.float32))
    query = torch.from_numpy(np.asarray(queries - origin.astype(queries.dtype), dtype=np.float32))
    lengths = torch.linalg.vecdot(reference, reference)
    distances, rows = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        candidates, edge = _candidates(query[part], reference, lengths, own[part], min(k + _SPARE, allowed))
        distances[part], rows[part] = _closest(queries[part], references, candidates, k)
        if candidates.shape[1] == allowed:
            continue
        # Only rows about as near as the k-th matter, whose length is bounded by the triangle inequality: one far
        # outlier must not make every query doubtful.
        own_length = torch.linalg.vecdot(query[part], query[part]).numpy().astype(np.float64)
        longest = (np.sqrt(own_length) + distances[part][:, -1]) ** 2
        blur = _ROUNDING * (own_length + np.minimum(1.001 * longest, float(lengths.max())))
        # A row beyond the candidates is farther than `edge`, up to rounding.
        for doubtful in np.flatnonzero(edge - blur <= distances[part][:, -1] ** 2):
            at = start + int(doubtful)
            reach = float(distances[at, -1] ** 2 + 2 * blur[doubtful])
            within = _within(query[at], reference, lengths, int(own[at]), reach)
            distances[at : at + 1], rows[at : at + 1] = _closest(queries[at : at + 1], references, within[None], k)
    return distances, rows


def vote_by_distance(
    distances: Float64[np.ndarray, "queries k"], labels: Integer[np.ndarray, "queries k"], num_classes: int
) -> Float64[np.ndarray, "queries classes"]:
    """Shares of the labels among neighbours, weighted by inverse distance; those at distance 0 outvote all others."""
    with np.errstate(divide="ignore"):
        weights = 1.0 / distances
    copies = np.isinf(weights)
    weights = np.where(copies.any(1, keepdims=True), copies, weights)
    votes = np.zeros((len(distances), num_classes))
    for column in range(distances.shape[1]):
        votes[np.arange(len(votes)), labels[:, column]] += weights[:, column]
    return np.asarray(votes / votes.sum(1, keepdims=True))


def sample_references(labels: Labels, max_references: int | None, seed: int = 0) -> Int64[np.ndarray, " sample"]:
    """Sorted indices of a seeded sample, stratified by class, with at least one row per class."""
    if max_references is not None and max_references < 1:
        raise ValueError(f"max_references must be at least 1 row, got {max_references}; pass None for all rows")
    if max_references is None or max_references >= len(labels):
        return np.arange(len(labels))
    keys = uniforms(seed, stream="neighbours/references", index=np.arange(len(labels)), size=1)[:, 0]
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        size = max(round(max_references * len(rows) / len(labels)), 1)
        chosen.append(rows[np.argsort(keys[rows], kind="stable")[:size]])
    return np.sort(np.concatenate(chosen))


def check_index(index: str) -> None:
    """Refuse an index that does not exist."""
    if index not in get_args(Index):
        raise ValueError(f"index must be one of {', '.join(get_args(Index))}, got {index!r}")


def _candidates(
    query: Float[Tensor, "queries width"],
    reference: Float[Tensor, "rows width"],
    lengths: Float[Tensor, " rows"],
    own: Integer[np.ndarray, " queries"],
    size: int,
) -> tuple[Int64[np.ndarray, "queries size"], Float[np.ndarray, " queries"]]:
    """The nearest rows in float32, and the squared distance of the last of them."""
    best, rows = torch.empty(len(query), 0), torch.empty(len(query), 0, dtype=torch.int64)
    for start in range(0, len(reference), _REFERENCES):
        part = slice(start, start + _REFERENCES)
        # The length of the query is left out: it does not change the order.
        squared = torch.addmm(lengths[part], query, reference[part].mT, alpha=-2.0)
        here = torch.from_numpy(np.flatnonzero((own >= start) & (own < start + squared.shape[1])))
        squared[here, torch.from_numpy(own)[here] - start] = torch.inf
        found = squared.topk(min(size, squared.shape[1]), largest=False)
        best, rows = torch.cat([best, found.values], 1), torch.cat([rows, found.indices + start], 1)
        kept = best.topk(min(size, best.shape[1]), largest=False)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return rows.numpy(), (best[:, -1] + torch.linalg.vecdot(query, query)).numpy()


def _within(
    query: Float[Tensor, " width"],
    reference: Float[Tensor, "rows width"],
    lengths: Float[Tensor, " rows"],
    own: int,
    reach: float,
) -> Int64[np.ndarray, " found"]:
    """All rows whose squared distance is at most `reach`."""
    near: Bool[np.ndarray, " rows"] = (lengths - 2.0 * (reference @ query) + query @ query <= reach).numpy()
    if own >= 0:
        near[own] = False
    return np.flatnonzero(near)


def _closest(
    queries: Float[np.ndarray, "queries width"],
    references: Float[np.ndarray, "rows width"],
    candidates: Int64[np.ndarray, "queries found"],
    k: int,
) -> tuple[Float64[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]:
    """The k nearest candidates by distances in float64, ties by index."""
    candidates = np.sort(candidates, axis=1)
    distances = np.empty(candidates.shape)
    queries = queries[:, None].astype(np.float64)
    step = max(_GATHERED // max(queries.size, 1), 1)
    for start in range(0, candidates.shape[1], step):
        difference = references[candidates[:, start : start + step]] - queries
        distances[:, start : start + step] = np.sqrt(np.einsum("qcw,qcw->qc", difference, difference))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(candidates, order, 1)


def _approximate(
    queries: Float[np.ndarray, "queries width"],
    references: Float[np.ndarray, "rows width"],
    k: int,
    own: Integer[np.ndarray, " queries"],
) -> tuple[Float64[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]:
    inverted = _inverted_file(references)
    found = inverted.search(np.ascontiguousarray(queries, dtype=np.float32), min(k + 1, len(references)))[1]
    distances, rows = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for at, columns in enumerate(found):
        columns = columns[(columns >= 0) & (columns != own[at])]
        if len(columns) < k:  # too few in the searched cells: use all rows
            columns = np.flatnonzero(np.arange(len(references)) != own[at])
        distances[at : at + 1], rows[at : at + 1] = _closest(queries[at : at + 1], references, columns[None], k)
    return distances, rows


def _inverted_file(references: Float[np.ndarray, "rows width"]) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError("index='faiss' needs the package faiss-cpu; pip install 'hf-noisy[faiss]'") from error
    cells = int(max(1, min(4 * np.sqrt(len(references)), len(references) / 39)))
    reference = np.ascontiguousarray(references, dtype=np.float32)
    quantiser = faiss.IndexFlatL2(reference.shape[1])
    inverted = faiss.IndexIVFFlat(quantiser, reference.shape[1], cells)
    inverted.train(reference)
    inverted.add(reference)
    inverted.nprobe = min(_SEARCHED, cells)
    return inverted
