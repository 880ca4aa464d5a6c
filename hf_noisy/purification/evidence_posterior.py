"""The posterior of the evidence as far as the given labels show random errors: the default purifier."""

import logging

import numpy as np
from jaxtyping import Float, Float32, Integer

from hf_noisy.core.checks import check_probabilities, given_classes
from hf_noisy.detection.agreement import expected_accuracy, with_confidence
from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.random_errors import random_error_posterior

CITATION = (
    "Method of hf_noisy; predictors are weighted by adjusted mutual information and kappa. Vinh, N. X., Epps, J., "
    "Bailey, J. (2010). Information Theoretic Measures for Clusterings Comparison. JMLR 11. Cohen, J. (1960). A "
    "Coefficient of Agreement for Nominal Scales. Educational and Psychological Measurement 20."
)
MIN_CONFIDENCE = 0.65  # a new label is about twice as probable as all others together
ONLY_RANDOM = (
    "Only errors that look random are counted and corrected. Errors that the features predict, such as those of "
    "rules, cannot be told from hard rows."
)
NOTHING_BELIEVED = f"No label is overruled, as none is clearly wrong. {ONLY_RANDOM}"
logger = logging.getLogger(__name__)


def evidence_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    num_classes: int | None = None,
    seed: int = 0,
) -> Float32[np.ndarray, "rows classes"]:
    """Posterior from predictions that never saw the row's own label, as far as labels are wrong at random.

    [`~hf_noisy.detection.evidence.fit_evidence`] predicts each row from the other rows. Hard rows contradict
    unconfident predictions, random errors contradict confident ones as often, so the share of random errors is
    estimated together with the temperature of the predictions. Without signs of random errors every row keeps its
    given label: a weak encoder on right labels cannot be told from errors that the features predict.

    Args:
        features: `[rows, width]`, finite.
        labels: `[rows]`, given labels.
        num_classes: Number of classes; by default the largest given label plus one.
        seed: Seed of the folds.

    Returns:
        `[rows, classes]`, each row sums to 1.

    Raises:
        ValueError: If features or labels are invalid, or all rows have one label.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> true = np.arange(400) % 2
        >>> given = np.where(draw.random(400) < 0.2, 1 - true, true)
        >>> posterior = evidence_posterior(draw.normal(size=(400, 8)) + 4 * true[:, None], given)
        >>> float((given == true).mean().round(2)), float((posterior.argmax(1) == true).mean().round(2))
        (0.8, 1.0)

    Source: ours.
    """
    evidence = fit_evidence(features, labels, num_classes=num_classes, seed=seed)
    return _posterior(given_classes(labels)[0], evidence.probabilities)


def believed_posterior(
    labels: Integer[np.ndarray, " rows"], probabilities: Float[np.ndarray, "rows classes"]
) -> Float32[np.ndarray, "rows classes"]:
    """The same from out-of-sample predictions of the given labels, at the confidence that their agreement implies."""
    check_probabilities(labels, probabilities)
    labels, probabilities = given_classes(labels)[0], probabilities.astype(np.float64)
    return _posterior(labels, with_confidence(probabilities, expected_accuracy(labels, probabilities)))


def _posterior(
    labels: Integer[np.ndarray, " rows"], probabilities: Float[np.ndarray, "rows classes"]
) -> Float32[np.ndarray, "rows classes"]:
    posterior = random_error_posterior(labels, probabilities)
    if (posterior.argmax(1) == labels).all():
        logger.warning(NOTHING_BELIEVED)
    return posterior.astype(np.float32)
