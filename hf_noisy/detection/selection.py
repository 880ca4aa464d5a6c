"""Which labels to change so that at most a promised share of the changes is wrong.

Conformal selection (Jin & Candès, 2023): a change is a hypothesis "this change is wrong". The checked rows whose label
the predictions would change calibrate it: with $n$ of them, of which $W(t)$ have a wrong change at a score of at least
$t$, the p-value of a change with the score $t$ is

$$p(t) = (1 + W(t)) / (n + 1)$$

The Benjamini-Hochberg procedure on the p-values of all changes keeps the expected share of wrong ones among those that
are made at most at the promised level, whatever the predictions are worth. The checked rows must be a random sample,
and each must be scored by a fit without its own checked label.

No p-value is below $1 / (n + 1)$, so few checked rows can guarantee nothing unless most changes are made at once.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from hf_noisy.core.checks import given_classes
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.share_intervals import random_samples

_TAKES_CLASS = ("relabel", "soft")  # policies whose changes are wrong if the most probable class is


@dataclass(frozen=True)
class GuaranteedChanges:
    """Changes of which at most a promised share is wrong.

    Attributes:
        changed: `[rows]`, the unchecked rows to change. Checked rows are not among them: what is right is known there.
        score: `[rows]`, the confidence in the change of each row, 0 where the given label is the most probable one.
        max_wrong: The promised share of wrong changes.
        attainable: The least share that could have been promised for some changes, at best; an estimate.
        calibrating: Number of checked rows that the predictions would change.
        calibrating_wrong: Number of these whose change would be wrong.
    """

    changed: Bool[np.ndarray, " rows"]
    score: Float64[np.ndarray, " rows"]
    max_wrong: float
    attainable: float
    calibrating: int
    calibrating_wrong: int

    def __str__(self) -> str:
        """One sentence on what is guaranteed, or why nothing is."""
        basis = f"{self.calibrating} checked rows that would be changed, {self.calibrating_wrong} of them wrongly"
        if self.changed.any():
            return f"{self.changed.sum()} changes, at most {self.max_wrong:.0%} of them wrong on average ({basis})"
        return (
            f"no change can be guaranteed with so few checked rows: a share of {self.max_wrong:.0%} was asked, about "
            f"{self.attainable:.0%} is the least possible ({basis})"
        )


def guaranteed_changes(
    given: Labels,
    checked: CheckedRows,
    posterior: Float[np.ndarray, "rows classes"],
    held_out: Float[np.ndarray, "checked classes"],
    max_wrong: float,
    policy: str = "relabel",
) -> GuaranteedChanges:
    """Choose the rows whose label may be changed, so that the expected share of wrong changes is at most `max_wrong`.

    Candidates are the rows whose most probable class is not the given one. To `relabel` a row is wrong if its true
    label is another one than the most probable class (`soft` too); to `drop`, `flag` or `weight` it is wrong if its
    given label is right.

    Args:
        given: `[rows]`, given labels.
        checked: The checked rows and how they were drawn. Those drawn at random calibrate.
        posterior: `[rows, classes]`, probabilities of the true label given the row's given label too, such as
            `model_posterior` of `CorrectedLabels`.
        held_out: `[checked, classes]`, the same for the checked rows, each without its own checked label.
        max_wrong: Largest expected share of wrong changes, in (0, 1).
        policy: As in [`~hf_noisy.purification.purify`].

    Returns:
        [`GuaranteedChanges`], perhaps of no row.

    Raises:
        ValueError: If an argument is out of range or does not fit, or no checked row was drawn at random.

    Example:
        >>> true = np.arange(1000) % 2
        >>> given = np.where(np.arange(1000) < 400, 1 - true, true)
        >>> posterior = np.full((1000, 2), 0.1)
        >>> posterior[np.arange(1000), true] = 0.9
        >>> rows = np.arange(0, 1000, 10)
        >>> checked = CheckedRows(rows, true[rows], ["random"] * 100, np.full(100, 0.1), np.zeros(100, int), 1000)
        >>> str(guaranteed_changes(given, checked, posterior, posterior[rows], 0.1))
        '360 changes, at most 10% of them wrong on average (40 checked rows that would be changed, 0 of them wrongly)'
        >>> str(guaranteed_changes(given, checked, posterior, posterior[rows], 0.02))[:52]
        'no change can be guaranteed with so few checked rows'

    Source: Jin & Candès, "Selection by prediction with conformal p-values", JMLR 2023.
    """
    if not 0 < max_wrong < 1:
        raise ValueError(f"max_wrong must be above 0 and below 1, got {max_wrong}; 0.1 means 10 % of the changes")
    scores = np.array(posterior, dtype=np.float64)
    labels = given_classes(given, scores.shape[1], "given")[0]
    if len(labels) != checked.num_rows or len(scores) != checked.num_rows:
        raise ValueError(f"given and posterior must have {checked.num_rows} rows, got {len(labels)} and {len(scores)}")
    scores[checked.index] = held_out
    rows, best = np.arange(len(labels)), scores.argmax(1)
    takes_class = policy in _TAKES_CLASS
    score = scores.max(1) if takes_class else 1 - scores[rows, labels]
    score[best == labels] = 0.0
    right = best[checked.index] == checked.labels if takes_class else labels[checked.index] != checked.labels
    sample = max(random_samples(checked, "no guarantee"), key=lambda sample: sample.precision)
    # What the sample was drawn from, without it: also rows that were checked later, as if nobody had. They are changed
    # rightly in the end, which only lowers the share of wrong changes.
    others = np.ones(len(labels), dtype=bool)
    others[checked.index[sample.known]] = others[checked.index[sample.drawn]] = False
    drawn = score[checked.index[sample.drawn]]
    calibrating = drawn > 0
    wrong = drawn[calibrating & ~right[sample.drawn]]
    lowest, attainable = _lowest_score(score[others & (score > 0)], wrong, int(calibrating.sum()), max_wrong)
    changed = others & (score >= lowest)
    changed[checked.index] = False
    return GuaranteedChanges(changed, score, max_wrong, attainable, int(calibrating.sum()), len(wrong))


def _lowest_score(
    scores: Float64[np.ndarray, " candidates"], wrong: Float64[np.ndarray, " _"], calibrating: int, max_wrong: float
) -> tuple[float, float]:
    """The lowest score of the changes that the Benjamini-Hochberg procedure makes, and the least share it can promise.

    Of all changes with a score of at least t, a share m p(t) / R(t) is wrong at most, for R(t) of m candidates.
    """
    if not len(scores):
        return np.inf, 1.0
    thresholds, chosen = np.unique(scores, return_counts=True)
    chosen = chosen[::-1].cumsum()[::-1]
    above = len(wrong) - np.searchsorted(np.sort(wrong), thresholds)
    shares = len(scores) * (1 + above) / (calibrating + 1) / chosen
    promised = thresholds[shares <= max_wrong]
    return float(promised[0]) if len(promised) else np.inf, float(min(shares.min(), 1.0))
