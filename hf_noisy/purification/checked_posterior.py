"""The posterior of the correction with checked rows: the default purifier where there are any."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer

from hf_noisy.core.checks import check_features, given_classes
from hf_noisy.data.checked import UNCHECKED, checked_column
from hf_noisy.detection.checked_correction import CheckedCorrection

CITATION = (
    "Method of hf_noisy: a logistic regression on checked rows, with what the given labels teach as its offset. "
    "McCullagh, P., Nelder, J. A. (1989). Generalized Linear Models. Chapman and Hall."
)


def checked_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    checked: Any,
    num_classes: int | None = None,
    seed: int = 0,
) -> Float32[np.ndarray, "rows classes"]:
    """Posterior of [`~hf_noisy.detection.checked_correction.CheckedCorrection`], with held-out ones of checked rows.

    Args:
        features: `[rows, width]`, finite.
        labels: `[rows]`, given labels.
        checked: `[rows]`, the class that a person found, -1 where nobody looked, or
            [`~hf_noisy.data.checked.CheckedRows`].
        num_classes: Number of classes; by default the largest given label plus one.
        seed: Seed of the folds.

    Returns:
        `[rows, classes]`, each row sums to 1. That of a checked row is by a fit without its checked label, so that it
        shows how good the others are; `purify` replaces it by the checked label.

    Raises:
        ValueError: If an array is invalid, or no row was checked.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> true = np.arange(400) % 2
        >>> given = np.where(draw.random(400) < 0.4, 1 - true, true)
        >>> features = draw.normal(size=(400, 8)) + 4 * true[:, None]
        >>> posterior = checked_posterior(features, given, checked=np.where(np.arange(400) < 50, true, -1))
        >>> float((given == true).mean().round(2)), bool((posterior.argmax(1) == true).mean() > 0.95)
        (0.64, True)

    Source: ours.
    """
    labels, num_classes = given_classes(labels, num_classes)
    column = checked_column(checked, len(labels), num_classes)
    index = np.flatnonzero(column != UNCHECKED)
    corrected = CheckedCorrection().fit(
        check_features(features), labels, index, column[index], num_classes=num_classes, seed=seed
    )
    posterior = corrected.model_posterior.astype(np.float32)
    posterior[index] = corrected.held_out
    return posterior
