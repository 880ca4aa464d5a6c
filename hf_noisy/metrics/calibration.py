"""Calibration of predicted probabilities: ECE, MCE, Brier score and reliability bins."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.checks import check_probabilities
from hf_noisy.core.types import Labels, Probabilities

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class ReliabilityBins:
    """The result of [`reliability_bins`]: one entry per bin, from the lowest confidence to the highest.

    Attributes:
        confidence: Mean probability of the predicted class, `[bins]`, in [0, 1]; NaN in an empty bin.
        accuracy: Share of rows whose predicted class is their label, `[bins]`, in [0, 1]; NaN in an empty bin.
        count: Number of rows, `[bins]`.
        edges: Boundaries of the bins, `[bins + 1]`.
    """

    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]
    count: Int64[np.ndarray, " bins"]
    edges: Float64[np.ndarray, " bins+1"]


def reliability_bins(
    labels: Labels,
    probabilities: Probabilities,
    num_bins: int = 15,
    binning: Binning = "width",
) -> ReliabilityBins:
    """Confidence and accuracy in bins of equal width or of equal numbers of rows.

    Bin `m` of `M` holds the rows whose confidence, the highest probability of the row, lies in `((m - 1)/M, m/M]`, or,
    with `binning="mass"`, above the quantile `(m - 1)/M` of all confidences and up to the quantile `m/M`. Ties share a
    bin, so bins of equal mass may differ in size, and some may be empty. The predicted class is the first of the most
    probable ones.

    Args:
        labels: Class ids to compare with, `[rows]`, usually true labels.
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        num_bins: Number of bins.
        binning: `"width"` or `"mass"`.

    Returns:
        A [`ReliabilityBins`].

    Raises:
        ValueError: If `probabilities` are not distributions, `labels` are not classes, the shapes do not agree, or
            `binning` is not known.

    Source: Guo et al. (2017), Section 2, Eq. 2; bins of equal mass: Nguyen and O'Connor (2015), Section 4.

    Example:
        >>> import numpy as np
        >>> bins = reliability_bins(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), num_bins=2)
        >>> bins.count.tolist(), round(float(bins.confidence[1]), 3), round(float(bins.accuracy[1]), 3)
        ([0, 3], 0.8, 0.667)
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be width or mass, got {binning!r}")
    check_probabilities(labels, probabilities)
    confidences = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == labels
    # Not multiples of 1/M, which are not the closest floats to k/M: 0.7 would not be in (0.6, 0.7].
    edges = np.arange(num_bins + 1) / num_bins
    if binning == "mass":
        # Quantiles without interpolation, which may miss a row by rounding.
        last = -(-len(labels) * np.arange(1, num_bins + 1) // num_bins) - 1
        ordered = np.sort(confidences)
        edges = np.concatenate([ordered[:1], ordered[last]])
    bin_of_row = np.searchsorted(edges[1:-1], confidences, side="left")
    count = np.bincount(bin_of_row, minlength=num_bins).astype(np.int64)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bin_of_row, weights=confidences, minlength=num_bins) / count
        accuracy = np.bincount(bin_of_row, weights=hits, minlength=num_bins) / count
    return ReliabilityBins(confidence, accuracy, count, edges)


def expected_calibration_error(
    labels: Labels,
    probabilities: Probabilities,
    num_bins: int = 15,
    binning: Binning = "width",
) -> float:
    r"""Mean distance between confidence and accuracy of the bins, weighted by their rows.

    $$\mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|$$

    Args:
        labels: Class ids to compare with, `[rows]`, usually true labels.
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        num_bins: Number of bins. The value depends on it: compare only values with the same number.
        binning: Bins of equal `"width"`, or of equal `"mass"`, which avoids bins with few rows.

    Returns:
        The error, in [0, 1]; 0 is perfect.

    Raises:
        ValueError: As [`reliability_bins`].

    Source: Naeini et al. (2015); Guo et al. (2017), Eq. 3, whose 15 bins are the default.

    Example:
        >>> import numpy as np
        >>> round(expected_calibration_error(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]])), 3)
        0.45
    """
    bins = reliability_bins(labels, probabilities, num_bins, binning)
    filled = bins.count > 0
    gap = np.abs(bins.accuracy[filled] - bins.confidence[filled])
    return float(np.average(gap, weights=bins.count[filled]))


def maximum_calibration_error(
    labels: Labels,
    probabilities: Probabilities,
    num_bins: int = 15,
    binning: Binning = "width",
) -> float:
    r"""Largest distance between confidence and accuracy of a bin.

    $$\mathrm{MCE} = \max_m \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|$$

    With bins of equal width a single row may decide; `binning="mass"` is more robust.

    Args:
        labels: Class ids to compare with, `[rows]`, usually true labels.
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        num_bins: Number of bins.
        binning: Bins of equal `"width"` or equal `"mass"`.

    Returns:
        The error, in [0, 1]; 0 is perfect.

    Raises:
        ValueError: As [`reliability_bins`].

    Source: Naeini et al. (2015); Guo et al. (2017), Eq. 5.

    Example:
        >>> import numpy as np
        >>> round(maximum_calibration_error(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]])), 3)
        0.8
    """
    bins = reliability_bins(labels, probabilities, num_bins, binning)
    return float(np.nanmax(np.abs(bins.accuracy - bins.confidence)))


def brier_score(labels: Labels, probabilities: Probabilities) -> float:
    r"""Mean squared distance between the probabilities and the label as a one-hot vector.

    $$\mathrm{BS} = \frac{1}{n} \sum_{i=1}^{n} \sum_{c=1}^{C} (p_{ic} - [y_i = c])^2$$

    Args:
        labels: Class ids to compare with, `[rows]`, usually true labels.
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.

    Returns:
        The score, in [0, 2], summed over classes as in the source; 0 is perfect. For two classes it is twice the score
        of the positive class alone.

    Raises:
        ValueError: If `probabilities` are not distributions, `labels` are not classes, or the shapes do not agree.

    Source: Brier (1950), Eq. 2.

    Example:
        >>> import numpy as np
        >>> round(brier_score(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]])), 3)
        0.65
    """
    check_probabilities(labels, probabilities)
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(labels)), labels] -= 1
    return float(np.square(distance).sum(axis=1).mean())


def calibration_scores(
    labels: Labels,
    probabilities: Probabilities,
    num_bins: int = 15,
    binning: Binning = "width",
) -> dict[str, float]:
    """The three errors at once: `ece`, `mce` and `brier`.

    Args:
        labels: Class ids to compare with, `[rows]`, usually true labels.
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        num_bins: Number of bins of ECE and MCE.
        binning: Bins of equal `"width"` or equal `"mass"`.

    Returns:
        [`expected_calibration_error`], [`maximum_calibration_error`] and [`brier_score`] by name.

    Raises:
        ValueError: As [`reliability_bins`].

    Example:
        >>> import numpy as np
        >>> scores = calibration_scores(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'ece': 0.45, 'mce': 0.8, 'brier': 0.65}
    """
    return {
        "ece": expected_calibration_error(labels, probabilities, num_bins, binning),
        "mce": maximum_calibration_error(labels, probabilities, num_bins, binning),
        "brier": brier_score(labels, probabilities),
    }
