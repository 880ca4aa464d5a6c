"""Out-of-fold predictions of tags and of sets of classes from frozen features; rows are held out whole."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import expit, softmax

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.types import Labels
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.predictors import LENGTH

_PENALTY_TAGS = 0.0003
_PENALTIES = (0.001, 0.01)  # of heads of sets, of which the one with the higher likelihood is used
_MAX_FITTED = 50_000  # tokens that a head is fitted on


def out_of_fold_tags(
    features: Float[np.ndarray, "tokens width"],
    labels: Labels,
    rows: Int64[np.ndarray, " tokens"],
    num_classes: int,
    folds: int = 5,
    seed: int = 0,
) -> Float64[np.ndarray, "tokens classes"]:
    """Probabilities of the tags of tokens by a logistic regression on other sentences; -1 is no tag."""
    vectors = _scaled(features)
    held_out, targets = np.zeros((len(labels), num_classes)), np.eye(num_classes, dtype=np.float32)
    fold = row_folds(int(rows.max()) + 1, folds, seed)[rows]
    for number in np.unique(fold):
        held = fold == number
        fitted = evenly_spaced(np.flatnonzero(~held & (labels >= 0)), _MAX_FITTED)
        head = fit_linear_head(vectors[fitted], targets[labels[fitted]], _PENALTY_TAGS)
        held_out[held] = softmax(head.logits(vectors[held]), axis=1)
    return held_out


def out_of_fold_cells(
    features: Float[np.ndarray, "rows width"], sets: Bool[np.ndarray, "rows classes"], folds: int = 5, seed: int = 0
) -> Float64[np.ndarray, "rows classes"]:
    """Probabilities of each class by logistic regressions on other rows; copies of a row share its fold."""
    vectors = _scaled(features)
    _, copies = np.unique(vectors, axis=0, return_inverse=True)
    fold = row_folds(int(copies.max()) + 1, folds, seed)[copies.ravel()]
    candidates = []
    for penalty in _PENALTIES:
        held_out = np.zeros(sets.shape)
        for number in np.unique(fold):
            held = fold == number
            head = fit_linear_head(vectors[~held], sets[~held], penalty, sigmoid=True)
            held_out[held] = expit(head.logits(vectors[held]))
        candidates.append(held_out)
    own = [np.log(np.maximum(np.where(sets, one, 1 - one), 1e-12)).mean() for one in candidates]
    return np.asarray(candidates[int(np.argmax(own))], dtype=np.float64)


def row_folds(rows: int, folds: int, seed: int) -> Int64[np.ndarray, " rows"]:
    """The fold of each row, at random, of nearly equal sizes."""
    if rows < 2:
        raise ValueError(f"predictions need at least 2 different rows, of which one is held out, got {rows}")
    return np.random.default_rng(seed).permutation(rows) % min(folds, rows)


def _scaled(features: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    return (LENGTH * directions(features, mean_direction(features))).astype(np.float32)
