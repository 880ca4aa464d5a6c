"""The posterior from the given labels of the nearest neighbours."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer

from hf_noisy.core.checks import check_features, given_classes
from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.neighbours import Index, check_index, nearest, sample_references

Weights = Literal["distance", "softmax", "uniform"]
CITATION = (
    "Zhu, Z., Dong, Z., Liu, Y. (2022). Detecting Corrupted Labels Without Training a Model to Predict. ICML 2022."
)
_DUPLICATE = 1e-6  # share of the mean distance below which rows count as duplicates


def knn_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    k: int = 10,
    weights: Weights = "distance",
    temperature: float = 0.1,
    metric: Literal["cosine", "euclidean"] = "cosine",
    num_classes: int | None = None,
    max_references: int | None = None,
    seed: int = 0,
    index: Index = "exact",
) -> Float32[np.ndarray, "rows classes"]:
    """Posterior by a vote of the given labels of the nearest other rows; the row's own label does not count.

    Equal rows (up to 1e-5 of their length) do not vote for each other either, and have one vote together for others.

    This works if most neighbours share their class and have a correct label; noise that depends on the features, such
    as that of rules, is not found. Time grows with the square of the rows, or linearly with `max_references`.

    Args:
        features: `[rows, width]`, finite.
        labels: `[rows]`, given labels.
        k: Number of neighbours, equal rows counted once; at most all other rows.
        weights: `"distance"` weights votes by 1 / distance; `"softmax"` by exp(-distance / temperature); `"uniform"`
            equally.
        temperature: For `"softmax"`, in units of the distance.
        metric: `"cosine"` (one minus the cosine, in [0, 2]) or `"euclidean"`.
        num_classes: Number of classes; by default the largest given label plus one.
        max_references: Size of the sample of rows that vote, stratified by given label; None means all.
        seed: Seed of the sample.
        index: `"exact"`, or `"faiss"` for an approximate index, faster from about 100,000 rows that vote.

    Returns:
        `[rows, classes]`, each row sums to 1.

    Raises:
        ValueError: If an argument is out of range, features or labels are invalid, or all rows are equal.

    Example:
        >>> features = np.array([[0.0, 1], [0, 2], [0, 3], [1, 0]])
        >>> knn_posterior(features, np.array([0, 0, 1, 1]), k=2)[2].tolist()
        [1.0, 0.0]

    Source: the local vote of Zhu et al. (2022), here without the row's own label.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1 neighbour, got {k}; 10 is a usual choice")
    if weights not in get_args(Weights):
        raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}, got {weights!r}")
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature must be above 0, got {temperature}; 0.1 suits cosine distances")
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}")
    if max_references is not None and max_references < 2:
        raise ValueError(f"max_references must be at least 2 rows, got {max_references}; pass None for all rows")
    check_index(index)
    features = check_features(features)
    labels, num_classes = given_classes(labels, num_classes)
    if len(labels) < 2:
        raise ValueError(f"dataset must have at least 2 rows for neighbours to vote, got {len(labels)}")
    groups, references = copy_groups(features), sample_references(labels, max_references, seed)
    distinct, place = np.unique(groups[references], return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(f"features must differ for neighbours to vote, but all {len(features)} rows are equal")
    # Equal rows have one vote together, shared by their labels, and none for each other.
    shares = np.zeros((len(distinct), num_classes))
    np.add.at(shares, (place, labels[references]), 1 / np.bincount(place)[place])
    distances, neighbours = _neighbours(features, distinct, groups, k, metric, index)
    votes = np.zeros((len(labels), num_classes))
    for weight, rows in zip(_vote_weights(distances, weights, temperature).T, neighbours.T, strict=True):
        votes += weight[:, None] * shares[rows]  # one neighbour of every row at a time
    return np.asarray(votes / votes.sum(axis=1, keepdims=True), dtype=np.float32)


def _neighbours(
    features: Float[np.ndarray, "rows width"],
    distinct: Integer[np.ndarray, " distinct"],
    groups: Integer[np.ndarray, " rows"],
    k: int,
    metric: str,
    index: Index,
) -> tuple[Float64[np.ndarray, "rows k"], Int64[np.ndarray, "rows k"]]:
    """Distances and places in `distinct` of the nearest rows that are not equal to the row."""
    if metric == "cosine":  # half the squared distance of unit vectors
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.where(lengths > 0, lengths, 1)
    place = np.minimum(np.searchsorted(distinct, groups), len(distinct) - 1)
    own = np.where(distinct[place] == groups, place, -1)
    distances, found = nearest(features, features[distinct], min(k, len(distinct) - 1), own=own, index=index)
    return distances**2 / 2 if metric == "cosine" else distances, found


def _vote_weights(
    distances: Float[np.ndarray, "rows k"], weights: Weights, temperature: float
) -> Float64[np.ndarray, "rows k"]:
    distances = distances.astype(np.float64)
    if weights == "uniform":
        return np.ones_like(distances)
    if weights == "softmax":
        return np.asarray(np.exp((distances.min(axis=1, keepdims=True) - distances) / temperature))
    # By rounding, the distance of duplicates is not exactly 0.
    return np.asarray(1 / np.maximum(distances, _DUPLICATE * distances.mean() or 1.0))
