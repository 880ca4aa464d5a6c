"""Shares of wrong and of missing tags or classes, from rows that were checked as a whole.

The labels of a row are wrong together, so the rows are the sample and not their labels: the interval is that of
Clopper and Pearson for the number of independent labels with the same variance (Korn and Graubard, 1998). The variance
is that of a ratio of two totals over rows drawn at random.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

_ALPHA = 0.05


def of_whole_rows(
    checked: Int64[np.ndarray, " units"], given: Int64[np.ndarray, " units"], rows: Int64[np.ndarray, " units"]
) -> Int64[np.ndarray, " units"]:
    """The checked labels of rows of which every given label was checked; -1 elsewhere, as where nobody looked.

    Only these teach how other labels are wrong: single labels were chosen because they looked wrong.
    """
    is_open = np.bincount(rows, weights=(checked < 0) & (given >= 0)) > 0
    return np.where(is_open[rows] | (given < 0), -1, checked)


class UnitShare(NamedTuple):
    """A share of tags or cells, with an interval of 95 %.

    Attributes:
        rate: The estimate; NaN if nothing of the kind was checked.
        low: Lower end of the interval.
        high: Upper end of the interval.
        units: How many were checked.
    """

    rate: float
    low: float
    high: float
    units: int


def unit_share(outcome: Bool[np.ndarray, " units"], rows: Int64[np.ndarray, " units"], num_rows: int) -> UnitShare:
    """The share of units with an outcome, from the units of some of `num_rows` rows, `rows` being the row of each."""
    from scipy.stats import beta, t

    units = len(outcome)
    if not units:
        return UnitShare(np.nan, 0.0, 1.0, 0)
    _, row = np.unique(rows, return_inverse=True)
    counts, found = np.bincount(row), np.bincount(row, weights=outcome)
    drawn, rate = len(counts), float(outcome.mean())
    if drawn == num_rows:
        return UnitShare(rate, rate, rate, units)
    apart = found - rate * counts
    variance = (1 - drawn / num_rows) * drawn / max(drawn - 1, 1) * float(apart @ apart) / units**2
    # Rows without any error, or a single row, show no variance: each row then counts as one label.
    independent = float(drawn)
    if variance > 0 and drawn > 1:
        independent = min(rate * (1 - rate) / variance, units)
        independent *= (t.ppf(1 - _ALPHA / 2, max(units - 1, 1)) / t.ppf(1 - _ALPHA / 2, drawn - 1)) ** 2
    hits = rate * independent
    low = float(beta.ppf(_ALPHA / 2, hits, independent - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - _ALPHA / 2, hits + 1, independent - hits)) if hits < independent else 1.0
    return UnitShare(rate, low, high, units)
