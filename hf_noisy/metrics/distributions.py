"""Predictions compared with the opinions of several people: distances of distributions over the classes."""

import numpy as np

from hf_noisy.core.checks import check_labels, check_soft_labels
from hf_noisy.core.types import Labels, Probabilities

_TINY = 1e-12


def soft_cross_entropy(soft_labels: Probabilities, probabilities: Probabilities) -> float:
    """Mean cross-entropy of predictions with soft labels, in nats; the entropy of the soft labels is its minimum.

    Args:
        soft_labels: `[rows, classes]`, such as shares of votes; each row sums to 1.
        probabilities: Predicted probabilities, `[rows, classes]`; each row sums to 1.

    Returns:
        The mean over the rows. A probability of 0 counts as 1e-12.

    Raises:
        ValueError: If an argument is no array of distributions, or the shapes differ.

    Source: Uma et al. (2021), Section 4.3.

    Example:
        >>> round(soft_cross_entropy(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]])), 3)
        0.693
    """
    _check(soft_labels, probabilities)
    return float(-(soft_labels * np.log(np.maximum(probabilities, _TINY))).sum(axis=1).mean())


def manhattan_distance(soft_labels: Probabilities, probabilities: Probabilities) -> float:
    """Mean sum of the absolute differences of predictions and soft labels, from 0 to 2.

    Args:
        soft_labels: `[rows, classes]`, each row sums to 1.
        probabilities: Predicted probabilities, `[rows, classes]`; each row sums to 1.

    Returns:
        The mean over the rows.

    Raises:
        ValueError: As [`soft_cross_entropy`].

    Source: the third edition of Learning With Disagreements (Leonardelli et al., 2025).

    Example:
        >>> manhattan_distance(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]))
        1.0
    """
    _check(soft_labels, probabilities)
    return float(np.abs(soft_labels - probabilities).sum(axis=1).mean())


def distance_weighted_accuracy(labels: Labels, soft_labels: Probabilities, probabilities: Probabilities) -> float:
    """Accuracy in which each row weighs half the Manhattan distance of its soft label from the uniform one, rescaled.

    Rows on which people agree weigh 1, rows on which they are split evenly 0, since no answer is wrong there.

    Args:
        labels: `[rows]`, class ids, such as the majority of the votes.
        soft_labels: `[rows, classes]`, each row sums to 1.
        probabilities: Predicted probabilities, `[rows, classes]`; each row sums to 1.

    Returns:
        The weighted share of the rows whose most probable class is their label; NaN if all rows are split evenly.

    Raises:
        ValueError: As [`soft_cross_entropy`], or if labels are not one class per row.

    Source: ours.

    Example:
        >>> votes = np.array([[1.0, 0.0], [0.5, 0.5]])
        >>> distance_weighted_accuracy(np.array([0, 0]), votes, np.array([[0.9, 0.1], [0.1, 0.9]]))
        1.0
    """
    _check(soft_labels, probabilities)
    check_labels(labels, soft_labels.shape[1], len(soft_labels))
    classes = soft_labels.shape[1]
    weights = np.abs(soft_labels - 1 / classes).sum(axis=1) / (2 - 2 / classes)
    right = probabilities.argmax(axis=1) == labels
    return float((weights * right).sum() / weights.sum()) if weights.sum() > 0 else float("nan")


def _check(soft_labels: Probabilities, probabilities: Probabilities) -> None:
    check_soft_labels(soft_labels)
    check_soft_labels(probabilities, soft_labels.shape[1], len(soft_labels), "probabilities")
