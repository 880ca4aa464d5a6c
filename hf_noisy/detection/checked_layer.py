"""A logistic regression on checked rows, on top of log-probabilities that other predictors give."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.special import log_softmax
from torch import Tensor

from hf_noisy.detection.predictors import LENGTH

# Precisions of Gaussian priors, chosen on the development sets of benchmarks/.
SHIFT = 2.0  # of the shift of each class
WEIGHTS = 5.0  # of the weights of the predictors, around equal ones that sum to 1
_STEPS = 100  # of L-BFGS
_GRADIENT, _CHANGE = 1e-3, 1e-6  # at which it stops; smaller ones change probabilities by less than 1e-4


class Numbers(NamedTuple):
    """What is fitted: logits are the weighted scores, plus the shift, plus the layer on the vectors."""

    weights: Tensor  # [predictors]
    shift: Tensor  # [classes]
    layer: Tensor  # [directions, classes]


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
        left, singular, self._basis = np.linalg.svd(LENGTH * vectors[index], full_matrices=False)
        self._x = torch.from_numpy(left * singular)
        self._offsets = torch.from_numpy(scores[:, index])

    def fit(self, kept: Int64[np.ndarray, " kept"], precision: float, start: Numbers | None = None) -> Numbers:
        """The numbers by some of the checked rows (positions among these); a start near the end saves steps."""
        predictors, _, classes = self._offsets.shape
        x, offsets, labels = self._x[kept], self._offsets[:, kept], torch.from_numpy(self._labels[kept])
        equal = x.new_full((predictors,), 1 / predictors)
        neutral = Numbers(equal, x.new_zeros(classes), x.new_zeros(x.shape[1], classes))
        if len(kept) == 0:
            return neutral
        start = start or neutral
        numbers = Numbers(*(one.clone().requires_grad_() for one in start))
        optimizer = torch.optim.LBFGS(
            list(numbers),
            max_iter=_STEPS,
            tolerance_grad=_GRADIENT,
            tolerance_change=_CHANGE,
            line_search_fn="strong_wolfe",
        )

        def loss() -> float:
            optimizer.zero_grad()
            weights, shift, layer = numbers
            logits = (weights[:, None, None] * offsets).sum(0) + shift + x @ layer
            value = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            value = value + precision / 2 * layer.square().sum() + SHIFT / 2 * shift.square().sum()
            value = value + WEIGHTS / 2 * (weights - equal).square().sum()
            torch.autograd.backward(value)
            return float(value.detach())

        with torch.enable_grad():
            optimizer.step(loss)
        return Numbers(*(one.detach() for one in numbers))

    def log_likelihood(self, numbers: Numbers, held: Int64[np.ndarray, " held"]) -> float:
        """Of the checked labels of some checked rows."""
        weights, shift, layer = numbers
        logits = (weights[:, None, None] * self._offsets[:, held]).sum(0) + shift + self._x[held] @ layer
        labels = torch.from_numpy(self._labels[held])
        return -float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))

    def probabilities(self, numbers: Numbers) -> Float64[np.ndarray, "rows classes"]:
        """Of the true labels of all rows."""
        weights, shift, layer = (one.numpy() for one in numbers)
        logits = LENGTH * (self._vectors @ (self._basis.T @ layer)) + shift
        for weight, scores in zip(weights, self._scores, strict=True):
            logits += weight * scores
        return np.asarray(np.exp(log_softmax(logits, axis=1)))
