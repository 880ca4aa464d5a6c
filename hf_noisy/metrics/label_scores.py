"""Label accuracy before and after relabelling."""

import numpy as np
from jaxtyping import Integer

from hf_noisy.core.checks import check_label_columns
from hf_noisy.metrics.noisy_accuracy import share


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
        ValueError: If a column is not one class id a row, or their lengths differ.

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
        "label_accuracy_before": share(before),
        "label_accuracy_after": share(after),
        "changed": int((new_labels != given_labels).sum()),
        "corrected": int((~before & after).sum()),
        "broken": int((before & ~after).sum()),
        "still_wrong": int((~before & ~after).sum()),
    }
