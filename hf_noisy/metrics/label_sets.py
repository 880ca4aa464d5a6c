"""F1 of multi-label predictions, at a threshold of 0.5 and at the best one of given labels."""

import numpy as np
from jaxtyping import Float, Shaped


def multi_label_scores(
    labels: Shaped[np.ndarray, "examples classes"],
    probabilities: Float[np.ndarray, "examples classes"],
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
        ValueError: If the arrays are not of one shape.

    Example:
        >>> multi_label_scores(np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.7, 0.4]]))["micro_f1"]
        0.8
    """
    present, predicted = _checked(labels, probabilities), probabilities > threshold
    both = (present & predicted).sum(0)
    all_of_class = present.sum(0) + predicted.sum(0)
    known = all_of_class > 0
    macro = float((2 * both[known] / all_of_class[known]).mean()) if known.any() else 0.0
    return {"micro_f1": float(2 * both.sum() / max(all_of_class.sum(), 1)), "macro_f1": macro}


def best_threshold(
    labels: Shaped[np.ndarray, "examples classes"], probabilities: Float[np.ndarray, "examples classes"]
) -> float:
    """The threshold with the highest micro F1 on given labels, such as those of a validation set.

    Args:
        labels: `[examples, classes]`, zeros and ones; only what you pass is used.
        probabilities: `[examples, classes]`, in `[0, 1]`.

    Returns:
        The threshold, half-way between two probabilities; 0.5 if no label is present.

    Raises:
        ValueError: If the arrays are not of one shape.

    Example:
        >>> best_threshold(np.array([[1, 0], [1, 0]]), np.array([[0.4, 0.2], [0.3, 0.1]]))
        0.25
    """
    present = _checked(labels, probabilities).ravel()
    if not present.any():
        return 0.5
    order = np.argsort(-probabilities.ravel(), kind="stable")
    ranked = probabilities.ravel()[order].astype(np.float64)
    found = np.cumsum(present[order])
    scores = 2 * found / (np.arange(1, len(order) + 1) + present.sum())
    scores[:-1][ranked[:-1] == ranked[1:]] = -1.0  # equal probabilities are on one side
    best = int(scores.argmax())
    return float((ranked[best] + (ranked[best + 1] if best + 1 < len(ranked) else 0.0)) / 2)


def _checked(
    labels: Shaped[np.ndarray, "examples classes"], probabilities: Float[np.ndarray, "examples classes"]
) -> Shaped[np.ndarray, "examples classes"]:
    if labels.ndim != 2 or labels.shape != probabilities.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            "labels and probabilities must be [examples, classes], the labels of zeros and ones, got "
            f"{labels.shape} and {probabilities.shape}"
        )
    return np.asarray(labels).astype(bool)
