"""Distances to class centroids over the epochs, and the score that ranks rows by suspicion."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer

from hf_noisy.core.checks import check_labels
from hf_noisy.dynamics.store import Trajectories, row_blocks

_BLOCK_ROWS = 256  # in float64 they fit in the CPU cache


class DynamicsScore(NamedTuple):
    """Statistics of a row's distance to the centroid of its given label."""

    mean: Float64[np.ndarray, " rows"]
    deviation: Float64[np.ndarray, " rows"]
    score: Float64[np.ndarray, " rows"]


def centroids(
    embeddings: Float[np.ndarray, "rows dim"], labels: Integer[np.ndarray, " rows"], num_classes: int
) -> Float64[np.ndarray, "classes dim"]:
    """Mean embedding `[classes, dim]` of every given label; see [`class_means`] for a class without rows."""
    # Eq. 3 of DyGEN divides by the number of all rows, which shrinks centroids of rare classes; its code does not.
    if len(embeddings) == 0:
        raise ValueError("embeddings must have at least one row, got none; pass the rows of one split")
    check_labels(labels, num_classes, num_rows=len(embeddings))
    return class_means(class_sums(embeddings, labels, num_classes), np.bincount(labels, minlength=num_classes))


def class_sums(
    embeddings: Float[np.ndarray, "rows dim"], labels: Integer[np.ndarray, " rows"], num_classes: int
) -> Float64[np.ndarray, "classes dim"]:
    """Sum of the embeddings of every given label, in float64."""
    sums = np.zeros((num_classes, embeddings.shape[1]))
    for label in np.unique(labels):
        sums[label] = embeddings[labels == label].sum(0, dtype=np.float64)
    return sums


def class_means(
    sums: Float64[np.ndarray, "classes dim"], counts: Integer[np.ndarray, " classes"]
) -> Float64[np.ndarray, "classes dim"]:
    """Class centroids `[classes, dim]`; a class without rows gets the mean of all rows, and a warning."""
    means = sums / np.maximum(counts, 1)[:, None]
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        warnings.warn(f"no row has the given label {empty.tolist()}; the mean of all rows is used", stacklevel=3)
        means[empty] = sums.sum(0) / counts.sum()
    return np.asarray(means)


def centroid_distances(
    embeddings: Float[np.ndarray, "rows dim"], centroids: Float[np.ndarray, "classes dim"]
) -> Float64[np.ndarray, "rows classes"]:
    """Euclidean distance `[rows, classes]` of every row to every centroid, in float64 (Eq. 4 of DyGEN)."""
    if embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"centroids must have the dimension of the embeddings, {embeddings.shape[1]}, got {centroids.shape[1]}; "
            "use centroids of the same epoch and branch"
        )
    # |h - c|^2 = |h|^2 - 2 h.c + |c|^2 loses digits if |h| is far above the distance; a common shift helps.
    origin = centroids.mean(0, dtype=np.float64)
    centred = centroids.astype(np.float64) - origin
    squared_norms = (centred**2).sum(1)
    distances = np.empty((len(embeddings), len(centroids)))
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        rows = embeddings[start : start + _BLOCK_ROWS] - origin
        scale = np.einsum("rd,rd->r", rows, rows)[:, None]
        # Not `@`: with few centroids a threaded product is no faster, and ten times slower on a busy machine.
        squared = scale + squared_norms - 2.0 * np.einsum("rd,cd->rc", rows, centred)
        # Pairs whose distance is still lost in the subtraction are computed directly.
        row, column = np.nonzero(squared < 1e-6 * scale)
        squared[row, column] = ((rows[row] - centred[column]) ** 2).sum(1)
        distances[start : start + len(rows)] = np.sqrt(squared)
    return distances


def own_distances(
    embeddings: Float[np.ndarray, "rows dim"],
    centroids: Float[np.ndarray, "classes dim"],
    labels: Integer[np.ndarray, " rows"],
) -> Float64[np.ndarray, " rows"]:
    """Euclidean distance `[rows]` of every row to the centroid of its own label only."""
    distances = np.empty(len(labels))
    for start in range(0, len(labels), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        difference = embeddings[rows] - centroids[labels[rows]]
        distances[rows] = np.sqrt(np.einsum("rd,rd->r", difference, difference))
    return distances


def distances_by_epoch(
    trajectories: Trajectories, labels: Integer[np.ndarray, " rows"], split: str = "train", branch: int = 0
) -> Float64[np.ndarray, "epochs rows"]:
    """Distance `[epochs, rows]` of every recorded row to the centroid of its given label, read in blocks of rows."""
    blocks = row_blocks(len(labels), trajectories.dim)
    counts = np.bincount(labels, minlength=trajectories.num_classes)
    distances = np.empty((trajectories.num_epochs, len(labels)))
    for position, epoch in enumerate(trajectories.epochs):
        sums = np.zeros((trajectories.num_classes, trajectories.dim))
        for rows in blocks:
            embeddings = trajectories.embeddings(split, epoch, branch, rows)
            sums += class_sums(embeddings, labels[rows], trajectories.num_classes)
        means = class_means(sums, counts)
        for rows in blocks:
            embeddings = trajectories.embeddings(split, epoch, branch, rows)
            distances[position, rows] = own_distances(embeddings, means, labels[rows])
    return distances


def dynamics_score(distances: Float[np.ndarray, "epochs rows"], ddof: int = 0) -> DynamicsScore:
    """Mean plus deviation over epochs of each row's distance (DyGEN, Eq. 4 and 5; `ddof=1` as in its code)."""
    if len(distances) <= ddof:
        raise ValueError(
            f"distances must hold more than {ddof} epochs, got {len(distances)}; record more epochs or pass ddof=0"
        )
    values = distances.astype(np.float64, copy=False)
    mean, deviation = values.mean(0), values.std(0, ddof=ddof)
    return DynamicsScore(mean, deviation, mean + deviation)
