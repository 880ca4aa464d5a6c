"""Predictions of soft labels from frozen features, for each row without its own label, in closed form."""

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import log_softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, evenly_spaced, row_slices
from hf_noisy.detection.directions import directions, mean_direction

_RIDGE = 0.03  # penalty per row, on features of length 1
_BIAS = 1e-4  # penalty of the class biases of the calibration
_STEPS = 25  # of the calibration
_MAX_FITTED = 20_000  # rows on which the calibration is fitted


class SoftPredictor:
    """A ridge regression on soft labels; the inverse and the leverages are computed once for all labels."""

    def __init__(self, features: Float[np.ndarray, "rows width"]) -> None:
        vectors = directions(features, mean_direction(features)).astype(np.float32)
        rows, width = vectors.shape
        self._inputs = np.concatenate([vectors, np.ones((rows, 1), np.float32)], axis=1)
        penalty = np.diag([_RIDGE * rows] * width + [1e-8])  # the bias is free
        blocks = row_slices(rows, width + 1, 64 * ELEMENTS_A_BLOCK)
        gram = penalty + sum(self._inputs[block].T @ self._inputs[block] for block in blocks)
        self._inverse = np.linalg.inv(gram).astype(np.float32)
        leverage = [np.einsum("rw,rw->r", self._inputs[b] @ self._inverse, self._inputs[b]) for b in blocks]
        self._leverage = np.concatenate(leverage).astype(np.float64)

    def log_probabilities(self, targets: Float64[np.ndarray, "rows classes"]) -> Float64[np.ndarray, "rows classes"]:
        """Calibrated log-probabilities of the soft labels, each without the row's own."""
        solution = self._inverse @ (self._inputs.T @ targets.astype(np.float32))
        scores = (self._inputs @ solution).astype(np.float64) - self._leverage[:, None] * targets
        scores /= np.maximum(1 - self._leverage, 1e-6)[:, None]
        scores -= scores.mean(axis=1, keepdims=True)
        return calibrated(scores / max(float(scores.std()), 1e-12), targets)


def calibrated(
    scores: Float64[np.ndarray, "rows classes"], targets: Float64[np.ndarray, "rows classes"]
) -> Float64[np.ndarray, "rows classes"]:
    """Log-softmax of the scores, with the scale and the class biases of the highest likelihood of soft labels."""
    from scipy.optimize import minimize

    rows = evenly_spaced(np.arange(len(scores)), _MAX_FITTED)
    some, wanted = scores[rows], targets[rows]

    def loss(values: Float64[np.ndarray, " _"]) -> tuple[float, Float64[np.ndarray, " _"]]:
        scale, bias = np.exp(values[0]), values[1:]
        logs = log_softmax(scale * some + bias, axis=1)
        errors = np.exp(logs) - wanted
        value = -float((wanted * logs).sum()) / len(some) + _BIAS / 2 * float(bias @ bias)
        return value, np.concatenate([[scale * (errors * some).sum() / len(some)], errors.mean(0) + _BIAS * bias])

    start, bounds = np.zeros(1 + scores.shape[1]), [(-6.0, 4.0)] + [(None, None)] * scores.shape[1]
    options = {"maxiter": _STEPS, "gtol": 1e-4}
    values = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return np.asarray(log_softmax(np.exp(values[0]) * scores + values[1:], axis=1))
