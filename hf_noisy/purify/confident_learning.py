"""Confident learning as a posterior: out-of-fold predictions, a transition matrix, and Bayes' rule."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Integer

from hf_noisy.core.checks import feature_matrix, given_classes
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_POSTERIOR
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.transition_matrix import confident_transition_matrix

_ROUNDS = 30
_TINY = 1e-12


class ConfidentLearningPurifier:
    r"""Posterior from predictions of the given label, by the transition matrix of confident learning.

    Confident learning counts, for each pair of classes, the rows that are confidently of one and labelled as the
    other; the calibrated counts give $T_{jk} = P(\text{given} = k \mid \text{true} = j)$. A model that was fitted on
    noisy labels predicts those, $p(k \mid x) = \sum_j q(j \mid x)\, T_{jk}$. The $q$ that comes closest is found by
    expectation-maximisation, and

    $$P(\text{true} = j \mid x, \text{given} = k) \propto q(j \mid x)\, T_{jk}$$

    With neither a column of probabilities nor a model, a logistic regression on the features is cross-validated.
    What is taken for granted is that noise depends on the true class alone; rules that the features show are missed.

    Args:
        probabilities: Column of predictions of the given label `[classes]` for rows that the model was not fitted on;
            None to have them made from `features`.
        features: Column of the row vectors, if `probabilities` is None.
        folds: Of the cross-validation, at least 2.
        seed: Of the folds.
        num_classes: Number of classes; by default what the given labels show, or the width of `probabilities`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> batch = {
        ...     "predicted": np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]),
        ...     "label": np.array([0, 0, 1, 1, 1]),
        ... }
        >>> ConfidentLearningPurifier("predicted")(batch)["label_posterior"].argmax(1).tolist()
        [0, 0, 0, 1, 1]

    Source: the joint by Northcutt et al. (2021), Eq. 1 to 3; the posterior is ours, theirs prunes or ranks rows.
    """

    citation = (
        "Northcutt, C., Jiang, L., Chuang, I. (2021). Confident Learning: Estimating Uncertainty in Dataset Labels. "
        "Journal of Artificial Intelligence Research 70."
    )

    def __init__(
        self,
        probabilities: str | None = None,
        *,
        features: str = FEATURES,
        folds: int = 5,
        seed: int = 0,
        num_classes: int | None = None,
    ) -> None:
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}; 5 is a usual choice")
        self.probabilities, self.folds, self.seed, self.num_classes = probabilities, folds, seed, num_classes
        self.name = "confident_learning"
        self.columns: tuple[str, ...] = (features if probabilities is None else probabilities, LABEL)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior `[rows, classes]` of all rows, whose predictions give one transition matrix."""
        values = feature_matrix(batch, self.columns[0])
        width = self.num_classes if self.probabilities is None else values.shape[1]
        labels, num_classes = given_classes(batch, width)
        # A class that no row was given cannot be estimated; no row is moved to it.
        present, labels = np.unique(labels, return_inverse=True)
        if len(present) < 2:
            raise ValueError(f"labels must hold at least 2 classes, got class {', '.join(map(str, present))} alone")
        if self.probabilities is None:
            predicted = out_of_fold_probabilities(values, labels, folds=self.folds, seed=self.seed)
        else:
            predicted = self._present(values, present)
        posterior = np.zeros((len(labels), num_classes), dtype=np.float32)
        posterior[:, present] = confident_posterior(predicted, labels)
        return {LABEL_POSTERIOR: posterior}

    def _present(
        self, values: Float[np.ndarray, "rows classes"], present: Integer[np.ndarray, " _"]
    ) -> Float64[np.ndarray, "rows _"]:
        if not ((values >= 0).all() and (np.abs(values.sum(1) - 1) < 5e-3).all()):
            raise ValueError(
                f"column '{self.probabilities}' must hold rows of at least 0 that sum to 1; store softmax(logits)"
            )
        kept = values[:, present].astype(np.float64) + _TINY
        return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def confident_posterior(
    predicted: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"]
) -> Float32[np.ndarray, "rows classes"]:
    """P(true | row, given) from predictions of the given label.

    Args:
        predicted: `[rows, classes]`, out of sample, each row sums to 1.
        labels: `[rows]`, given labels, every class among them.

    Returns:
        `[rows, classes]`, sums to 1.
    """
    transition = confident_transition_matrix(predicted, labels)
    true = np.full(predicted.shape, 1.0 / predicted.shape[1])
    # Rather than the inverse of the matrix, which turns small errors into probabilities below 0.
    for _ in range(_ROUNDS):
        true = true * ((predicted / (true @ transition + _TINY)) @ transition.T)
    posterior = true * transition[:, labels].T + _TINY
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True), dtype=np.float32)
