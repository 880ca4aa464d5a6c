"""Classifiers on frozen features whose predictions for a training row never used the row's own label."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, evenly_spaced, row_slices
from hf_noisy.core.types import Labels
from hf_noisy.detection.directions import Directions
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.near_copies import near_copy_groups
from hf_noisy.detection.probe import folds_of

LENGTH = 4.0  # of the features of logistic regressions
NO_ROWS = -30.0  # log-probability of a class without rows: finite, but never chosen
_PENALTIES = (0.003, 0.01, 0.03)  # of the logistic regressions
_RIDGE = 0.01  # penalty of the ridge regression per row, on features of length 1
# So many evenly spaced rows take part in what is fitted step by step, which bounds the time.
_MAX_FITTED = 20_000  # of a logistic regression
_MAX_SCALED = 100_000  # of a scale
# Which rows share a fold can move the weights of predictors and class priors much if there are few rows.
_DRAWS, _DRAWN = 3, 10_000  # folds are drawn so often, if no more rows are predicted in all


def held_out_predictions(
    features: Directions, labels: Labels, num_classes: int, folds: int, seed: int
) -> dict[str, list[Float64[np.ndarray, "rows classes"]]]:
    """Log-probabilities of several classifiers, by name, as if all classes were equally frequent.

    Those that are fitted out of fold have an array for each of several draws of the folds.
    """
    groups = near_copy_groups(features)
    more = min(_DRAWS, _DRAWN // len(labels)) - 1
    seeds = [seed, *np.random.SeedSequence(seed).generate_state(max(more, 0)).tolist()]
    drawn = (folds_of(groups, labels, folds, of_draw) for of_draw in seeds)
    draws = [logistic_regressions(features, labels, num_classes, fold, _PENALTIES) for fold in drawn]
    logistics = [f"logistic regression, penalty {penalty:g}" for penalty in _PENALTIES]
    return {
        "class means": [class_means(features, labels, num_classes, groups)],
        **dict(zip(logistics, map(list, zip(*draws, strict=True)), strict=True)),
        "balanced ridge regression": [balanced_ridge(features, labels, num_classes, groups)],
    }


def class_means(
    features: Directions, labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows classes"]:
    """Softmax of the negative squared distances to the class means, each without the row and its copies."""
    blocks = row_slices(len(labels), features.shape[1], ELEMENTS_A_BLOCK)
    sums, classes = np.zeros((num_classes, features.shape[1])), np.eye(num_classes)
    for rows in blocks:
        sums += classes[labels[rows]].T @ features[rows]
    counts = np.bincount(labels, minlength=num_classes)
    means = sums / np.maximum(counts, 1)[:, None]
    # Copies have the same vector, so the mean of the others lies on the line through both.
    own = np.zeros((len(labels), num_classes), dtype=np.int32)
    np.add.at(own, (groups, labels), 1)
    distances = np.empty((len(labels), num_classes))
    for rows in blocks:
        block = features[rows]
        squared = np.einsum("rw,rw->r", block, block)[:, None] - 2 * (block @ means.T) + (means**2).sum(1)
        left = counts - own[groups[rows]]
        squared *= (counts / np.maximum(left, 1)) ** 2
        # A class with no other rows gets the mean distance, which is neutral.
        known = left > 0
        neutral = (squared * known).sum(1) / np.maximum(known.sum(1), 1)
        distances[rows] = np.where(known, squared, neutral[:, None])
    return _sharpened(np.negative(distances, out=distances), labels, counts)


def logistic_regressions(
    features: Directions,
    labels: Labels,
    num_classes: int,
    folds: Int64[np.ndarray, " rows"],
    penalties: Sequence[float],
) -> list[Float64[np.ndarray, "rows classes"]]:
    """Out-of-fold logistic regressions, divided by the class frequencies that they have learned; one per penalty."""
    counts = np.bincount(labels, minlength=num_classes)
    log_shares = np.log(np.maximum(counts, 0.5) / len(labels))
    targets = np.eye(num_classes, dtype=np.float32)
    held_out = [np.empty((len(labels), num_classes)) for _ in penalties]
    for fold in np.unique(folds):
        held, rows = np.flatnonzero(folds == fold), evenly_spaced(np.flatnonzero(folds != fold), _MAX_FITTED)
        fitted, given = (features[rows] * LENGTH).astype(np.float32), targets[labels[rows]]
        heads = [fit_linear_head(fitted, given, penalty) for penalty in penalties]
        for part in row_slices(len(held), features.shape[1], ELEMENTS_A_BLOCK):
            block = features[held[part]] * LENGTH
            for head, found in zip(heads, held_out, strict=True):
                found[held[part]] = head.logits(block) - log_shares
    return [_masked(found, counts) for found in held_out]


def balanced_ridge(
    features: Directions, labels: Labels, num_classes: int, groups: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows classes"]:
    """Ridge regression on the classes, all of the same weight, in closed form without the row and its copies."""
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (counts[labels] * (counts > 0).sum())
    classes, width = np.eye(num_classes), features.shape[1] + 1
    gram = np.diag([_RIDGE * len(labels)] * (width - 1) + [1e-8])  # the bias is free
    moments = np.zeros((width, num_classes))
    blocks = row_slices(len(labels), width, ELEMENTS_A_BLOCK)  # copies of the features would take much memory
    for rows in blocks:
        inputs = _with_bias(features[rows])
        weighted = (inputs * weights[rows, None]).T
        gram += weighted @ inputs
        moments += weighted @ classes[labels[rows]]
    inverse = np.linalg.inv(gram)
    solution = inverse @ moments
    # Copies share a leverage h: without all of them, the prediction is (f - h sum(w y)) / (1 - h sum(w)).
    removed, removed_weight = np.zeros((len(labels), num_classes)), np.zeros(len(labels))
    np.add.at(removed, (groups, labels), weights)
    np.add.at(removed_weight, groups, weights)
    held_out = np.empty((len(labels), num_classes))
    for rows in blocks:
        inputs = _with_bias(features[rows])
        leverage = np.einsum("rw,rw->r", inputs @ inverse, inputs)
        held = inputs @ solution - leverage[:, None] * removed[groups[rows]]
        held_out[rows] = held / np.maximum(1 - leverage * removed_weight[groups[rows]], 1e-6)[:, None]
    return _sharpened(held_out, labels, counts)


def _with_bias(features: Float64[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows _"]:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _sharpened(
    scores: Float64[np.ndarray, "rows classes"], labels: Labels, counts: Int64[np.ndarray, " classes"]
) -> Float64[np.ndarray, "rows classes"]:
    scale = _sharpness(scores, labels, counts)
    return _masked(np.multiply(scores, scale, out=scores), counts)


def _sharpness(
    scores: Float64[np.ndarray, "rows classes"], labels: Labels, counts: Int64[np.ndarray, " classes"]
) -> float:
    """The scale of the scores with the highest likelihood of the given labels, all classes of the same weight."""
    from scipy.optimize import minimize_scalar

    some = evenly_spaced(np.arange(len(labels)), _MAX_SCALED)
    scores, labels, rows = scores[some], labels[some], np.arange(len(some))
    weights = 1 / counts[labels]

    def loss(log_scale: float) -> float:
        fit = _masked(np.exp(log_scale) * scores, counts)
        return -float(weights @ fit[rows, labels])

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 6.0), method="bounded").x))


def _masked(
    scores: Float[np.ndarray, "rows classes"], counts: Int64[np.ndarray, " classes"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-softmax, in the place of the scores, in which a class without rows is never chosen."""
    empty = counts == 0
    for rows in row_slices(len(scores), scores.shape[1], ELEMENTS_A_BLOCK):
        block = scores[rows]
        block[:, empty] = block[:, ~empty].max(1, keepdims=True) + NO_ROWS
        block[:] = log_softmax(block, axis=1)
    return scores
