"""Sets of classes with missing and spurious classes: the probability that a cell (row, class) is wrong.

Predictions of the given labels are turned into odds of the true ones by two rates: of true classes that are not given,
for each class, and of given classes that are not true. Noise is mostly one-sided, so the second is 0 unless given
classes are found where the predictions exclude them.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from hf_noisy.core.checks import check_integers, check_rate

_SMALLEST = 1e-6
_LOWEST = 0.2  # share of the cells of a class in which spurious classes are counted
_TOP = 0.1  # so many cells as a share of the given ones show how often a class is missing where it is most probable
_FEWEST_TOP = 100
_SHARED = 20.0  # cells that the rate of all classes counts for in that of each class
_STEPS = 20


class CellModel(NamedTuple):
    """What is wrong with sets of classes.

    Attributes:
        wrong: `[rows, classes]`, probability that the cell is wrong.
        missing_rate: `[classes]`, estimated P(not given | true).
        spurious_rate: Estimated P(given | not true).
        bounds: Share of wrong cells if half as much is missing, and twice as much.
    """

    wrong: Float64[np.ndarray, "rows classes"]
    missing_rate: Float64[np.ndarray, " classes"]
    spurious_rate: float
    bounds: tuple[float, float]


def fit_cell_model(labels: Any, probabilities: Any, spurious_rate: float | None = None) -> CellModel:
    """The model of the given sets, zeros and ones `[rows, classes]`, from held-out probabilities of each class."""
    given, values = _checked(labels, probabilities)
    if spurious_rate is None:
        spurious_rate = _spurious_rate(given, values)
    check_rate(spurious_rate, "spurious_rate")
    values = _with_exclusion(given, values)
    top = np.argsort(-values, axis=None, kind="stable")[: max(_FEWEST_TOP, round(_TOP * int(given.sum())))]
    classes = top % given.shape[1]
    absent = ~given.ravel()[top]
    everywhere = float(absent.mean())
    counts = np.bincount(classes, minlength=given.shape[1])
    absent_by_class = np.bincount(classes, weights=absent, minlength=given.shape[1])
    missing_rate = np.clip((absent_by_class + _SHARED * everywhere) / (counts + _SHARED), 0.0, 0.95)
    # Classes share one scale: an estimate for each would rank classes that are hard to predict too high.
    odds = values / (1 - values)

    def missing(rate: float) -> Float64[np.ndarray, "rows classes"]:
        weight = rate / (1 - rate) * odds
        return np.asarray(weight / (1 + weight))

    rate = min(everywhere, 0.95)
    spurious = spurious_rate / (spurious_rate + odds)
    wrong = np.where(given, spurious, missing(rate))
    bounds = [float(np.where(given, spurious, missing(other)).mean()) for other in (rate / 2, min(2 * rate, 0.95))]
    middle = float(wrong.mean())
    return CellModel(wrong, missing_rate, spurious_rate, (min(bounds[0], middle), max(bounds[1], middle)))


def _checked(
    labels: Any, probabilities: Any
) -> tuple[Bool[np.ndarray, "rows classes"], Float64[np.ndarray, "rows classes"]]:
    if not (isinstance(labels, np.ndarray) and labels.dtype == bool):
        check_integers(labels, "labels")
    if labels.ndim != 2 or not labels.size or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be zeros and ones [rows, classes], got an array of shape {labels.shape}")
    values = np.asarray(probabilities)
    if values.shape != labels.shape or values.dtype.kind != "f":
        raise ValueError(
            f"probabilities must be floats of the shape {labels.shape} of labels, got {values.dtype} {values.shape}"
        )
    # Comparisons with NaN are false.
    if not ((values >= 0) & (values <= 1)).all():
        row = int(np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))[0])
        raise ValueError(f"probabilities must be in [0, 1], which those of row {row} are not; pass sigmoid(logits)")
    return labels.astype(bool), np.clip(values.astype(np.float64), _SMALLEST, 1 - _SMALLEST)


def _spurious_rate(given: Bool[np.ndarray, "rows classes"], values: Float64[np.ndarray, "rows classes"]) -> float:
    """How many of the least probable cells are given, beyond what their probabilities admit."""
    count = max(round(_LOWEST * len(given)), 1)
    lowest = np.argpartition(values, count - 1, axis=0)[:count]
    excess = np.take_along_axis(given, lowest, axis=0).mean() - np.take_along_axis(values, lowest, axis=0).mean()
    return float(max(excess, 0.0))


def _with_exclusion(
    given: Bool[np.ndarray, "rows classes"], values: Float64[np.ndarray, "rows classes"]
) -> Float64[np.ndarray, "rows classes"]:
    """The probabilities, lower where other classes are given, as far as these make a class less likely.

    If they make it more likely, rows with more classes may only have been labelled more thoroughly, which is no
    evidence against rows with few.
    """
    labels = given.astype(np.float64).ravel()
    others = np.log1p(given.sum(axis=1, keepdims=True) - given).ravel()
    inputs = np.stack([np.ones_like(labels), np.log(values / (1 - values)).ravel(), others], axis=1)
    weights = _logistic(inputs, labels)
    if weights[2] > 0:
        weights = np.append(_logistic(inputs[:, :2], labels), 0.0)
    if weights[1] <= 0:  # the predictions say nothing
        return values
    found = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
    return np.asarray(np.clip(found, _SMALLEST, 1 - _SMALLEST).reshape(values.shape))


def _logistic(inputs: Float64[np.ndarray, "cells width"], labels: Float64[np.ndarray, " cells"]) -> np.ndarray:
    """Weights of a logistic regression of few inputs, by Newton's method."""
    weights = np.zeros(inputs.shape[1])
    penalty = np.diag([1e-6] + [1.0] * (inputs.shape[1] - 1))
    for _ in range(_STEPS):
        predicted = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (predicted - labels) + penalty @ weights
        curvature = (inputs * (predicted * (1 - predicted) + 1e-9)[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights
