"""Classifiers on frozen features whose predictions for a training row never used the row's own label."""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, evenly_spaced, row_slices
from hf_noisy.core.types import Labels
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.near_copies import near_copy_groups
from hf_noisy.detection.probe import folds_of

LENGTH = 4.0  # of the features of logistic regressions
NO_ROWS = -30.0  # log-probability of a class without rows: finite, but never chosen
_PENALTIES = (0.003, 0.01, 0.03)  # of the logistic regressions
_RIDGE = 0.01  # penalty of the ridge regression per row, on features of length 1
_MAX_FITTED = 20_000  # a logistic regression is fitted on so many evenly spaced rows, which bounds its time


def held_out_predictions(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, folds: int, seed: int
) -> dict[str, Float64[np.ndarray, "rows classes"]]:
    """Log-probabilities of several classifiers, by name, as if all classes were equally frequent."""
    groups = near_copy_groups(features)
    fold = folds_of(groups, labels, folds, seed)
    return {
        "class means": class_means(features, labels, num_classes, groups),
        **{
            f"logistic regression, penalty {penalty:g}": logistic(features, labels, num_classes, fold, penalty)
            for penalty in _PENALTIES
        },
        "balanced ridge regression": balanced_ridge(features, labels, num_classes, groups),
    }


def class_means(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows classes"]:
    """Softmax of the negative squared distances to the class means, each without the row and its copies."""
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=num_classes)
    means = sums / np.maximum(counts, 1)[:, None]
    lengths = np.einsum("rw,rw->r", features, features)
    distances = lengths[:, None] - 2 * (features @ means.T) + (means**2).sum(1)
    # Copies have the same vector, so the mean of the others lies on the line through both.
    own = np.zeros((len(labels), num_classes), dtype=np.int64)
    np.add.at(own, (groups, labels), 1)
    left = counts - own[groups]
    distances *= (counts / np.maximum(left, 1)) ** 2
    # A class with no other rows gets the mean distance, which is neutral.
    known = left > 0
    neutral = (distances * known).sum(1) / np.maximum(known.sum(1), 1)
    distances = np.where(known, distances, neutral[:, None])
    return _masked(-_sharpness(-distances, labels, counts) * distances, counts)


def logistic(
    features: Float64[np.ndarray, "rows width"],
    labels: Labels,
    num_classes: int,
    folds: Int64[np.ndarray, " rows"],
    penalty: float,
) -> Float64[np.ndarray, "rows classes"]:
    """Out-of-fold logistic regression, divided by the class frequencies that it has learned."""
    counts = np.bincount(labels, minlength=num_classes)
    log_shares = np.log(np.maximum(counts, 0.5) / len(labels))
    targets = np.eye(num_classes, dtype=np.float32)
    held_out = np.empty((len(labels), num_classes))
    for fold in np.unique(folds):
        held = folds == fold
        rows = evenly_spaced(np.flatnonzero(~held), _MAX_FITTED)
        head = fit_linear_head((features[rows] * LENGTH).astype(np.float32), targets[labels[rows]], penalty)
        held_out[held] = head.logits(features[held] * LENGTH) - log_shares
    return _masked(held_out, counts)


def balanced_ridge(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows classes"]:
    """Ridge regression on the classes, all of the same weight, in closed form without the row and its copies."""
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (counts[labels] * (counts > 0).sum())
    targets, width = np.eye(num_classes)[labels], features.shape[1] + 1
    gram = np.diag([_RIDGE * len(labels)] * (width - 1) + [1e-8])  # the bias is free
    moments = np.zeros((width, num_classes))
    blocks = row_slices(len(labels), width, ELEMENTS_A_BLOCK)  # copies of the features would take much memory
    for rows in blocks:
        inputs = _with_bias(features[rows])
        weighted = (inputs * weights[rows, None]).T
        gram += weighted @ inputs
        moments += weighted @ targets[rows]
    inverse = np.linalg.inv(gram)
    solution = inverse @ moments
    fitted, leverage = np.empty_like(targets), np.empty(len(labels))
    for rows in blocks:
        inputs = _with_bias(features[rows])
        fitted[rows] = inputs @ solution
        leverage[rows] = np.einsum("rw,rw->r", inputs @ inverse, inputs)
    # Copies share a leverage h: without all of them, the prediction is (f - h sum(w y)) / (1 - h sum(w)).
    removed, removed_weight = np.zeros((len(labels), num_classes)), np.zeros(len(labels))
    np.add.at(removed, groups, weights[:, None] * targets)
    np.add.at(removed_weight, groups, weights)
    held_out = fitted - leverage[:, None] * removed[groups]
    held_out /= np.maximum(1 - leverage * removed_weight[groups], 1e-6)[:, None]
    return _masked(_sharpness(held_out, labels, counts) * held_out, counts)


def _with_bias(features: Float64[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows _"]:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _sharpness(
    scores: Float64[np.ndarray, "rows classes"], labels: Labels, counts: Int64[np.ndarray, " classes"]
) -> float:
    """The scale of the scores with the highest likelihood of the given labels, all classes of the same weight."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))
    weights = 1 / counts[labels]

    def loss(log_scale: float) -> float:
        fit = _masked(np.exp(log_scale) * scores, counts)
        return -float(weights @ fit[rows, labels])

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 6.0), method="bounded").x))


def _masked(
    scores: Float[np.ndarray, "rows classes"], counts: Int64[np.ndarray, " classes"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-softmax in which a class without rows is never chosen."""
    empty = counts == 0
    scores = scores.astype(np.float64)
    scores[:, empty] = scores[:, ~empty].max(1, keepdims=True) + NO_ROWS
    return np.asarray(log_softmax(scores, axis=1))
