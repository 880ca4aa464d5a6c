"""Weighted combination of several predictions of the true label, with weights fitted on clean rows."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

_ROUNDS = 50
_PRIOR_PRECISION = 4.0


def combine(
    predictors: Sequence[Float[np.ndarray, "rows classes"]], weights: Float[np.ndarray, " predictors"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-probabilities of the weighted sum of log-probabilities."""
    total = sum(weight * np.asarray(one, np.float64) for weight, one in zip(weights, predictors, strict=True))
    return np.asarray(log_softmax(total, axis=1))


def fit_weights(
    predictors: Sequence[Float[np.ndarray, "clean classes"]], labels: Integer[np.ndarray, " clean"]
) -> Float64[np.ndarray, " predictors"]:
    """MAP weights >= 0 of out-of-sample log-probabilities, with a normal prior around the first predictor alone."""
    stacked, rows = np.stack([np.asarray(one, np.float64) for one in predictors]), np.arange(len(labels))

    def loss(weights: Float64[np.ndarray, " predictors"]) -> tuple[float, Float64[np.ndarray, " predictors"]]:
        log_p = log_softmax(np.tensordot(weights, stacked, 1), axis=1)
        expected = (np.exp(log_p) * stacked).sum(2).sum(1)
        away = weights - first
        value = -log_p[rows, labels].sum() + _PRIOR_PRECISION / 2 * (away**2).sum()
        return float(value), expected - stacked[:, rows, labels].sum(1) + _PRIOR_PRECISION * away

    first = np.eye(len(stacked))[0]
    return np.asarray(minimize(loss, first, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(stacked)).x)


def fit_transition(
    log_probabilities: Float[np.ndarray, "rows classes"], given: Integer[np.ndarray, " rows"]
) -> Float64[np.ndarray, "classes classes"]:
    """Transition matrix T[true, given] by EM for `p(given | x) = sum_y p(y | x) T[y, given]`, without zeros."""
    classes = log_probabilities.shape[1]
    onehot = np.eye(classes)[given]
    # A pseudo-count of about one row per class.
    prior = onehot.mean(0) + 1e-3
    transition = 0.5 * np.eye(classes) + 0.5 / classes
    for _ in range(_ROUNDS):
        counts = softmax(log_probabilities + np.log(transition[:, given].T), axis=1).T @ onehot + prior
        transition = counts / counts.sum(1, keepdims=True)
    return np.asarray(transition)
