"""What each stage of a method reached, as numbers and as a small table."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.metrics.calibration import expected_calibration_error


def score_stages(
    predictions: Mapping[str, Float[np.ndarray, "_ _"]], labels: Integer[np.ndarray, " _"] | None
) -> dict[str, dict[str, float | None]]:
    """Accuracy and expected calibration error of every stage.

    Args:
        predictions: Probabilities `[rows, classes]` by the name of the stage.
        labels: `[rows]`, true labels; None where they are not known, which makes every score None.

    Returns:
        `{stage: {"accuracy": ..., "ece": ...}}`, both in `[0, 1]`.

    Example:
        >>> score_stages({"DyGEN": np.array([[0.75, 0.25], [0.25, 0.75]])}, np.array([0, 1]))
        {'DyGEN': {'accuracy': 1.0, 'ece': 0.25}}
    """
    if labels is None:
        return {name: {"accuracy": None, "ece": None} for name in predictions}
    return {
        name: {
            "accuracy": float((probabilities.argmax(1) == labels).mean()),
            "ece": expected_calibration_error(probabilities, labels),
        }
        for name, probabilities in predictions.items()
    }


def stage_table(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    """The scores as text, a line a stage.

    Args:
        scores: What `score_stages` returned.

    Returns:
        The table; a score that is not known is a dash.

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
