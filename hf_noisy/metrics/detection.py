"""Scores of the detection of wrong given labels."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64


def detection_scores(
    scores: Float[np.ndarray, " rows"],
    wrong: Bool[np.ndarray, " labels"],
    *,
    k: int | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """AUROC, AUPRC, precision at k and F1 of a score for wrong given labels.

    Args:
        scores: `[rows]`, the higher, the more suspicious the given label.
        wrong: Whether the given label is wrong, `[rows]`.
        k: Number of most suspicious rows that are checked; by default the number of wrong labels.
        threshold: F1 flags rows above it; by default the `k` most suspicious rows.

    Returns:
        `auroc` (ties count half), `auprc` (average precision), `precision_at_k`, `f1`, all in [0, 1], and `k`. AUROC
        and AUPRC are NaN if all labels are wrong or all are right.

    Raises:
        ValueError: If the columns differ in length or are empty, a score is not a number, or `k` is out of range.

    Example:
        >>> import numpy as np
        >>> detection_scores(np.array([0.9, 0.2, 0.6, 0.1]), np.array([True, False, False, True]))["auroc"]
        0.5
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    _check(scores, wrong, k)
    num_wrong = int(wrong.sum())
    chosen = num_wrong if k is None else k
    both_kinds = 0 < num_wrong < len(wrong)
    flagged = _weights_of_top(scores, chosen) if threshold is None else (scores > threshold).astype(np.float64)
    return {
        "auroc": float(roc_auc_score(wrong, scores)) if both_kinds else float("nan"),
        "auprc": float(average_precision_score(wrong, scores)) if both_kinds else float("nan"),
        "precision_at_k": precision_at_k(scores, wrong, chosen) if chosen else float("nan"),
        "f1": _f1(flagged, wrong),
        "k": chosen,
    }


def precision_at_k(scores: Float[np.ndarray, " rows"], wrong: Bool[np.ndarray, " labels"], k: int) -> float:
    """Share of wrong labels among the `k` most suspicious rows.

    Rows tied at the cut count in part: the value is the mean over all orders of tied rows.

    Args:
        scores: `[rows]`, the higher, the more suspicious the given label.
        wrong: Whether the given label is wrong, `[rows]`.
        k: Number of rows checked, at least 1.

    Returns:
        The share, in [0, 1].

    Raises:
        ValueError: As [`detection_scores`].

    Example:
        >>> import numpy as np
        >>> precision_at_k(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]), k=2)
        0.75
    """
    _check(scores, wrong, k)
    return float(_weights_of_top(scores, k)[wrong].sum() / k)


def _weights_of_top(scores: Float[np.ndarray, " rows"], k: int) -> Float64[np.ndarray, " rows"]:
    """1 for rows among the top `k`, 0 for others, and an equal part for those tied at the cut."""
    if k == 0:
        return np.zeros(len(scores))
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, at = scores > cut, scores == cut
    weights: Float64[np.ndarray, " rows"] = above + at * ((k - above.sum()) / at.sum())
    return weights


def _f1(flagged: Float64[np.ndarray, " rows"], wrong: Bool[np.ndarray, " rows"]) -> float:
    total = flagged.sum() + wrong.sum()
    # F1 is not defined if no label is wrong and none is flagged.
    return float(2 * flagged[wrong].sum() / total) if total else float("nan")


def _check(scores: Any, wrong: Any, k: int | None) -> None:
    # Zeros and ones for `wrong` would be used as row indices.
    kinds = (("scores", scores, "fiu", "numbers"), ("wrong", wrong, "b", "True and False, such as given != true"))
    for name, column, kind, what in kinds:
        if not isinstance(column, np.ndarray) or column.dtype.kind not in kind:
            got = column.dtype if isinstance(column, np.ndarray) else type(column).__name__
            raise ValueError(f"{name} must be a numpy array of {what}, got {got}")
    if not len(scores) or scores.shape != wrong.shape:
        raise ValueError(
            f"scores and wrong must be of the same rows, at least one, got {len(scores)} and {len(wrong)}"
        )
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"scores must be finite, got {scores[row]} in row {row}")
    if k is not None and not 1 <= k <= len(scores):
        raise ValueError(f"k must be in 1 to {len(scores)}, the number of rows, got {k}")
