"""Wrong cells of sets of classes: classes that are missing, and classes that are given but not true."""

from typing import Any

import numpy as np

from hf_noisy.detection.cell_model import fit_cell_model
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.noise_rate import rate_of_cells


def find_wrong_cells(labels: Any, probabilities: Any, spurious_rate: float | None = None) -> LabelIssues:
    """Find missing and spurious classes from out-of-sample probabilities.

    The quality of a cell (row, class) is the probability that it is right, by the model of
    [`hf_noisy.detection.cell_model`][]. The cells are flagged that maximise the expected F1, if
    their odds of being wrong are at least twice those of the mean.

    Args:
        labels: `[rows, classes]`, zeros and ones: the given sets.
        probabilities: `[rows, classes]`, each class for itself (sigmoid), of models that did not train on the row.
        spurious_rate: P(given | not true), where it is known; by default it is counted among the least probable tenth
            of the cells.

    Returns:
        [`LabelIssues`] of all cells: `[rows, classes]` each; `suggested` holds zeros and ones.

    Raises:
        ValueError: If the arguments are of other shapes, or hold no zeros and ones, or no probabilities.

    Source: ours; that labels are missing whatever the features is the assumption of Elkan and Noto (2008), the
    threshold of the highest expected F1 is by Lipton et al. (2014).

    Example:
        >>> given = np.tile([[1, 0], [0, 1]], (50, 1))
        >>> probabilities = np.where(given == 1, 0.9, 0.1)
        >>> given[0, 0] = 0
        >>> issues = find_wrong_cells(given, probabilities)
        >>> int(issues.quality.argmin()), issues.suggested[0].tolist()
        (0, [1, 0])
    """
    model = fit_cell_model(labels, probabilities, spurious_rate)
    wrong, given = model.wrong, np.asarray(labels, dtype=np.int64)
    found = _most_expected_f1(wrong)
    return LabelIssues(found, 1 - wrong, np.where(found, 1 - given, given), rate_of_cells(model))


def _most_expected_f1(wrong: np.ndarray) -> np.ndarray:
    """The cells to flag for the highest expected F1, among those whose odds are twice those of the mean."""
    ordered = -np.sort(-wrong, axis=None)
    expected = np.cumsum(ordered) / (np.arange(1, ordered.size + 1) + ordered.sum())
    threshold = ordered[int(np.argmax(expected))]
    # Where no cell stands out, the highest expected F1 would flag all.
    mean = float(wrong.mean())
    return np.asarray((wrong >= threshold) & (wrong > 2 * mean / (1 + mean)))
