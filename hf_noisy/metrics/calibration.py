"""Whether a classifier that says 80% is right in 80% of the cases."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

# Wide enough for rows normalised in float16, narrow enough to catch logits and unnormalised scores.
_ROW_SUM_TOLERANCE = 5e-3


@dataclass(frozen=True)
class ReliabilityBins:
    """What [`reliability_bins`] returns: one entry a bin, from the lowest confidence to the highest.

    Attributes:
        confidence: Mean probability of the predicted class, `[bins]`, in [0, 1]; NaN in an empty bin.
        accuracy: Share of rows whose predicted class is their label, `[bins]`, in [0, 1]; NaN in an empty bin.
        count: Number of rows, `[bins]`.
    """

    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]
    count: Int64[np.ndarray, " bins"]


def reliability_bins(
    probabilities: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"], num_bins: int = 15
) -> ReliabilityBins:
    """Confidence and accuracy in bins of equal width.

    Bin `m` of `M` holds the rows whose confidence, the highest probability of the row, lies in `((m - 1)/M, m/M]`. Of
    classes that share the highest probability, the first is the predicted one.

    Args:
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        labels: Class ids to compare with, `[rows]`: true labels, as a rule.
        num_bins: Number of bins over [0, 1].

    Returns:
        A [`ReliabilityBins`].

    Raises:
        ValueError: If `probabilities` are not distributions, `labels` are not classes, or the shapes do not agree.

    Source: Guo et al. (2017), Section 2, Eq. 2.

    Example:
        >>> import numpy as np
        >>> bins = reliability_bins(np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 1, 1]), num_bins=2)
        >>> bins.count.tolist(), round(float(bins.confidence[1]), 3), round(float(bins.accuracy[1]), 3)
        ([0, 3], 0.8, 0.667)
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    _check(probabilities, labels)
    confidences = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == labels
    # The quotients k/M are the closest floats to the edges; multiples of 1/M are not, and 0.7 would leave (0.6, 0.7].
    inner_edges = np.arange(1, num_bins) / num_bins
    bin_of_row = np.searchsorted(inner_edges, confidences, side="left")
    count = np.bincount(bin_of_row, minlength=num_bins).astype(np.int64)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bin_of_row, weights=confidences, minlength=num_bins) / count
        accuracy = np.bincount(bin_of_row, weights=hits, minlength=num_bins) / count
    return ReliabilityBins(confidence, accuracy, count)


def expected_calibration_error(
    probabilities: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"], num_bins: int = 15
) -> float:
    r"""Mean distance between confidence and accuracy, a row's distance being that of its bin.

    $$\mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|$$

    Args:
        probabilities: Predicted probabilities, `[rows, classes]`, each row sums to 1.
        labels: Class ids to compare with, `[rows]`: true labels, as a rule.
        num_bins: Number of bins of equal width. The value depends on it: compare only at the same number.

    Returns:
        The error, in [0, 1]; 0 is perfect.

    Raises:
        ValueError: As [`reliability_bins`].

    Source: Naeini et al. (2015); Guo et al. (2017), Eq. 3, whose 15 bins are the default.

    Example:
        >>> import numpy as np
        >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0])), 3)
        0.45
    """
    bins = reliability_bins(probabilities, labels, num_bins)
    filled = bins.count > 0
    gap = np.abs(bins.accuracy[filled] - bins.confidence[filled])
    return float(np.average(gap, weights=bins.count[filled]))


def _check(probabilities: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " other"]) -> None:
    if probabilities.ndim != 2 or not probabilities.size:
        raise ValueError(f"probabilities must be [rows, classes] with at least one row, got {probabilities.shape}")
    num_rows, num_classes = probabilities.shape
    if labels.shape != (num_rows,):
        raise ValueError(f"labels must be one class id for each of the {num_rows} rows, got shape {labels.shape}")
    if not np.isfinite(probabilities).all():
        row = int(np.argmin(np.isfinite(probabilities).all(axis=1)))
        raise ValueError(f"probabilities must be finite, got NaN or infinity in row {row}")
    if probabilities.min() < 0:
        raise ValueError(f"probabilities must not be negative, got {probabilities.min()}; pass softmax(logits)")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    row = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[row] - 1) > _ROW_SUM_TOLERANCE:
        raise ValueError(f"probabilities must sum to 1 in each row, got {sums[row]:.4g} in row {row}")
    if labels.min() < 0 or labels.max() >= num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"labels must be classes 0 to {num_classes - 1}, got {wrong}")
