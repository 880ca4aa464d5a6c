"""Which labels to train on, by the rows that a person has checked: the given ones, or a posterior of the true ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import beta

from hf_noisy.core.types import Labels
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.evidence import fit_evidence

CORRECTED = "the correction by checked rows"
GIVEN = "the given labels"
UNCHECKED = {  # by the class prior of `fit_evidence`
    "uniform": "the posterior without checked rows, equal class frequencies",
    "given": "the posterior without checked rows, class frequencies of the given labels",
}
_SURE = 0.9  # probability with which another choice than the correction must be better


@dataclass(frozen=True)
class LabelChoice:
    """The labels that are right most often on the checked rows.

    Attributes:
        best: A key of `accuracy`.
        accuracy: Share of the checked rows that each source of labels gets right, without the row's checked label.
        sure: Probability that `best` is right more often than the next one, from the checked rows where they differ.
        checked: Number of checked rows that were compared.
    """

    best: str
    accuracy: dict[str, float]
    sure: float
    checked: int


def choose_labels(
    features: Float[np.ndarray, "rows width"],
    given: Labels,
    checked_index: Int64[np.ndarray, " checked"],
    checked_labels: Int64[np.ndarray, " checked"],
    *,
    compared: Bool[np.ndarray, " checked"] | None = None,
    num_classes: int | None = None,
    transition: str = "counted",
    seed: int = 0,
) -> LabelChoice:
    """Compare the given labels with posteriors of the true ones on the checked rows; the correction is cross-fitted.

    The correction is taken unless another source is better with a probability of 90 %: with few checked rows the best
    of several is often best by chance.

    Args:
        features: `[rows, width]`, of a frozen encoder.
        given: `[rows]`, given labels.
        checked_index: `[checked]`, the checked rows.
        checked_labels: `[checked]`, their true labels.
        compared: `[checked]`, which of them to compare on; by default all. Rows that were chosen because they are
            doubtful make every source of labels look worse.
        num_classes: Number of classes.
        transition: How the posteriors without checked rows estimate it, see [`fit_evidence`].
        seed: Seed of the folds.

    Returns:
        A [`LabelChoice`].

    Raises:
        ValueError: As [`CheckedCorrection`] and [`fit_evidence`].

    Source: the sign test, as a Beta posterior under a uniform prior.
    """
    classes = num_classes or int(max(given.max(), checked_labels.max())) + 1
    options: dict[str, Any] = {"num_classes": classes, "seed": seed}
    fitted = CheckedCorrection().fit(features, given, checked_index, checked_labels, **options)
    found = {CORRECTED: fitted.held_out.argmax(1), GIVEN: given[checked_index]}
    for prior, name in UNCHECKED.items():
        evidence = fit_evidence(features, given, class_prior=prior, transition=transition, **options)
        found[name] = evidence.posterior[checked_index].argmax(1)
    compared = np.ones(len(checked_index), dtype=bool) if compared is None else compared
    right = {name: (labels == checked_labels)[compared] for name, labels in found.items()}
    accuracy = {name: float(of.mean()) for name, of in right.items()}
    others = sorted((name for name in found if name != CORRECTED), key=lambda name: -accuracy[name])
    rival = others[0]
    sure = _is_better(right[rival], right[CORRECTED])
    if sure < _SURE:
        return LabelChoice(CORRECTED, accuracy, 1 - sure, int(compared.sum()))
    return LabelChoice(rival, accuracy, sure, int(compared.sum()))


def _is_better(one: Bool[np.ndarray, " rows"], other: Bool[np.ndarray, " rows"]) -> float:
    """Probability that the first is right more often where exactly one is right."""
    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    return float(beta.sf(0.5, wins + 1, losses + 1))
