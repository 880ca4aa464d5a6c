"""Predictions by the nearest class mean, which noise that is the same for all rows of a class hardly moves."""

import numpy as np
from jaxtyping import Float, Float64

from hf_noisy.core.types import Labels
from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.probe import out_of_fold_probabilities


def held_out_probabilities(
    features: Float[np.ndarray, "rows width"], labels: Labels, *, folds: int = 5, seed: int = 0
) -> Float64[np.ndarray, "rows classes"]:
    """Mean of [`out_of_fold_probabilities`] and [`class_mean_probabilities`], which err on different rows."""
    out_of_fold = out_of_fold_probabilities(features, labels, folds=folds, seed=seed)
    mean: np.ndarray = (out_of_fold + class_mean_probabilities(features, labels)) / 2
    return mean


def class_mean_probabilities(
    features: Float[np.ndarray, "rows width"], labels: Labels
) -> Float64[np.ndarray, "rows classes"]:
    """Softmax of the distances to the class means without the row and its copies; all classes are equally likely."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(labels))
    distances = _distances(features, labels)

    def loss(log_inverse: float) -> float:
        return -float(log_softmax(-distances * np.exp(log_inverse), axis=1)[rows, labels].mean())

    # Squared distances of unit vectors lie in [0, 4].
    sharpness = np.exp(minimize_scalar(loss, bounds=(-6, 6), method="bounded").x)
    probabilities: np.ndarray = np.exp(log_softmax(-distances * sharpness, axis=1))
    return probabilities


def _distances(features: Float[np.ndarray, "rows width"], labels: Labels) -> Float64[np.ndarray, "rows classes"]:
    """Squared distances of unit vectors to the class means without the row and its copies."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    vectors = centred / np.where(lengths > 0, lengths, 1)
    classes = int(labels.max()) + 1
    sums = np.zeros((classes, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    # Copies have the same vector, so that a class without them follows from their number alone.
    first = copy_groups(features)
    copies = np.zeros((len(labels), classes))
    np.add.at(copies, (first, labels), 1)
    copies = copies[first]
    left = np.maximum(np.bincount(labels) - copies, 1)
    squared = np.einsum("rw,rw->r", vectors, vectors)[:, None]
    products = vectors @ sums.T
    to_mean = (products - copies * squared) / left
    mean_squared = (np.einsum("cw,cw->c", sums, sums) - 2 * copies * products + copies**2 * squared) / left**2
    distances: np.ndarray = squared - 2 * to_mean + mean_squared
    return distances
