"""The rows whose true labels would make a correction by checked rows surest, for all rows together."""

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.blocks import evenly_spaced, row_slices
from hf_noisy.detection.checked_correction import CorrectedLabels, LabelEvidence
from hf_noisy.detection.predictors import LENGTH

_PRECISION = 5.0 / LENGTH**2  # of the prior of the layer; from 2 to 20, it makes little difference
_MAX_TARGETS = 20_000  # the variance is that of so many rows, which bounds the time
_ELEMENTS = 1 << 22  # of a block of rows


def informative_rows(
    evidence: LabelEvidence, corrected: CorrectedLabels, checked_index: Int64[np.ndarray, " checked"], count: int
) -> Int64[np.ndarray, " count"]:
    r"""Choose unchecked rows one by one, each the one that lowers the variance of the predictions most.

    The linear layer of [`~hf_noisy.detection.checked_correction.CheckedCorrection`] has about the covariance
    $C = (\lambda I + \sum_{i\,\mathrm{checked}} d_i x_i x_i^\top)^{-1}$, where $d = 1 - \sum_y p(y \mid x)^2$ is the
    doubt about a row. Checking row $r$ lowers the sum of the variances $\sum_j d_j\,x_j^\top C x_j$ by
    $d_r \sum_j d_j (x_j^\top C x_r)^2 / (1 + d_r\,x_r^\top C x_r)$. So a row is chosen if it is doubtful, unlike the
    checked rows, and like many other doubtful ones. $C$ is updated without the label, so the rows of a batch differ.

    Source: Yu, Bi and Tresp (2006), for logistic regression Schein and Ungar (2007); one covariance for all classes.
    """
    # Without the row's own given label: rows chosen by it would not be typical of how their class is mislabelled.
    probabilities = corrected.model_posterior / corrected.transition[:, evidence.given].T
    probabilities /= probabilities.sum(1, keepdims=True)
    doubt = 1 - np.square(probabilities).sum(1)
    return design_rows(evidence.vectors, doubt, checked_index, count)


def design_rows(
    x: Float64[np.ndarray, "rows width"],
    doubt: Float64[np.ndarray, " rows"],
    checked_index: Int64[np.ndarray, " checked"],
    count: int,
) -> Int64[np.ndarray, " count"]:
    """The unchecked rows that lower the variance most, from a vector and a doubt in [0, 1] of each row."""
    rows = len(x)
    known, targets = x[checked_index], evenly_spaced(np.arange(rows), _MAX_TARGETS)
    covariance = np.linalg.inv(_PRECISION * np.eye(x.shape[1]) + (known.T * doubt[checked_index]) @ known)
    moments = (x[targets].T * doubt[targets]) @ x[targets]
    variance = _quadratic_form(x, covariance)
    reduction = _quadratic_form(x, covariance @ moments @ covariance)  # sum of d_j (x_j C x_r)^2
    unchecked = np.ones(rows, dtype=bool)
    unchecked[checked_index] = False
    chosen = np.empty(count, dtype=np.int64)
    for place in range(count):
        gain = np.where(unchecked, doubt * reduction / (1 + doubt * variance), -np.inf)
        row = chosen[place] = int(gain.argmax())
        unchecked[row] = False
        # What changes with C - weight * direction direction^T.
        direction, weight = covariance @ x[row], doubt[row] / (1 + doubt[row] * variance[row])
        pulled = moments @ direction
        along, across = (x @ np.stack([direction, covariance @ pulled], axis=1)).T
        reduction += weight * along * (weight * (direction @ pulled) * along - 2 * across)
        variance -= weight * along**2
        covariance -= weight * np.outer(direction, direction)
    return chosen


def _quadratic_form(
    x: Float64[np.ndarray, "rows width"], matrix: Float64[np.ndarray, "width width"]
) -> Float64[np.ndarray, " rows"]:
    """X A x^T of each row."""
    blocks = (x[some] for some in row_slices(len(x), x.shape[1], _ELEMENTS))
    return np.concatenate([np.einsum("rw,rw->r", block @ matrix, block) for block in blocks])
