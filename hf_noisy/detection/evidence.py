"""Probabilities of the true labels from features and given labels: predictors weighted by their agreement with labels.

No prediction for a training row uses the row's own label. The same weights choose the class frequencies: each
predictor takes part with equal frequencies, with those of the given labels, and with their geometric mean.
"""

import logging
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, evenly_spaced, row_slices
from hf_noisy.core.checks import check_features, check_labels
from hf_noisy.core.types import Labels
from hf_noisy.detection.agreement import (
    beyond_luck,
    expected_accuracy,
    informed_agreement,
    posterior_given_label,
    with_confidence,
)
from hf_noisy.detection.directions import Directions, directions, directions_by_size, mean_direction
from hf_noisy.detection.likely_transition import likely_transition
from hf_noisy.detection.linear_head import LinearHead, fit_linear_head
from hf_noisy.detection.noise_rate import NoiseRate, rate_from_held_out
from hf_noisy.detection.predictors import LENGTH, held_out_predictions

# Chosen on the development sets of benchmarks/; `leave_one_out --study evidence` has the weight with sets left out.
_WEIGHT = 150.0  # weights are exp(_WEIGHT * agreement)
_PENALTY = 0.002  # of the head
_MAX_FITTED = 200_000  # evenly spaced rows that decide the weights and the head, which bounds the time
UNINFORMED = (
    "the features predict the given labels no better than chance, so wrong labels cannot be found and all are kept; "
    "use an encoder that was trained on such data"
)
TRANSITIONS = ("counted", "likely", "auto")
_WEAK = 0.75  # expected accuracy of predictors that are less often right than the labels of most sets
_RAREST = 1e-6  # least share of a class in an array of frequencies

logger = logging.getLogger(__name__)


class HeadPrediction:
    """Base of the results that have a linear head for other rows."""

    centre: Float64[np.ndarray, " width"]
    head: LinearHead

    def predict(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Probabilities of the true label of other rows, by the head that was fitted to the posterior.

        Args:
            features: `[rows, width]`, of the encoder that the training rows had.

        Returns:
            `[rows, classes]`, sums to 1.

        Raises:
            ValueError: If the features are not finite or of another width.
        """
        return predicted_by_head(self.head, self.centre, features)


@dataclass(frozen=True)
class Evidence(HeadPrediction):
    """The result of [`fit_evidence`].

    Attributes:
        probabilities: `[rows, classes]`, of the true labels of the training rows, each without the row's own label.
        posterior: `[rows, classes]`, the same given the row's own label too.
        transition: `[classes, classes]`, estimated probability of the given label (column) by true label (row).
        weights: Weight of each predictor, summed over class priors; all sum to 1.
        prior_weights: Weight of each class prior, summed over predictors: near 1 if the choice is clear.
        expected_accuracy: Share of the training rows whose most probable class is expected to be the true one.
        noise_rate: Share of labels that are wrong at random, with an interval for all that are wrong.
        centre: `[width]`, mean direction of the training rows.
        head: Linear classifier fitted to the posterior, for other rows.
        informed: Whether the features say something about the labels. If not, the posterior is the given labels, but
            `predict` works all the same.
    """

    probabilities: Float64[np.ndarray, "rows classes"]
    posterior: Float64[np.ndarray, "rows classes"]
    transition: Float64[np.ndarray, "classes classes"]
    weights: dict[str, float]
    prior_weights: dict[str, float]
    expected_accuracy: float
    noise_rate: NoiseRate
    centre: Float64[np.ndarray, " width"]
    head: LinearHead
    informed: bool = True

    @property
    def is_weak(self) -> bool:
        """Whether the features predict so little that a trained encoder may know more."""
        return self.expected_accuracy < _WEAK


def fit_evidence(
    features: Float[np.ndarray, "rows width"],
    labels: Labels,
    *,
    num_classes: int | None = None,
    class_prior: Any = None,
    transition: str = "counted",
    folds: int = 5,
    seed: int = 0,
) -> Evidence:
    """Estimate the true labels of rows from frozen features and given labels, without a true label or a noise rate.

    Class means, logistic regressions and a ridge regression predict each row without its own label and those of its
    copies. Each is combined with each class prior, and weighted by its agreement with the given labels beyond chance
    (adjusted mutual information and Cohen's kappa). A temperature sets the mean confidence to the accuracy that the
    agreement implies.

    Features that predict the given labels no better than chance say nothing about the true ones. This is logged, and
    the given labels are kept.

    Args:
        features: `[rows, width]`, finite, such as those of [`~hf_noisy.models.embed.embed`].
        labels: `[rows]`, given labels.
        num_classes: Number of classes; by default the largest given label plus one.
        class_prior: Frequencies of the true classes: `"uniform"`, `"given"` for those of the given labels, an array
            `[classes]`, or None to weigh uniform, given and their geometric mean.
        transition: How the transition matrix of the posterior is estimated. `"counted"` counts the predictions by
            given label, so weak predictors make every label doubtful. `"likely"` doubts labels only as far as the
            predictors do not explain them: it is the mixture of uniform noise and noise by class under which held-out
            labels are most likely. A few errors among rows that are easy to predict are then left as they are.
            `"auto"` is `"likely"` if the predictors are expected to be right on less than three quarters of the rows.
        folds: Folds of the logistic regressions.
        seed: Seed of the folds.

    Returns:
        [`Evidence`].

    Raises:
        ValueError: If features or labels are invalid, all rows have one label, no label has two rows, or
            `class_prior` or `transition` is none of the above.

    Example:
        >>> true = np.arange(60) % 2
        >>> rows = np.random.default_rng(0).normal(size=(60, 8)) + 4 * np.eye(2, 8)[true]
        >>> given = np.where(np.arange(60) < 15, 1 - true, true)
        >>> evidence = fit_evidence(rows, given)
        >>> float((given == true).mean()), float((evidence.posterior.argmax(1) == true).mean())
        (0.75, 1.0)

    Source: ours; the measures of agreement are by Vinh et al. (2010) and Cohen (1960).
    """
    features = check_features(features)
    labels = check_labels(np.asarray(labels), num_classes, len(features)).astype(np.int64)
    num_classes = int(labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    counts = np.bincount(labels, minlength=num_classes)
    if (counts > 0).sum() < 2 or counts.max() < 2:
        raise ValueError(
            f"labels must hold at least 2 classes, one of them with 2 rows, got {len(labels)} rows of "
            f"{int((counts > 0).sum())} classes; pass more rows"
        )
    if transition not in TRANSITIONS:
        raise ValueError(f"transition must be one of {', '.join(TRANSITIONS)}, got {transition!r}")
    priors = class_priors(class_prior, counts)
    centre = mean_direction(features)
    vectors = directions_by_size(features, centre)
    predictions = held_out_predictions(vectors, labels, num_classes, folds, seed)
    mixed, weights = _mix(list(predictions.values()), priors, labels)
    of_predictors = {name: float(weights[i].sum()) for i, name in enumerate(predictions)}
    of_priors = {name: float(weights[:, j].sum()) for j, name in enumerate(priors)}
    accuracy = expected_accuracy(labels, mixed)
    probabilities = with_confidence(mixed, accuracy)
    is_likely = transition == "likely" or (transition == "auto" and accuracy < _WEAK)
    likely = likely_transition(labels, probabilities, seed) if is_likely else None
    posterior, matrix = posterior_given_label(probabilities, labels, likely)
    evidence = Evidence(
        probabilities=probabilities,
        posterior=posterior,
        transition=matrix,
        weights=of_predictors,
        prior_weights=of_priors,
        expected_accuracy=accuracy,
        noise_rate=rate_from_held_out(labels, probabilities),
        centre=centre,
        head=head_of_posterior(vectors, posterior),
    )
    return evidence if beyond_luck(labels, mixed.argmax(1), num_classes) else _uninformed(evidence, labels, counts)


def _uninformed(evidence: Evidence, labels: Labels, counts: Int64[np.ndarray, " classes"]) -> Evidence:
    """The evidence of features that say nothing: every row keeps its label."""
    logger.warning(UNINFORMED)
    frequencies = counts / len(labels)
    # The head stays: for other rows there is no label to keep, and a network trained on these labels is worse.
    return replace(
        evidence,
        probabilities=np.tile(frequencies, (len(labels), 1)),
        posterior=np.eye(len(counts))[labels],
        transition=np.eye(len(counts)),
        expected_accuracy=float(frequencies.max()),
        noise_rate=NoiseRate(0.0, 0.0, 1.0),
        informed=False,
    )


def class_priors(
    class_prior: Any, counts: Int64[np.ndarray, " classes"]
) -> dict[str, Float64[np.ndarray, " classes"]]:
    """The class priors to weigh, by name, as logarithms."""
    given = np.log(np.maximum(counts, 0.5) / counts.sum())
    known = {"uniform": np.zeros(len(counts)), "between": given / 2, "given": given}
    if class_prior is None:
        return known
    if isinstance(class_prior, str):
        if class_prior not in ("uniform", "given"):
            raise ValueError(f"class_prior must be 'uniform', 'given', an array or None, got {class_prior!r}")
        return {class_prior: known[class_prior]}
    shares = np.asarray(class_prior, dtype=np.float64)
    if shares.shape != given.shape or not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() <= 0:
        raise ValueError(
            f"class_prior must be {len(counts)} frequencies of at least 0, got {class_prior}; pass one per class"
        )
    return {"array": np.log(np.maximum(shares / shares.sum(), _RAREST))}


def _mix(
    predictions: list[list[Float64[np.ndarray, "rows classes"]]],
    priors: dict[str, Float64[np.ndarray, " classes"]],
    labels: Labels,
) -> tuple[Float64[np.ndarray, "rows classes"], Float64[np.ndarray, "predictors priors"]]:
    """The weighted mean of all predictors under all priors, and the weights; draws of a predictor count alike."""
    some = evenly_spaced(np.arange(len(labels)), _MAX_FITTED)

    def agreement(predicted: Float64[np.ndarray, "rows classes"], prior: Float64[np.ndarray, " classes"]) -> float:
        return informed_agreement(labels[some], (predicted[some] + prior).argmax(1))

    agreements = [
        [np.mean([agreement(draw, prior) for draw in draws]) for prior in priors.values()] for draws in predictions
    ]
    weights = np.asarray(softmax(_WEIGHT * np.array(agreements)))
    mixed = np.zeros_like(predictions[0][0])
    for rows in row_slices(len(mixed), mixed.shape[1], ELEMENTS_A_BLOCK):
        for draws, shares in zip(predictions, weights, strict=True):
            for draw, (prior, share) in product(draws, zip(priors.values(), shares, strict=True)):
                mixed[rows] += share / len(draws) * softmax(draw[rows] + prior, axis=1)
    return mixed, weights


def head_of_posterior(vectors: Directions, posterior: Float[np.ndarray, "rows classes"]) -> LinearHead:
    """The linear head for other rows, fitted to the posterior of rows by their directions."""
    rows = evenly_spaced(np.arange(len(posterior)), _MAX_FITTED)
    return fit_linear_head(np.float32(LENGTH) * vectors[rows].astype(np.float32), posterior[rows], _PENALTY)


def predicted_by_head(
    head: LinearHead, centre: Float64[np.ndarray, " width"], features: Float[np.ndarray, "rows _"]
) -> Float64[np.ndarray, "rows classes"]:
    """Probabilities of rows by a head that was fitted to directions from a centre."""
    features = check_features(features)
    if features.shape[1] != len(centre):
        raise ValueError(f"features must have the width {len(centre)} of the fit, got {features.shape[1]}")
    return np.asarray(softmax(head.logits(LENGTH * directions(features, centre)), axis=1))
