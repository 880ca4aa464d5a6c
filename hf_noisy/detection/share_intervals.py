"""Intervals for a share of the rows of a dataset, from random samples of checked rows.

The dataset is a finite population: every interval shrinks to a point when all rows are checked.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hf_noisy.data.checked import RANDOM, UNKNOWN, CheckedRows

EXACT = "exact"
PREDICTION_POWERED = "prediction-powered"
_FEWEST = 5  # rows of a sample whose variance is estimated
_ROUNDING = 0.5  # rows
_UNSEEN = 1.0  # rows counted as wrongly predicted though none was drawn


@dataclass(frozen=True)
class Share:
    """A share of rows, with an interval.

    Attributes:
        rate: The estimate, in [0, 1]; NaN if no row tells anything.
        low: Lower end of the interval.
        high: Upper end of the interval.
        method: `"exact"` (from the checked rows alone) or `"prediction-powered"` (the predictions make it narrower).
        checked: Number of rows drawn at random that it is estimated from.
    """

    rate: float
    low: float
    high: float
    method: str
    checked: int


class Sample(NamedTuple):
    """A simple random sample of all rows that were not checked before it was drawn."""

    drawn: Int64[np.ndarray, " drawn"]  # places among the checked rows
    known: Int64[np.ndarray, " known"]  # places of those checked before
    size: int  # rows it was drawn from

    def among(self, inside: Bool[np.ndarray, " checked"], total: int) -> "Sample":
        """The part in some of the rows: of known size, and again a simple random sample of them."""
        known = self.known[inside[self.known]]
        return Sample(self.drawn[inside[self.drawn]], known, total - len(known))

    @property
    def precision(self) -> float:
        """How much it says by its size alone: the inverse variance of an estimated total, up to a factor."""
        drawn = len(self.drawn)
        return drawn / (self.size * max(self.size - drawn, 0.5))


def random_samples(checked: CheckedRows, otherwise: str = "no valid interval") -> list[Sample]:
    """The rows drawn at random, as simple random samples of all rows not checked before; refused if there are none.

    Batches with no other rows checked between their draws are one sample. Other rows of the same batch were not known
    when its random rows were drawn.
    """
    random, samples = np.array(checked.strategy) == RANDOM, []
    if random.any() and len(missing := np.setdiff1d(np.arange(checked.batch.max()), checked.batch)):
        raise ValueError(
            f"{otherwise}: checked rows of draw {checked.batch.max()} are there, but none of draw {missing[0]}; pass "
            "the rows of all draws in one file"
        )
    _warn_of_gaps(checked, random)
    known = drawn = np.empty(0, np.int64)
    for batch in np.unique(checked.batch):
        rows = checked.batch == batch
        drawn = np.concatenate([drawn, np.flatnonzero(rows & random)])
        others = np.flatnonzero(rows & ~random)
        if len(others) and len(drawn):
            samples.append(Sample(drawn, known, checked.num_rows - len(known)))
            known, drawn = np.concatenate([known, drawn, others]), drawn[:0]
        else:
            known = np.concatenate([known, others])
    if len(drawn):
        samples.append(Sample(drawn, known, checked.num_rows - len(known)))
    if not samples:
        why = "it is not known how the rows were chosen"
        if UNKNOWN not in checked.strategy:
            why = f"no checked row was drawn at random, got {', '.join(sorted(set(checked.strategy))) or 'none'}"
        raise ValueError(f"{otherwise}: {why}; check rows drawn by rows_to_check with strategy '{RANDOM}'")
    return samples


def _warn_of_gaps(checked: CheckedRows, random: Bool[np.ndarray, " checked"]) -> None:
    """Warn if the probability with which a draw included its rows does not fit their number."""
    before = 0
    for batch in np.unique(checked.batch):
        rows = checked.batch == batch
        probability, count = checked.probability[rows & random], int((rows & random).sum())
        expected = (probability[0] if count else np.nan) * (checked.num_rows - before)
        if np.isfinite(expected) and abs(expected - count) > _ROUNDING:
            warnings.warn(
                f"{count} of about {expected:.0f} rows of draw {batch} are checked: rows were skipped, or rows were "
                "added or removed since; intervals hold only if that had nothing to do with their labels",
                stacklevel=3,
            )
        before += int(rows.sum())


@cache
def hypergeometric_interval(found: int, drawn: int, size: int, alpha: float) -> tuple[int, int]:
    """Least and largest number of rows with an outcome among `size`, if `found` of `drawn` random ones have it."""
    from scipy.stats import hypergeom

    least, most = found, size - (drawn - found)
    low, high = least, most
    while low < high:  # the least number that makes so many not too unlikely
        middle = (low + high) // 2
        likely = hypergeom.sf(found - 1, size, middle, drawn) >= alpha / 2
        low, high = (low, middle) if likely else (middle + 1, high)
    lowest, high = low, most
    while low < high:
        middle = (low + high + 1) // 2
        likely = hypergeom.cdf(found, size, middle, drawn) >= alpha / 2
        low, high = (middle, high) if likely else (low, middle - 1)
    return lowest, high


def exact_share(sample: Sample, outcome: Bool[np.ndarray, " checked"], total: int, alpha: float) -> Share:
    """The interval from the number of drawn rows with an outcome."""
    found, drawn, known = int(outcome[sample.drawn].sum()), len(sample.drawn), int(outcome[sample.known].sum())
    low, high = hypergeometric_interval(found, drawn, sample.size, alpha)
    rate = (known + sample.size * found / drawn) / total
    return Share(rate, (known + low) / total, (known + high) / total, EXACT, drawn)


class Predictions(NamedTuple):
    """Predicted probabilities of an outcome."""

    checked: Float64[np.ndarray, " checked"]  # of each checked row, without its own checked label
    total: float  # sum over all rows


def powered_share(
    samples: Sequence[Sample],
    outcome: Bool[np.ndarray, " checked"],
    predictions: Predictions,
    total: int,
    alpha: float,
) -> Share | None:
    """The interval from the checked rows and predictions for all rows; None if there are too few rows."""
    from scipy.stats import beta

    samples = [sample for sample in samples if len(sample.drawn) >= _FEWEST]
    if not samples:
        return None
    weights = np.array([sample.precision for sample in samples])
    weights /= weights.sum()
    unseen = _UNSEEN / len(samples)
    estimates = [_regression(sample, outcome, predictions, total, unseen) for sample in samples]
    rate = float(weights @ [estimate for estimate, _ in estimates])
    variance = float(weights**2 @ [variance for _, variance in estimates])
    if not 0 < rate < 1:
        return None
    rows = rate * (1 - rate) / variance  # that would have this variance without predictions
    low = beta.ppf(alpha / 2, rows * rate, rows * (1 - rate) + 1)
    high = beta.ppf(1 - alpha / 2, rows * rate + 1, rows * (1 - rate))
    return Share(rate, float(low), float(high), PREDICTION_POWERED, sum(len(sample.drawn) for sample in samples))


def _regression(
    sample: Sample, outcome: Bool[np.ndarray, " checked"], predictions: Predictions, total: int, unseen: float
) -> tuple[float, float]:
    """The regression estimate of the share, and its variance."""
    drawn, left = len(sample.drawn), sample.size - len(sample.drawn)
    values, predicted = outcome[sample.drawn].astype(np.float64), predictions.checked[sample.drawn]
    centred = predicted - predicted.mean()
    slope = float(np.clip(centred @ values / max(centred @ centred, 1e-12), 0.0, 1.0))
    rest = predictions.total - predictions.checked[sample.known].sum() - predicted.sum()
    others = values.mean() + slope * (rest / max(left, 1) - predicted.mean())
    estimate = (outcome[sample.known].sum() + values.sum() + left * others) / total
    errors = values - values.mean() - slope * centred
    variance = (errors @ errors + unseen) / (drawn - 2) / drawn
    return estimate, variance * sample.size * left / total**2
