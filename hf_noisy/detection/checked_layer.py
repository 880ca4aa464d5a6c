"""A logistic regression on checked rows, on top of log-probabilities that other predictors give."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import log_softmax

from hf_noisy.detection.predictors import LENGTH

# Precisions of Gaussian priors, chosen on the development sets of benchmarks/.
SHIFT = 2.0  # of the shift of each class
WEIGHTS = 5.0  # of the weights of the predictors, around equal ones that sum to 1
_STEPS = 100  # of L-BFGS
_GRADIENT = 1e-3  # at which it stops; a smaller one changes probabilities by less than 1e-4


class Numbers(NamedTuple):
    """What is fitted: logits are the weighted scores, plus the shift, plus the layer on the vectors."""

    weights: Float64[np.ndarray, " predictors"]
    shift: Float64[np.ndarray, " classes"]
    layer: Float64[np.ndarray, "directions classes"]


class CheckedLayer:
    """Fits to all or some of the checked rows; the precision of the prior of the layer is an argument of each."""

    def __init__(
        self,
        scores: Float64[np.ndarray, "predictors rows classes"],
        vectors: Float64[np.ndarray, "rows width"],
        index: Int64[np.ndarray, " checked"],
        labels: Int64[np.ndarray, " checked"],
    ) -> None:
        self._scores, self._vectors, self._labels = scores, vectors, labels
        # The layer lies in the span of the checked rows: fitted there, it has few numbers and is the same.
        self._basis, coordinates = np.linalg.qr((LENGTH * vectors[index]).T)
        self._x, self._offsets = coordinates.T.copy(), scores[:, index]

    def fit(self, kept: Int64[np.ndarray, " kept"], precision: float, start: Numbers | None = None) -> Numbers:
        """The numbers by some of the checked rows (positions among these); a start near the end saves steps."""
        from scipy.optimize import minimize

        predictors, _, classes = self._offsets.shape
        x, offsets, targets = self._x[kept], self._offsets[:, kept], np.eye(classes)[self._labels[kept]]
        equal = np.full(predictors, 1 / predictors)
        neutral = Numbers(equal, np.zeros(classes), np.zeros((x.shape[1], classes)))
        if len(kept) == 0:
            return neutral

        def split(values: Float64[np.ndarray, " _"]) -> Numbers:
            weights, shift, layer = np.split(values, [predictors, predictors + classes])
            return Numbers(weights, shift, layer.reshape(-1, classes))

        # With its own gradient it is four times as fast as with autograd.
        def loss(values: Float64[np.ndarray, " _"]) -> tuple[float, Float64[np.ndarray, " _"]]:
            weights, shift, layer = split(values)
            logs = log_softmax(np.tensordot(weights, offsets, 1) + shift + x @ layer, axis=1)
            errors, change = np.exp(logs) - targets, weights - equal
            penalty = precision * (layer**2).sum() + SHIFT * (shift**2).sum() + WEIGHTS * (change**2).sum()
            of_weights = np.tensordot(offsets, errors, 2) + WEIGHTS * change
            of_layer = x.T @ errors + precision * layer
            gradient = np.concatenate([of_weights, errors.sum(0) + SHIFT * shift, of_layer.ravel()])
            return float(penalty / 2 - (targets * logs).sum()), gradient

        values = np.concatenate([one.ravel() for one in start or neutral])
        options = {"maxiter": _STEPS, "gtol": _GRADIENT}
        return split(minimize(loss, values, jac=True, method="L-BFGS-B", options=options).x)

    def log_likelihood(self, numbers: Numbers, held: Int64[np.ndarray, " held"]) -> float:
        """Of the checked labels of some checked rows."""
        weights, shift, layer = numbers
        logs = log_softmax(np.tensordot(weights, self._offsets[:, held], 1) + shift + self._x[held] @ layer, axis=1)
        return float(logs[np.arange(len(held)), self._labels[held]].sum())

    def probabilities(self, numbers: Numbers) -> Float64[np.ndarray, "rows classes"]:
        """Of the true labels of all rows."""
        weights, shift, layer = numbers
        logits = LENGTH * (self._vectors @ (self._basis @ layer)) + shift
        for weight, scores in zip(weights, self._scores, strict=True):
            logits += weight * scores
        return np.asarray(np.exp(log_softmax(logits, axis=1)))
