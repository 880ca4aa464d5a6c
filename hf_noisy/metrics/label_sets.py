"""F1 of multi-label predictions, at a threshold of 0.5 and at the best one of given labels."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from hf_noisy.core.checks import check_rate


def multi_label_scores(
    labels: Any,
    probabilities: Any,
    threshold: float = 0.5,
) -> dict[str, float]:
    """Micro and macro F1 of the classes whose probability is above a threshold.

    Args:
        labels: `[examples, classes]`, zeros and ones.
        probabilities: `[examples, classes]`, in `[0, 1]`.
        threshold: In `[0, 1]`, such as that of [`best_threshold`].

    Returns:
        `micro_f1`, and `macro_f1` over the classes that some example has or is predicted to have.

    Raises:
        ValueError: If the arrays are not of one shape, or hold other numbers.

    Example:
        >>> multi_label_scores(np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.7, 0.4]]))["micro_f1"]
        0.8
    """
    present, probabilities = _checked(labels, probabilities)
    predicted = probabilities > threshold
    both = (present & predicted).sum(0)
    all_of_class = present.sum(0) + predicted.sum(0)
    known = all_of_class > 0
    macro = float((2 * both[known] / all_of_class[known]).mean()) if known.any() else 0.0
    return {"micro_f1": float(2 * both.sum() / max(all_of_class.sum(), 1)), "macro_f1": macro}


def best_threshold(labels: Any, probabilities: Any, missing_rate: float = 0.0) -> float:
    r"""The threshold with the highest micro F1 on given labels, such as those of a validation set.

    Args:
        labels: `[examples, classes]`, zeros and ones; only what you pass is used.
        probabilities: `[examples, classes]`, in `[0, 1]`.
        missing_rate: Share of the true classes that are not given. A share of $1 - \rho$ of the right predictions then
            counts as right, and F1 of the true labels is highest where
            $2\,\text{right} / ((1 - \rho)\,\text{predicted} + \text{given})$ is, if they are missing at random.

    Returns:
        The threshold, half-way between two probabilities; 0.5 if no label is present.

    Raises:
        ValueError: If the arrays are not of one shape, or hold other numbers, or the rate is not in [0, 1).

    Example:
        >>> best_threshold(np.array([[1, 0], [1, 0]]), np.array([[0.4, 0.2], [0.3, 0.1]]))
        0.25
    """
    table, probabilities = _checked(labels, probabilities)
    check_rate(missing_rate, "missing_rate", "pass the share of classes that are not given")
    present = table.ravel()
    if not present.any():
        return 0.5
    order = np.argsort(-probabilities.ravel(), kind="stable")
    ranked = probabilities.ravel()[order]
    found = np.cumsum(present[order])
    scores = 2 * found / ((1 - missing_rate) * np.arange(1, len(order) + 1) + present.sum())
    scores[:-1][ranked[:-1] == ranked[1:]] = -1.0  # equal probabilities are on one side
    best = int(scores.argmax())
    return float((ranked[best] + (ranked[best + 1] if best + 1 < len(ranked) else 0.0)) / 2)


def _checked(
    labels: Any, probabilities: Any
) -> tuple[Bool[np.ndarray, "examples classes"], Float[np.ndarray, "examples classes"]]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.ndim != 2 or labels.shape != probabilities.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            "labels and probabilities must be [examples, classes], the labels of zeros and ones, got "
            f"{labels.shape} and {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite numbers; train without overflow")
    return labels.astype(bool), probabilities
