"""Label noise separated from the classifier's own errors: the posterior of the true label.

Where classifier and label disagree, the label or the prediction is wrong. The model is a mixture of two components:

* noise by class: labels were flipped by a transition matrix, independent of the features. If the probabilities are
  spread over several classes, the classifier is uncertain, and the label may well be right;
* noise by row: labels were confused because the row is ambiguous. The probabilities are spread because the labels are,
  and the most probable class is the true one.

The mixing share is estimated by the likelihood of all labels, since one row cannot identify its component. No constant
was tuned on data with true labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer

from hf_noisy.core.blocks import evenly_spaced, labelled_blocks
from hf_noisy.core.checks import check_scores, class_counts, probability_blocks
from hf_noisy.core.types import Labels, Probabilities
from hf_noisy.detection.transition_matrix import calibrated_joint, confident_joint

# Larger data is fitted on so many evenly spaced rows, which bounds time and memory.
_MAX_FITTED = 1 << 15
_SMALLEST = 1e-6  # floor of probabilities before the logarithm
_SMALLEST_BIAS = -40.0  # keeps powers above the smallest float32
_SLIPS = 0.01  # share of uniform labels under noise by row, so that one improbable label does not rule it out
_TEMPERATURES = (1 / 16, 5.0)
_ROUNDS = 4
_EM_STEPS = 100


class LabelPosterior(NamedTuple):
    """The posterior of a [`LabelModel`] for each row."""

    wrong: Float[np.ndarray, " rows"]  # probability that the given label is wrong under the mixture, in [0, 1]
    wrong_by_class: Float[np.ndarray, " rows"]  # the same under noise by class alone
    suggested: Integer[np.ndarray, " rows"]  # the most probable class other than the given one
    disagrees: Bool[np.ndarray, " rows"]  # whether the classifier prefers another class to the given one


@dataclass(frozen=True)
class LabelModel:
    """A fitted mixture of noise by class and noise by row."""

    transition: Float64[np.ndarray, "classes classes"]  # [true, given], row-stochastic, of noise by class
    temperature: float  # of the probabilities of the true class, under noise by class
    bias: Float64[np.ndarray, " classes"]  # added to their logarithms: noise made the classifier favour some classes
    row_temperature: float  # of the probabilities under noise by row
    ambiguous: float  # share of the rows with noise by row, in [0, 1]

    def predict(self, labels: Labels, probabilities: Probabilities) -> LabelPosterior:
        """The posterior of each row, a block of rows at a time; arrays may be memory-mapped."""
        if probabilities.ndim == 2 and probabilities.shape[1] != len(self.bias):
            raise ValueError(f"probabilities must have {len(self.bias)} classes, got {probabilities.shape[1]}")
        blocks = probability_blocks(labels, probabilities)
        wrong, wrong_by_class = np.empty(len(labels), np.float32), np.empty(len(labels), np.float32)
        suggested, disagrees = np.empty(len(labels), np.int32), np.empty(len(labels), bool)
        given_to_true = self.transition.T.astype(np.float32)
        bias, share = self.bias.astype(np.float32), np.float32(self.ambiguous)
        for block in blocks:
            own = np.arange(len(block.labels)), block.labels
            logs = _relative_logs(block.values)
            disagrees[block.rows] = logs[own] < 0
            by_class = _powers(logs, self.temperature, bias)
            by_class *= given_to_true[block.labels]
            by_class /= _row_sums(by_class)[:, None]
            wrong_by_class[block.rows] = 1 - by_class[own]
            both = _powers(logs, self.row_temperature)
            both *= (share / _row_sums(both))[:, None]
            both += by_class * (1 - share)
            wrong[block.rows] = 1 - both[own]
            both[own] = -1
            suggested[block.rows] = both.argmax(axis=1)
        return LabelPosterior(wrong.clip(0, 1), wrong_by_class.clip(0, 1), suggested, disagrees)


def fit_label_model(labels: Labels, probabilities: Probabilities) -> LabelModel:
    """Fit to out-of-sample probabilities by the likelihood of the given labels.

    The transition matrix is that of confident learning (Northcutt et al., 2021, Eq. 1 to 3), in a mixture over true
    classes (Goldberger and Ben-Reuven, 2017, Section 3). Temperatures correct over- or underconfidence of the
    classifier, biases correct the class frequencies it has learned from noisy labels.
    """
    joint = confident_joint(labels, probabilities)
    counts = calibrated_joint(joint, class_counts(labels, len(joint)))
    # A pseudo-count of one row per true class: a transition that was never counted is not impossible.
    counts = counts + 1 / len(counts)
    transition = counts / counts.sum(axis=1, keepdims=True)
    rows = evenly_spaced(np.arange(len(labels)), _MAX_FITTED)
    given = labels[rows]
    logs = _relative_logs(np.asarray(probabilities[rows], dtype=np.float32))
    own = logs[np.arange(len(given)), given]

    def row_likelihood(temperature: float) -> Float64[np.ndarray, " fitted"]:
        likely: np.ndarray = np.exp(own / np.float32(temperature)) / _row_sums(_powers(logs, temperature))
        mixed: np.ndarray = likely.astype(np.float64) * (1 - _SLIPS) + _SLIPS / len(joint)
        return mixed

    weights = transition.T.astype(np.float32)[given]
    temperature, bias, class_likelihood = _fit_by_class(logs, weights)
    row_temperature = _best_temperature(row_likelihood)
    share = _share(class_likelihood, row_likelihood(row_temperature))
    return LabelModel(transition, temperature, bias, row_temperature, share)


def mean_probabilities(
    labels: Labels, dynamics: Sequence[np.ndarray] | Float[np.ndarray, "epochs rows classes"]
) -> Float32[np.ndarray, "rows classes"]:
    """Mean over the epochs of the probabilities of each row, float32; one epoch is read at a time."""
    if isinstance(dynamics, Iterator):
        raise ValueError("dynamics is read more than once, got an iterator; pass an array or a list of epochs")
    total: np.ndarray | None = None
    for number, logits in enumerate(dynamics):
        check_scores(labels, logits, name=f"dynamics of epoch {number}")
        total = np.zeros(logits.shape, np.float32) if total is None else total
        if logits.shape != total.shape:
            raise ValueError(f"dynamics must have one shape in all epochs, got {logits.shape} in epoch {number}")
        for block in labelled_blocks(labels, logits):
            relative = block.values.astype(np.float32) - _row_maxima(block.values)[:, None].astype(np.float32)
            powers = _powers(relative, 1.0)
            total[block.rows] += powers / _row_sums(powers)[:, None]
    if total is None:
        raise ValueError("dynamics must hold at least one epoch, got none; record training first")
    for block in labelled_blocks(labels, total):
        block.values[:] /= _row_sums(block.values)[:, None]
    return total


def _fit_by_class(
    logs: Float[np.ndarray, "fitted classes"], weights: Float[np.ndarray, "fitted classes"]
) -> tuple[float, Float64[np.ndarray, " classes"], Float64[np.ndarray, " fitted"]]:
    """Temperature, class biases and likelihood; `weights` is P(given label of the row | true class)."""
    bias = np.zeros(logs.shape[1])
    temperature = 1.0

    def likelihood(temperature: float) -> Float64[np.ndarray, " fitted"]:
        prior = _powers(logs, temperature, bias)
        likely: np.ndarray = np.einsum("rc,rc->r", prior, weights) / _row_sums(prior)
        return likely.astype(np.float64)

    for _ in range(_ROUNDS):
        temperature = _best_temperature(likelihood)
        prior = _powers(logs, temperature, bias)
        prior /= _row_sums(prior)[:, None]
        posterior = prior * weights
        posterior /= _row_sums(posterior)[:, None]
        # A step of EM for the class frequencies: the ratio of posterior to prior.
        bias = bias + np.log((posterior.mean(0, dtype=np.float64) + 1e-9) / (prior.mean(0, dtype=np.float64) + 1e-9))
        bias = np.maximum(bias - bias.max(), _SMALLEST_BIAS)
    return temperature, bias, likelihood(temperature)


def _best_temperature(likelihood: Callable[[float], Float64[np.ndarray, " fitted"]]) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return float(-np.log(likelihood(float(np.exp(log_temperature))) + 1e-12).mean())

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.02}).x))


def _share(by_class: Float64[np.ndarray, " fitted"], by_row: Float64[np.ndarray, " fitted"]) -> float:
    """Maximum-likelihood weight of the second of two densities in their mixture."""
    share = 0.5
    for _ in range(_EM_STEPS):
        second = share * by_row
        share = float(np.mean(second / (second + (1 - share) * by_class)))
    return share


def _relative_logs(values: Float[np.ndarray, "rows classes"]) -> Float32[np.ndarray, "rows classes"]:
    """Logarithms of probabilities relative to the highest one of the row, float32."""
    relative = np.maximum(values, values.dtype.type(_SMALLEST))
    relative /= _row_maxima(relative)[:, None]
    logs: np.ndarray = np.log(relative, out=relative).astype(np.float32, copy=False)
    return logs


def _powers(
    logs: Float32[np.ndarray, "rows classes"], temperature: float, bias: Float[np.ndarray, " classes"] | None = None
) -> Float32[np.ndarray, "rows classes"]:
    """Exponentials of logarithms over the temperature plus a bias."""
    powers: np.ndarray = logs / np.float32(temperature)
    if bias is not None:
        powers += bias.astype(np.float32)
    np.exp(powers, out=powers)
    return powers


# Several times faster than numpy's own sum and maximum along short rows.
def _row_sums(values: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, " rows"]:
    sums: np.ndarray = np.einsum("rc->r", values)
    return sums


def _row_maxima(values: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, " rows"]:
    maxima: np.ndarray = np.array(values.T, order="C").max(axis=0)
    return maxima
