"""What a detector of wrong labels returns, and how many of the suspicious ones it flags."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hf_noisy.detection.label_model import LabelPosterior
from hf_noisy.detection.noise_rate import NoiseRate
from hf_noisy.detection.opinions import Opinions


class LabelIssues(NamedTuple):
    """The result of [`find_wrong_labels`].

    Attributes:
        is_wrong: `[rows]` (or `[tokens]`, or `[rows, classes]`), whether the given label is likely wrong.
        quality: `[rows]`, in [0, 1]; the higher, the better the given label.
        suggested: `[rows]`, another class if the label is likely wrong, else the given one.
        noise_rate: The share of wrong labels; it may differ from the share of `is_wrong`.
        opinions: With votes, scores of error and of legitimate disagreement for each row; else None.
    """

    is_wrong: Bool[np.ndarray, " rows"]
    quality: Float64[np.ndarray, " rows"]
    suggested: Int64[np.ndarray, " rows"]
    noise_rate: NoiseRate
    opinions: Opinions | None = None


def most_expected_f1(posterior: LabelPosterior) -> Bool[np.ndarray, " rows"]:
    """The rows to flag for the highest expected F1 (Lipton et al., 2014, Theorem 1), among those that disagree."""
    total = float(posterior.wrong.sum(dtype=np.float64))
    candidates = -np.sort(-posterior.wrong[posterior.disagrees])
    if candidates.size == 0 or total == 0:
        return np.zeros(len(posterior.wrong), dtype=bool)
    expected = np.cumsum(candidates, dtype=np.float64) / (np.arange(1, candidates.size + 1) + total)
    flagged: np.ndarray = posterior.disagrees & (posterior.wrong >= candidates[np.argmax(expected)])
    return flagged
