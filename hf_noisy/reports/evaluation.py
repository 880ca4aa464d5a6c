"""Accuracy and calibration on the test set, by epoch of training and by stage of a method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.metrics.calibration import expected_calibration_error


def score_epochs(
    labels: Integer[np.ndarray, " _"] | None, probabilities: Float[np.ndarray, "epochs branches rows classes"]
) -> dict[str, Any]:
    """Accuracy after every epoch, and calibration after the last.

    The best epoch is chosen by the true labels of the test set: its accuracy is for comparison with papers that report
    it, not for model selection.

    Args:
        labels: `[rows]`, true labels; None if they are not known, which makes every score None.
        probabilities: Predictions after each epoch, `[epochs, branches, rows, classes]`; a network without branches
            has one. The mean over branches is scored.

    Returns:
        `test_accuracy_last`, `test_accuracy_best`, `test_ece_last` in `[0, 1]`, `test_accuracy_by_epoch` as a list,
        and `test_accuracy_of_branches` as a list for the last epoch.

    Raises:
        ValueError: As [`~hf_noisy.metrics.expected_calibration_error`].

    Example:
        >>> early, late = [[0.9, 0.1], [0.2, 0.8]], [[0.75, 0.25], [0.75, 0.25]]
        >>> scores = score_epochs(np.array([0, 1]), np.array([[early], [late]]))
        >>> scores["test_accuracy_last"], scores["test_accuracy_best"], scores["test_ece_last"]
        (0.5, 1.0, 0.25)
    """
    names = ("last", "best", "by_epoch", "of_branches")
    if labels is None:
        return {**{f"test_accuracy_{name}": None for name in names}, "test_ece_last": None}
    ensemble = probabilities.mean(axis=1)
    by_epoch = (ensemble.argmax(-1) == labels).mean(-1).tolist()
    of_branches = (probabilities[-1].argmax(-1) == labels).mean(-1).tolist()
    scores = zip(names, (by_epoch[-1], max(by_epoch), by_epoch, of_branches), strict=True)
    return {
        **{f"test_accuracy_{name}": value for name, value in scores},
        "test_ece_last": expected_calibration_error(labels, ensemble[-1]),
    }


def score_stages(
    labels: Integer[np.ndarray, " _"] | None, predictions: Mapping[str, Float[np.ndarray, "_ _"]]
) -> dict[str, dict[str, float | None]]:
    """Accuracy and expected calibration error of every stage.

    Args:
        labels: `[rows]`, true labels; None if they are not known, which makes every score None.
        predictions: Probabilities `[rows, classes]` by the name of the stage.

    Returns:
        `{stage: {"accuracy": ..., "ece": ...}}`, both in `[0, 1]`.

    Example:
        >>> score_stages(np.array([0, 1]), {"DyGEN": np.array([[0.75, 0.25], [0.25, 0.75]])})
        {'DyGEN': {'accuracy': 1.0, 'ece': 0.25}}
    """
    if labels is None:
        return {name: {"accuracy": None, "ece": None} for name in predictions}
    return {
        name: {
            "accuracy": float((probabilities.argmax(1) == labels).mean()),
            "ece": expected_calibration_error(labels, probabilities),
        }
        for name, probabilities in predictions.items()
    }


def stage_table(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    """The scores of [`score_stages`] as text, one line per stage; unknown scores are dashes.

    Example:
        >>> print(stage_table({"DyGEN": {"accuracy": 0.5, "ece": None}}))
                        accuracy     ece
        DyGEN              0.500       -
    """
    lines = [f"{'':16}{'accuracy':>8}{'ece':>8}"]
    for name, score in scores.items():
        shown = ["-" if value is None else f"{value:.3f}" for value in (score["accuracy"], score["ece"])]
        lines.append(f"{name:16}{shown[0]:>8}{shown[1]:>8}")
    return "\n".join(lines)
