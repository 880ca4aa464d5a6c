"""Distances to class centroids over the epochs, and the score that ranks suspicious rows."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer

from hf_noisy.core.checks import check_labels
from hf_noisy.dynamics.store import Trajectories, row_blocks

# A block of float64 rows fits into the cache of the processor.
_ROWS_A_BLOCK = 256


class DynamicsScore(NamedTuple):
    """Statistics of a row's distance to the centroid of its given label."""

    mean: Float64[np.ndarray, " rows"]
    deviation: Float64[np.ndarray, " rows"]
    score: Float64[np.ndarray, " rows"]


def centroids(
    embeddings: Float[np.ndarray, "rows dim"], labels: Integer[np.ndarray, " rows"], num_classes: int
) -> Float64[np.ndarray, "classes dim"]:
    """Mean embedding `[classes, dim]` of every given label; see [`class_means`] for a class without rows."""
    # Eq. 3 of DyGEN divides by the number of all rows, which would shrink the centroid of a rare class towards the
    # origin; the mean of the class is what its code computes.
    if len(embeddings) == 0:
        raise ValueError("embeddings must have at least one row, got none; pass the rows of one split")
    check_labels(labels, num_classes, num_rows=len(embeddings))
    return class_means(class_sums(embeddings, labels, num_classes), np.bincount(labels, minlength=num_classes))


def class_sums(
    embeddings: Float[np.ndarray, "rows dim"], labels: Integer[np.ndarray, " rows"], num_classes: int
) -> Float64[np.ndarray, "classes dim"]:
    """Sum of the embeddings of every given label, in float64; the sums of blocks of rows add up to those of all."""
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
        warnings.warn(f"no row has the given label {empty.tolist()}; the mean of all rows stands in", stacklevel=3)
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
    # |h - c|^2 = |h|^2 - 2 h.c + |c|^2 cancels where |h| is far above the distance; a common shift avoids most of it.
    origin = centroids.mean(0, dtype=np.float64)
    centred = centroids.astype(np.float64) - origin
    squared_norms = (centred**2).sum(1)
    distances = np.empty((len(embeddings), len(centroids)))
    for start in range(0, len(embeddings), _ROWS_A_BLOCK):
        rows = embeddings[start : start + _ROWS_A_BLOCK] - origin
        scale = np.einsum("rd,rd->r", rows, rows)[:, None]
        # Not `@`: for few centroids a threaded matrix product is no faster, and ten times slower on a busy machine.
        squared = scale + squared_norms - 2.0 * np.einsum("rd,cd->rc", rows, centred)
        # A row next to its centroid loses its digits in the subtraction: those few pairs are computed directly.
        row, column = np.nonzero(squared < 1e-6 * scale)
        if row.size:
            squared[row, column] = ((rows[row] - centred[column]) ** 2).sum(1)
        distances[start : start + len(rows)] = np.sqrt(squared)
    return distances


def own_distances(
    embeddings: Float[np.ndarray, "rows dim"],
    centroids: Float[np.ndarray, "classes dim"],
    labels: Integer[np.ndarray, " rows"],
) -> Float64[np.ndarray, " rows"]:
    """Euclidean distance `[rows]` of every row to the centroid of its own label, without those to the others."""
    distances = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS_A_BLOCK):
        rows = slice(start, start + _ROWS_A_BLOCK)
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
    """Mean and deviation over epochs of each row's distance to the centroid of its given label.

    Args:
        distances: `[epochs, rows]`, distance to the centroid of the given label.
        ddof: Divisor of the deviation is `epochs - ddof`: 0 as in the paper, 1 as in its code.

    Returns:
        `DynamicsScore(mean, deviation, score)`, each `[rows]`.

    Raises:
        ValueError: If there are not more than `ddof` epochs.

    Source: DyGEN (Zhuang et al., 2023), Eq. 4 and 5.

    Example:
        >>> import numpy as np
        >>> dynamics_score(np.array([[1.0], [3.0]])).score.tolist()
        [3.0]
    """
    if len(distances) <= ddof:
        raise ValueError(
            f"distances must hold more than {ddof} epochs, got {len(distances)}; record more epochs or pass ddof=0"
        )
    values = distances.astype(np.float64, copy=False)
    mean = values.mean(0)
    deviation = values.std(0, ddof=ddof)
    return DynamicsScore(mean, deviation, mean + deviation)
