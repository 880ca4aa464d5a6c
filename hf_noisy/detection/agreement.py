"""Agreement of held-out predictions with the given labels, and the accuracy and posterior that it implies."""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax, softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, evenly_spaced, row_slices
from hf_noisy.core.types import Labels

_MOST_CONFIDENT = 0.1  # share of the rows on which random noise is measured
_FEWEST_CONFIDENT = 100  # the rate of fewer rows would be too uncertain
INFORMED = 0.02  # agreement beyond chance below which features say too little about the labels
_DEVIATIONS = 3.0  # of agreement by chance; shuffled labels of 14 settings passed once in 56 draws
_TINY = 1e-12
_MAX_SCALED = 100_000  # evenly spaced rows that decide a temperature, which bounds the time
_HIGHEST = 0.98  # no higher accuracy is expected


def informed_agreement(labels: Labels, predicted: Labels) -> float:
    """Mean of adjusted mutual information (Vinh et al., 2010) and Cohen's kappa: 0 by chance, 1 at most.

    Both discount the agreement that always predicting a frequent class would have. The first rewards predictions that
    distinguish many classes, the second those that match.
    """
    from sklearn.metrics import adjusted_mutual_info_score, cohen_kappa_score

    return float(adjusted_mutual_info_score(labels, predicted) + cohen_kappa_score(labels, predicted)) / 2


def beyond_luck(labels: Labels, predicted: Labels, num_classes: int) -> bool:
    """Whether predictions agree with the given labels by more than the luck of the best of several predictors."""
    # The standard deviation of kappa by chance is about 1 / sqrt(rows (classes - 1)); it is half of the agreement.
    luck = _DEVIATIONS / 2 / np.sqrt(max(len(labels) * (num_classes - 1), 1))
    return informed_agreement(labels, predicted) > max(INFORMED, float(luck))


def random_noise(labels: Labels, probabilities: Float[np.ndarray, "rows classes"]) -> float:
    """Share of the given labels that differ from the most confident predictions."""
    # Few of these rows are hard, or have noise that the features predict: what differs there is random noise.
    rows = most_confident(probabilities)
    return float((probabilities[rows].argmax(1) != labels[rows]).mean())


def most_confident(probabilities: Float[np.ndarray, "rows classes"]) -> Int64[np.ndarray, " confident"]:
    """The tenth of the rows with the most confident predictions, but at least 100 rows."""
    count = max(round(_MOST_CONFIDENT * len(probabilities)), _FEWEST_CONFIDENT)
    return np.argsort(-probabilities.max(1), kind="stable")[:count]


def expected_accuracy(labels: Labels, probabilities: Float[np.ndarray, "rows classes"]) -> float:
    """The accuracy of predictions on true labels that their agreement with the given labels implies.

    If a share r of the labels is replaced by any of the c - 1 others, predictions of accuracy a agree with
    a (1 - r) + (1 - a) r / (c - 1) of the given labels.
    """
    classes = probabilities.shape[1]
    rate = random_noise(labels, probabilities)
    by_chance = rate / (classes - 1)
    agreement = float((probabilities.argmax(1) == labels).mean())
    accuracy = (agreement - by_chance) / max(1 - rate - by_chance, 0.05)
    return float(np.clip(accuracy, 1 / classes + 0.02, _HIGHEST))


def with_confidence(
    probabilities: Float64[np.ndarray, "rows classes"], confidence: float
) -> Float64[np.ndarray, "rows classes"]:
    """The probabilities at the temperature at which their maximum is `confidence` on average."""
    from scipy.optimize import brentq

    some = np.log(evenly_spaced(probabilities, _MAX_SCALED) + _TINY)

    def excess(log_scale: float) -> float:
        return float(softmax(np.exp(log_scale) * some, axis=1).max(1).mean()) - confidence

    lowest, highest = -3.0, 4.0
    if excess(lowest) > 0:
        scale = lowest
    elif excess(highest) < 0:
        scale = highest
    else:
        scale = brentq(excess, lowest, highest, xtol=1e-3)
    scaled = np.empty_like(probabilities)
    for rows in row_slices(len(probabilities), probabilities.shape[1], ELEMENTS_A_BLOCK):
        logs = np.exp(scale) * np.log(probabilities[rows] + _TINY)
        scaled[rows] = np.exp(log_softmax(logs, axis=1))
    return scaled


def posterior_given_label(
    probabilities: Float64[np.ndarray, "rows classes"],
    labels: Labels,
    transition: Float64[np.ndarray, "classes classes"] | None = None,
) -> tuple[Float64[np.ndarray, "rows classes"], Float64[np.ndarray, "classes classes"]]:
    """Posterior of the true label given the row's label too, and the transition matrix `T[true, given]`.

    Without a matrix it is counted once, from probabilities without the row's own label.
    """
    if transition is None:
        classes = probabilities.shape[1]
        # A pseudo-count of one row per class keeps rare classes finite.
        counts = probabilities.T @ np.eye(classes)[labels] + 1.0 / classes
        transition = counts / counts.sum(1, keepdims=True)
    posterior = probabilities * transition[:, labels].T
    return posterior / np.maximum(posterior.sum(1, keepdims=True), _TINY), transition
