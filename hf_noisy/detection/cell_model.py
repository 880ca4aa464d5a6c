"""Sets of classes with missing and spurious classes: the probability that a cell (row, class) is wrong.

A class is true with a probability q, which a logistic regression takes from the held-out prediction of the given label
and the number of other given classes. It is then given with probability $(1 - m)q + s(1 - (1 - m)q)$: a true class is
missing at the rate m, and a class that would not be given is added at the rate s. The rate s is counted among the
cells that are least likely to be given, as far as it does not fall with that probability, and all other parameters
maximise the likelihood of the given labels. It tells m from classes that are hard to predict because m bounds the
probability of all cells, and the logistic regression does not: labels are missing whatever the features are (Elkan and
Noto, 2008, "Learning classifiers from only positive and unlabeled data"). Predictions may know the bound themselves.
So the most probable cells bound m from below, as their classes are taken to be true.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.optimize import minimize
from scipy.special import expit, logit

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.checks import check_integers, check_rate

_SMALLEST = 1e-6
_LOWEST = 0.1  # share of all cells in which spurious classes are counted
_TOP = 0.1  # so many cells as a share of the given ones show how often a class is missing where it is most probable
_FEWEST_TOP = 5
_HIGHEST_RATE = 0.95
_ERROR = 0.1  # of the missing rate, seen under injected noise and on clean labels of five sets
_MAX_FITTED = 300_000  # evenly spaced cells, which bounds the time
_FIRST_RATE = 0.05


class CellModel(NamedTuple):
    """What is wrong with sets of classes.

    Attributes:
        wrong: `[rows, classes]`, probability that the cell is wrong.
        missing_rate: Estimated P(not given | true), and the ends of its interval.
        spurious_rate: Estimated P(given | not true).
        bounds: Share of wrong cells at both ends of the interval.
    """

    wrong: Float64[np.ndarray, "rows classes"]
    missing_rate: tuple[float, float, float]
    spurious_rate: float
    bounds: tuple[float, float]


class _Weights(NamedTuple):
    """Of the regression for q, and the missing rate."""

    bias: float
    prediction: float
    others: float
    missing_rate: float


def fit_cell_model(labels: Any, probabilities: Any, spurious_rate: float | None = None) -> CellModel:
    """The model of the given sets, zeros and ones `[rows, classes]`, from held-out probabilities of each class."""
    given, values = _checked(labels, probabilities)
    # Rows with more classes may only have been labelled more thoroughly, which is no evidence against rows with few:
    # the weight of this input is not positive.
    others = np.log1p(given.sum(axis=1, keepdims=True) - given)
    inputs = np.stack([logit(values), others])
    fitted = evenly_spaced(np.arange(len(given)), max(_MAX_FITTED // given.shape[1], 1))
    some, is_given = inputs[:, fitted].reshape(2, -1), given[fitted].ravel()
    plain = _fit(some, is_given, 0.0, _Weights(0.0, 1.0, 0.0, 0.0))
    likely = _true(some, plain)
    if spurious_rate is None:
        spurious_rate = _lowest_share(is_given, likely)
    check_rate(spurious_rate, "spurious_rate")
    top = min(max(round(_TOP * int(is_given.sum())), _FEWEST_TOP), likely.size)
    least = min(1 - float(np.partition(likely, -top)[-top:].mean()), _HIGHEST_RATE)
    weights = _fit(some, is_given, spurious_rate, plain._replace(missing_rate=max(least, _FIRST_RATE)), least)
    true, rate = _true(inputs, weights), weights.missing_rate
    likely = _given(true, rate, spurious_rate)
    missing, spurious = rate * (1 - spurious_rate) * true / (1 - likely), spurious_rate * (1 - true) / likely
    wrong = np.where(given, spurious, missing)
    low, high = max(rate - _ERROR, 0.0), max(min(rate + _ERROR, _HIGHEST_RATE), _highest_rate(given, true))
    kept, added = float((1 - spurious)[given].sum()), float(spurious[given].sum())
    shares = [kept * one / (1 - one) / given.size for one in (low, high)]
    middle = float(wrong.mean())
    bounds = min(shares[0], middle), min(max(shares[1] + added / given.size, middle), 1.0)
    return CellModel(wrong, (rate, low, high), spurious_rate, bounds)


def _lowest_share(given: Bool[np.ndarray, " cells"], likely: Float64[np.ndarray, " cells"]) -> float:
    """How often classes are given that are not true: the share of the least probable tenth of the cells.

    Where the share still rises to the next tenth, true classes are among them: it is lowered by the ratio of the odds.
    """
    count = max(round(_LOWEST * likely.size), 1)
    order = np.argpartition(likely, [count - 1, min(2 * count, likely.size) - 1])
    first, second = given[order[:count]], given[order[count : 2 * count]]
    odds = [float((one.sum() + 0.5) / (len(one) - one.sum() + 0.5)) for one in (first, second)]
    share = float(first.mean()) * min(odds[0] / odds[1], 1.0)
    return 0.0 if share == 1 else share  # no cell shows what is not true


def _given(true: np.ndarray, missing_rate: float, spurious_rate: float) -> np.ndarray:
    """P(given) of cells that are true with the given probabilities."""
    likely = (1 - missing_rate) * true
    return np.asarray(np.clip(likely + spurious_rate * (1 - likely), 1e-9, 1 - 1e-9))


def _true(inputs: Float64[np.ndarray, "two ..."], weights: _Weights) -> Float64[np.ndarray, "..."]:
    return np.asarray(expit(weights.bias + weights.prediction * inputs[0] + weights.others * inputs[1]))


def _fit(
    inputs: Float64[np.ndarray, "two cells"],
    given: Bool[np.ndarray, " cells"],
    spurious_rate: float,
    first: _Weights,
    least_rate: float = 0.0,
) -> _Weights:
    """The weights of the highest likelihood; a first missing rate of 0 is kept."""
    labels = given.astype(np.float64)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = _weights(values, bool(first.missing_rate))
        true = _true(inputs, weights)
        likely = _given(true, weights.missing_rate, spurious_rate)
        value = -float(np.log(np.where(given, likely, 1 - likely)).sum())
        slope = (1 - spurious_rate) * (likely - labels) / (likely * (1 - likely))
        by_logit = slope * (1 - weights.missing_rate) * true * (1 - true)
        by_rate = -float(slope @ true) * weights.missing_rate * (1 - weights.missing_rate)
        gradient = np.array([by_logit.sum(), by_logit @ inputs[0], by_logit @ inputs[1], by_rate])
        # A weak prior, so that separable labels have finite weights.
        gradient[1:3] += weights.prediction - 1, weights.others
        return value + ((weights.prediction - 1) ** 2 + weights.others**2) / 2, gradient

    start = np.array([*first[:3], logit(first.missing_rate) if first.missing_rate else 0.0])
    bounds = [(-30, 30), (0, 30), (-30, 0), (logit(max(least_rate, _SMALLEST)), logit(_HIGHEST_RATE))]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return _weights(found, bool(first.missing_rate))


def _weights(values: Float64[np.ndarray, " 4"], missing: bool) -> _Weights:
    """The weights at a point of the search, which has the logit of the missing rate."""
    bias, prediction, others, rate = values.tolist()
    return _Weights(bias, prediction, others, float(expit(rate)) if missing else 0.0)


def _highest_rate(given: Bool[np.ndarray, "rows classes"], true: Float64[np.ndarray, "rows classes"]) -> float:
    """The share of missing labels if each class were certain where it is most probable (Elkan and Noto, 2008)."""
    counts = given.sum(axis=0)
    missing = 0.0
    for number, count in enumerate(counts.tolist()):
        top = min(max(round(_TOP * count), _FEWEST_TOP), len(given))
        best = np.argpartition(-true[:, number], top - 1)[:top]
        kept = (given[best, number].sum() + 0.5) / (top + 1)
        missing += count * (1 - kept) / kept
    return float(min(missing / max(missing + counts.sum(), 1), _HIGHEST_RATE))


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
