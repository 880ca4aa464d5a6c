"""Scores of class ids against given and true labels: accuracy by noise, and label accuracy of a relabelling."""

import numpy as np
from jaxtyping import Bool, Integer

from hf_noisy.core.checks import check_label_columns


def accuracy_by_noise(
    predictions: Integer[np.ndarray, " predictions"],
    given_labels: Integer[np.ndarray, " given"],
    clean_labels: Integer[np.ndarray, " clean"],
) -> dict[str, float]:
    """Accuracy against the true labels, separately for rows with a right and with a wrong given label.

    On training rows, a model that memorised everything has accuracy 1 on the first and 0 on the second.

    Args:
        predictions: Predicted class ids, `[rows]`.
        given_labels: Given labels, right or wrong, `[rows]`.
        clean_labels: True labels, `[rows]`.

    Returns:
        `accuracy` over all rows, `accuracy_right_label` and `accuracy_wrong_label` on the rows whose given label is
        right or wrong, `memorised` (share of the latter on which the wrong label is predicted) and `noise_rate` (their
        share of all rows). All in [0, 1]; NaN if there is no such row.

    Raises:
        ValueError: If a column is not one class id per row, or their lengths differ.

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
        "accuracy": _share(hit),
        "accuracy_right_label": _share(hit[~wrong]),
        "accuracy_wrong_label": _share(hit[wrong]),
        "memorised": _share((predictions == given_labels)[wrong]),
        "noise_rate": _share(wrong),
    }


def relabelling_scores(
    new_labels: Integer[np.ndarray, " new"],
    given_labels: Integer[np.ndarray, " given"],
    clean_labels: Integer[np.ndarray, " clean"],
) -> dict[str, float]:
    """Label accuracy before and after, and how many labels were corrected and broken.

    `after - before` is `(corrected - broken) / rows`.

    Args:
        new_labels: Labels after purification, `[rows]`.
        given_labels: Labels before, `[rows]`.
        clean_labels: True labels, `[rows]`.

    Returns:
        `label_accuracy_before` and `label_accuracy_after`, in [0, 1]; the numbers of labels `changed`, `corrected`
        (wrong before, right after), `broken` (right before, wrong after) and `still_wrong` (wrong before and after,
        changed or not).

    Raises:
        ValueError: If a column is not one class id per row, or their lengths differ.

    Example:
        >>> import numpy as np
        >>> new, given, clean = np.array([0, 1, 2, 2]), np.array([0, 0, 2, 1]), np.array([0, 1, 0, 1])
        >>> relabelling_scores(new, given, clean)  # doctest: +NORMALIZE_WHITESPACE
        {'label_accuracy_before': 0.5, 'label_accuracy_after': 0.5, 'changed': 2, 'corrected': 1, 'broken': 1,
         'still_wrong': 1}
    """
    check_label_columns(new_labels=new_labels, given_labels=given_labels, clean_labels=clean_labels)
    before, after = given_labels == clean_labels, new_labels == clean_labels
    return {
        "label_accuracy_before": _share(before),
        "label_accuracy_after": _share(after),
        "changed": int((new_labels != given_labels).sum()),
        "corrected": int((~before & after).sum()),
        "broken": int((before & ~after).sum()),
        "still_wrong": int((~before & ~after).sum()),
    }


def _share(hits: Bool[np.ndarray, " rows"]) -> float:
    """Share of True entries; NaN if there are no entries."""
    return float(np.mean(hits)) if len(hits) else float("nan")
