"""Sets of classes corrected with the help of a few rows that a person has checked."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import minimize
from scipy.special import expit

_SMALLEST = 1e-6
_PRECISION = 1.0  # of the Gaussian priors of slopes and of the shift of each class


def set_posterior(
    given: Bool[np.ndarray, "rows classes"],
    probabilities: Float[np.ndarray, "rows classes"],
    checked: Int64[np.ndarray, "rows classes"],
) -> Float64[np.ndarray, "rows classes"]:
    """The probability that each row has each class, from held-out predictions and checked cells.

    `checked` is 0 or 1, or -1 where nobody looked. Two logistic regressions on the checked cells, of classes that are
    given and of those that are not, change the log-odds of the predictions: by their size, the number of other classes
    of the row, the frequency of the class, and a shift for each class, all with Gaussian priors around no change.
    """
    values = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    odds = np.log(values / (1 - values))
    rows, classes = given.shape
    others = np.log1p(given.sum(axis=1, keepdims=True) - given)
    frequency = np.log((given.sum(axis=0) + 1) / (rows - given.sum(axis=0) + 1))
    inputs = np.stack([np.ones_like(odds), odds, others, np.broadcast_to(frequency, odds.shape)], axis=-1)
    posterior = np.zeros(given.shape)
    for has in (True, False):
        here = given == has
        some = here & (checked >= 0)
        change, shift = _fit(inputs[some], odds[some], np.nonzero(some)[1], checked[some] == 1, classes)
        posterior[here] = expit(odds[here] + inputs[here] @ change + shift[np.nonzero(here)[1]])
    return np.where(checked >= 0, checked, posterior)


def _fit(
    inputs: Float64[np.ndarray, "cells width"],
    offset: Float64[np.ndarray, " cells"],
    class_of: Int64[np.ndarray, " cells"],
    labels: Bool[np.ndarray, " cells"],
    classes: int,
) -> tuple[Float64[np.ndarray, " width"], Float64[np.ndarray, " classes"]]:
    """Weights of the inputs and a shift of each class, of the highest posterior probability."""
    width = inputs.shape[1]
    # The first input is constant: its weight takes what the classes have in common, almost without a prior.
    precisions = np.array([1e-2] + [_PRECISION] * (width - 1 + classes))

    # Newton's method would diverge where confident predictions are wrong.
    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = offset + inputs @ values[:width] + values[width:][class_of]
        wrong = expit(logits) - labels
        gradient = np.concatenate([inputs.T @ wrong, np.bincount(class_of, wrong, classes)]) + precisions * values
        return float((np.logaddexp(0, logits) - labels * logits).sum() + precisions @ values**2 / 2), gradient

    found = minimize(loss, np.zeros(width + classes), jac=True, method="L-BFGS-B").x
    return found[:width], found[width:]
