"""Accuracy on rows with a right and with a wrong given label."""

import numpy as np
from jaxtyping import Bool, Integer

from hf_noisy.core.checks import check_label_columns


def share(hits: Bool[np.ndarray, " rows"]) -> float:
    """Share of true entries; NaN where there are none to count."""
    return float(np.mean(hits)) if len(hits) else float("nan")


def accuracy_by_noise(
    predictions: Integer[np.ndarray, " predictions"],
    given_labels: Integer[np.ndarray, " given"],
    clean_labels: Integer[np.ndarray, " clean"],
) -> dict[str, float]:
    """Accuracy against the true labels, apart for rows with a right and with a wrong given label.

    On training rows the two tell what the accuracy over all hides: a model that memorised everything has 1 on the
    first and 0 on the second.

    Args:
        predictions: Predicted class ids, `[rows]`.
        given_labels: Given labels, right or wrong, `[rows]`.
        clean_labels: True labels, `[rows]`.

    Returns:
        `accuracy` over all rows, `accuracy_right_label` and `accuracy_wrong_label` on the rows whose given label is
        right or wrong, `memorised` (share of the latter on which the wrong label is predicted) and `noise_rate` (their
        share of all rows). All in [0, 1]; NaN where there is no such row.

    Raises:
        ValueError: If a column is not one class id a row, or their lengths differ.

    Source: the groups of Liu et al. (2020, ELR), Figure 1.

    Example:
        >>> import numpy as np
        >>> scores = accuracy_by_noise(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), np.array([0, 1, 0, 2]))
        >>> {name: round(score, 2) for name, score in scores.items()}  # doctest: +NORMALIZE_WHITESPACE
        {'accuracy': 0.75, 'accuracy_right_label': 1.0, 'accuracy_wrong_label': 0.5, 'memorised': 0.5,
         'noise_rate': 0.5}
    """
    check_label_columns(predictions=predictions, given_labels=given_labels, clean_labels=clean_labels)
    hit, wrong = predictions == clean_labels, given_labels != clean_labels
    return {
        "accuracy": share(hit),
        "accuracy_right_label": share(hit[~wrong]),
        "accuracy_wrong_label": share(hit[wrong]),
        "memorised": share((predictions == given_labels)[wrong]),
        "noise_rate": share(wrong),
    }
