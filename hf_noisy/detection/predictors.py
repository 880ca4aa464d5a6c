"""Classifiers on frozen features whose predictions for a training row never used the row's own label."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.types import Labels
from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.probe import folds_of

NO_ROWS = -30.0  # log-probability of a class without rows: finite, but never chosen
_PENALTIES = (0.003, 0.01, 0.03)  # of the logistic regressions, on features of length 4
_LENGTH = 4.0
_RIDGE = 0.01  # penalty of the ridge regression per row, on features of length 1
_MAX_FITTED = 20_000  # a logistic regression is fitted on so many evenly spaced rows, which bounds its time

Predict = Callable[[Float64[np.ndarray, "rows width"]], Float64[np.ndarray, "rows classes"]]


@dataclass(frozen=True)
class Predictor:
    """Log-probabilities as if all classes were equally frequent."""

    name: str
    held_out: Float64[np.ndarray, "rows classes"]  # of the training rows, each without its own label
    predict: Predict  # of other rows


def fit_predictors(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, seed: int
) -> list[Predictor]:
    """Class means, logistic regressions with three penalties and a balanced ridge regression.

    Args:
        features: `[rows, width]`, centred and of length 1.
        labels: `[rows]`, given labels.
        num_classes: Number of classes; some may have no rows.
        seed: Seed of the folds.

    Returns:
        The predictors.
    """
    groups = copy_groups(features)
    folds = folds_of(groups, labels, 5, seed)
    return [
        _class_means(features, labels, num_classes, groups),
        *(_logistic(features, labels, num_classes, folds, penalty) for penalty in _PENALTIES),
        _balanced_ridge(features, labels, num_classes, groups),
    ]


def _class_means(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Predictor:
    """Softmax of the negative squared distances to the class means, each without the row and its copies."""
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    means = sums / np.maximum(counts, 1)[:, None]
    lengths = (means**2).sum(1)

    def distances(vectors: Float64[np.ndarray, "others width"]) -> Float64[np.ndarray, "others classes"]:
        return np.asarray((vectors**2).sum(1)[:, None] - 2 * vectors @ means.T + lengths)

    # Copies have the same vector, so the mean of the others lies on the line through both.
    own = np.zeros((len(labels), num_classes))
    np.add.at(own, (groups, labels), 1)
    own = own[groups]
    left = counts - own
    held_out = distances(features) * (counts / np.maximum(left, 1)) ** 2
    # A class with no other rows gets the mean distance, which is neutral.
    held_out = np.where(left > 0, held_out, np.nan)
    held_out = np.where(np.isnan(held_out), np.nanmean(held_out, axis=1, keepdims=True), held_out)
    sharpness = _sharpness(-held_out, labels, counts)
    return Predictor(
        "class means",
        _masked(-sharpness * held_out, counts),
        lambda vectors: _masked(-sharpness * distances(vectors), counts),
    )


def _logistic(
    features: Float64[np.ndarray, "rows width"],
    labels: Labels,
    num_classes: int,
    folds: Int64[np.ndarray, " rows"],
    penalty: float,
) -> Predictor:
    """Out-of-fold logistic regression, divided by the class frequencies that it has learned."""
    counts = np.bincount(labels, minlength=num_classes)
    log_shares = np.log(np.maximum(counts, 0.5) / len(labels))
    scaled, targets = (features * _LENGTH).astype(np.float32), np.eye(num_classes, dtype=np.float32)

    def fitted(rows: Int64[np.ndarray, " some"]) -> Predict:
        chosen = evenly_spaced(rows, _MAX_FITTED)
        head = fit_linear_head(scaled[chosen], targets[labels[chosen]], penalty)
        return lambda vectors: head.logits(vectors * _LENGTH) - log_shares

    held_out = np.empty((len(labels), num_classes))
    for fold in np.unique(folds):
        held = folds == fold
        held_out[held] = fitted(np.flatnonzero(~held))(features[held])
    everywhere = fitted(np.arange(len(labels)))
    return Predictor(
        f"logistic regression, penalty {penalty:g}",
        _masked(held_out, counts),
        lambda vectors: _masked(everywhere(vectors), counts),
    )


def _balanced_ridge(
    features: Float64[np.ndarray, "rows width"], labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Predictor:
    """Ridge regression on the classes, all of the same weight, in closed form without the row and its copies."""
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (counts[labels] * (counts > 0).sum())
    inputs = np.c_[features, np.ones(len(labels))]
    penalty = np.full(inputs.shape[1], _RIDGE * len(labels))
    penalty[-1] = 1e-8  # the bias is free
    inverse = np.linalg.inv((inputs * weights[:, None]).T @ inputs + np.diag(penalty))
    targets = np.eye(num_classes)[labels]
    solution = inverse @ ((inputs * weights[:, None]).T @ targets)
    fitted = inputs @ solution
    leverage = np.einsum("rw,wv,rv->r", inputs, inverse, inputs, optimize=True)
    # Copies share a leverage h: without all of them, the prediction is (f - h sum(w y)) / (1 - h sum(w)).
    removed, removed_weight = np.zeros((len(labels), num_classes)), np.zeros(len(labels))
    np.add.at(removed, groups, weights[:, None] * targets)
    np.add.at(removed_weight, groups, weights)
    held_out = fitted - leverage[:, None] * removed[groups]
    held_out /= np.maximum(1 - leverage * removed_weight[groups], 1e-6)[:, None]
    sharpness = _sharpness(held_out, labels, counts)
    return Predictor(
        "balanced ridge regression",
        _masked(sharpness * held_out, counts),
        lambda vectors: _masked(sharpness * (vectors @ solution[:-1] + solution[-1]), counts),
    )


def _sharpness(
    scores: Float64[np.ndarray, "rows classes"], labels: Labels, counts: Float[np.ndarray, " classes"]
) -> float:
    """The scale of the scores with the highest likelihood of the given labels, all classes of the same weight."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))
    weights = 1 / counts[labels]

    def loss(log_scale: float) -> float:
        fit = log_softmax(_masked(np.exp(log_scale) * scores, counts), axis=1)
        return -float(weights @ fit[rows, labels])

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 6.0), method="bounded").x))


def _masked(
    scores: Float[np.ndarray, "rows classes"], counts: Float[np.ndarray, " classes"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-softmax in which a class without rows is never chosen."""
    empty = counts == 0
    scores = scores.astype(np.float64)
    scores[:, empty] = scores[:, ~empty].max(1, keepdims=True) + NO_ROWS
    return np.asarray(log_softmax(scores, axis=1))
