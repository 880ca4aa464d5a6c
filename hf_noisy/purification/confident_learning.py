"""Confident learning as a posterior: out-of-fold predictions, a transition matrix, and Bayes' rule."""

import numpy as np
from jaxtyping import Float, Float32, Integer

from hf_noisy.core.checks import check_features, check_probabilities, given_classes
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.transition_matrix import confident_transition_matrix

CITATION = (
    "Northcutt, C., Jiang, L., Chuang, I. (2021). Confident Learning: Estimating Uncertainty in Dataset Labels. "
    "Journal of Artificial Intelligence Research 70."
)
_ROUNDS = 30
_TINY = 1e-12


def confident_posterior(
    labels: Integer[np.ndarray, " rows"],
    probabilities: Float[np.ndarray, "rows classes"],
    *,
    num_classes: int | None = None,
) -> Float32[np.ndarray, "rows classes"]:
    r"""Posterior from out-of-sample predictions of the given label, by the transition matrix of confident learning.

    Confident learning estimates $T_{jk} = P(\text{given} = k \mid \text{true} = j)$. A model fitted on noisy labels
    predicts these, $p(k \mid x) = \sum_j q(j \mid x)\, T_{jk}$. The $q$ of maximum likelihood is found by expectation
    maximisation, and

    $$P(\text{true} = j \mid x, \text{given} = k) \propto q(j \mid x)\, T_{jk}$$

    Noise is assumed to depend on the true class alone. Classes without a given label have probability 0.

    Source: T by Northcutt et al. (2021), Eq. 1 to 3; the posterior is ours, theirs prunes or ranks rows.
    """
    labels, _ = given_classes(labels)
    check_probabilities(labels, probabilities)
    present, renumbered = _present(labels)
    kept = probabilities[:, present].astype(np.float64) + _TINY
    found = _invert(renumbered, kept / kept.sum(axis=1, keepdims=True))
    return _widened(found, present, max(probabilities.shape[1], num_classes or 0))


def cross_validated_posterior(
    features: Float[np.ndarray, "rows width"],
    labels: Integer[np.ndarray, " rows"],
    *,
    num_classes: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Float32[np.ndarray, "rows classes"]:
    """[`confident_posterior`] of the out-of-fold predictions of a logistic regression on the features.

    Args:
        features: `[rows, width]`, finite.
        labels: `[rows]`, given labels.
        num_classes: Number of classes; by default the largest given label plus one.
        folds: Folds of the cross-validation, at least 2.
        seed: Seed of the folds.

    Returns:
        `[rows, classes]`, each row sums to 1.

    Raises:
        ValueError: If an argument is out of range, or features or labels are invalid.

    Example:
        >>> features = np.repeat(np.eye(2), 10, axis=0)
        >>> labels = np.array([0] * 9 + [1] * 11)
        >>> int(cross_validated_posterior(features, labels)[9].argmax())
        0
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}; 5 is a usual choice")
    features = check_features(features)
    labels, num_classes = given_classes(labels, num_classes)
    present, renumbered = _present(labels)
    predicted = out_of_fold_probabilities(features, renumbered, folds=folds, seed=seed)
    return _widened(_invert(renumbered, predicted), present, num_classes)


def _present(labels: Integer[np.ndarray, " rows"]) -> tuple[Integer[np.ndarray, " _"], Integer[np.ndarray, " rows"]]:
    """The classes among the given labels, and the labels renumbered by them."""
    present, renumbered = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise ValueError(f"labels must hold at least 2 classes, got class {', '.join(map(str, present))} alone")
    return present, renumbered


def _invert(
    labels: Integer[np.ndarray, " rows"], predicted: Float[np.ndarray, "rows classes"]
) -> Float32[np.ndarray, "rows classes"]:
    """P(true | row, given); every class must have a given label."""
    transition = confident_transition_matrix(labels, predicted)
    true = np.full(predicted.shape, 1.0 / predicted.shape[1])
    # The inverse of the matrix could give negative probabilities.
    for _ in range(_ROUNDS):
        true = true * ((predicted / (true @ transition + _TINY)) @ transition.T)
    posterior = true * transition[:, labels].T + _TINY
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True), dtype=np.float32)


def _widened(
    posterior: Float32[np.ndarray, "rows present"], present: Integer[np.ndarray, " present"], num_classes: int
) -> Float32[np.ndarray, "rows classes"]:
    wide = np.zeros((len(posterior), num_classes), dtype=np.float32)
    wide[:, present] = posterior
    return wide
