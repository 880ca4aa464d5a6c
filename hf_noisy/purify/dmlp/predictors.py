"""What several predictions and the given label of a row say together about its true label."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

_ROUNDS = 50
_PRIOR_PRECISION = 4.0


def fit_weights(
    witnesses: Sequence[Float[np.ndarray, "clean classes"]], labels: Integer[np.ndarray, " clean"]
) -> Float64[np.ndarray, " witnesses"]:
    """Weights, at least 0, of log-probabilities whose sum makes clean labels likely.

    The most probable weights, with a normal prior around the first witness alone (a standard deviation of 0.5): few
    clean rows do not say much about weights. Every witness must have been made without the row that it speaks of.

    Args:
        witnesses: `[clean, classes]` each, log-probabilities.
        labels: `[clean]`, clean labels.

    Example:
        >>> good = np.log(np.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> fit_weights([good, good[::-1]], np.array([0, 1])).round(0).tolist()
        [1.0, 0.0]
    """
    stacked, rows = np.stack([np.asarray(witness, np.float64) for witness in witnesses]), np.arange(len(labels))

    def loss(weights: Float64[np.ndarray, " witnesses"]) -> tuple[float, Float64[np.ndarray, " witnesses"]]:
        log_p = log_softmax(np.tensordot(weights, stacked, 1), axis=1)
        expected = (np.exp(log_p) * stacked).sum(2).sum(1)
        away = weights - first
        value = -log_p[rows, labels].sum() + _PRIOR_PRECISION / 2 * (away**2).sum()
        return float(value), expected - stacked[:, rows, labels].sum(1) + _PRIOR_PRECISION * away

    first = np.eye(len(stacked))[0]
    return np.asarray(minimize(loss, first, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(stacked)).x)


def join(
    witnesses: Sequence[Float[np.ndarray, "rows classes"]], weights: Float[np.ndarray, " witnesses"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-probabilities of the weighted witnesses."""
    total = sum(weight * np.asarray(witness, np.float64) for weight, witness in zip(weights, witnesses, strict=True))
    return np.asarray(log_softmax(total, axis=1))


def fit_transition(
    log_probabilities: Float[np.ndarray, "rows classes"], given: Integer[np.ndarray, " rows"]
) -> Float64[np.ndarray, "classes classes"]:
    """Transition matrix under which what is believed of the rows explains their given labels best.

    Rounds of expectation-maximisation for `p(given | x) = sum_y p(y | x) T[y, given]`; T alone is fitted.

    Args:
        log_probabilities: `[rows, classes]`, what is believed before the given label is seen.
        given: `[rows]`, given labels.

    Returns:
        T[i, j] = P(given = j | true = i), row-stochastic, without zeros.

    Example:
        >>> sure = np.log(np.array([[0.99, 0.01], [0.99, 0.01], [0.01, 0.99]]).repeat(100, 0))
        >>> fit_transition(sure, np.array([0, 1, 1]).repeat(100)).round(1).tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """
    classes = log_probabilities.shape[1]
    onehot = np.eye(classes)[given]
    # One row's worth for each class keeps every label possible.
    prior = onehot.mean(0) + 1e-3
    transition = 0.5 * np.eye(classes) + 0.5 / classes
    for _ in range(_ROUNDS):
        counts = softmax(log_probabilities + np.log(transition[:, given].T), axis=1).T @ onehot + prior
        transition = counts / counts.sum(1, keepdims=True)
    return np.asarray(transition)
