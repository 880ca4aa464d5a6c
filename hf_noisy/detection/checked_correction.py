"""Probabilities of the true labels from given labels of all rows and checked labels of a few.

First come predictors that learn the given labels but never see a row's own. The checked rows then fit a few hundred
numbers on top: a weight per predictor, a shift per class, and a linear layer with strong L2. Last, each row's own
given label enters through a transition matrix.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.checks import check_features, check_labels, given_classes
from hf_noisy.core.types import Labels
from hf_noisy.detection.checked_layer import CheckedLayer
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.evidence import HeadPrediction
from hf_noisy.detection.linear_head import LinearHead, fit_linear_head
from hf_noisy.detection.near_copies import near_copy_groups
from hf_noisy.detection.predictors import LENGTH, balanced_ridge, class_means, logistic_regressions
from hf_noisy.detection.probe import folds_of

# Chosen on the development sets of benchmarks/.
_PRECISIONS = (6.0, 2.5, 1.0)  # of the layer; one is chosen on held-out checked rows, of equal ones the first
_ROWS_A_CLASS = 5.0  # what the rows that nobody checked count for in each row of the transition matrix
_PENALTY = 0.004  # of the head
_SHARPENED = 1.2  # logits of the head are multiplied by this, since the penalty makes them too small
_LOGISTIC = 0.03  # penalty of the logistic regression
_LOWEST = -12.0  # log-probabilities are not taken to be surer than this
_MAX_FITTED = 20_000  # the head is fitted on so many rows, which bounds its time
_TINY = 1e-12


@dataclass(frozen=True)
class LabelEvidence:
    """What the given labels teach about each row without the row's own label; it does not depend on checked rows."""

    given: Labels
    centre: Float64[np.ndarray, " width"]
    vectors: Float64[np.ndarray, "rows width"]  # directions from the centre
    scores: Float64[np.ndarray, "predictors rows classes"]  # held-out log-probabilities


@dataclass(frozen=True)
class CorrectedLabels(HeadPrediction):
    """The result of [`CheckedCorrection`].

    Attributes:
        posterior: `[rows, classes]`, of the true labels; one-hot where a label was checked.
        model_posterior: `[rows, classes]`, the same without regard to which rows were checked.
        held_out: `[checked, classes]`, the posterior of each checked row by a fit that did not see its checked label
            (only which of three precisions is best was chosen on all). Intervals, guarantees and choices use it.
        transition: `[classes, classes]`, estimated probability of the given label (column) by true label (row).
        centre: `[width]`, mean direction of the training rows.
        head: Linear classifier fitted to the posterior, for other rows.
    """

    posterior: Float64[np.ndarray, "rows classes"]
    model_posterior: Float64[np.ndarray, "rows classes"]
    held_out: Float64[np.ndarray, "checked classes"]
    transition: Float64[np.ndarray, "classes classes"]
    centre: Float64[np.ndarray, " width"]
    head: LinearHead


@dataclass(frozen=True)
class CheckedCorrection:
    r"""Correct given labels with the help of a few rows that a person has checked.

    Class means, a logistic regression and a ridge regression learn the given labels and predict each row without its
    own. On their log-probabilities $s_p$, the checked rows fit

    $$p(y \mid x) = \mathrm{softmax}\Big(\sum_p a_p s_p(x) + b + W x\Big)$$

    with Gaussian priors, so that few checked rows change little. A transition matrix, counted from the checked rows
    and from these probabilities, adds the row's own given label. Ten checked rows are enough to begin with.

    Args:
        folds: Folds of the logistic regression, and of the checked rows for `held_out`.

    Example:
        >>> true = np.arange(90) % 3
        >>> rows = np.random.default_rng(0).normal(size=(90, 8)) + 4 * np.eye(3, 8)[true]
        >>> given = np.where(np.arange(90) < 40, (true + 1) % 3, true)
        >>> corrected = CheckedCorrection().fit(rows, given, np.arange(20, 50), true[20:50])
        >>> float((given == true).mean().round(2)), bool((corrected.posterior.argmax(1) == true).mean() > 0.95)
        (0.56, True)

    Source: ours; a logistic regression with an offset (McCullagh and Nelder, 1989).
    """

    folds: int = 5

    def evidence(
        self,
        features: Float[np.ndarray, "rows width"],
        given: Labels,
        *,
        num_classes: int | None = None,
        seed: int = 0,
    ) -> LabelEvidence:
        """What the given labels teach, to be used in several fits with other checked rows.

        Args:
            features: `[rows, width]`, finite.
            given: `[rows]`, given labels.
            num_classes: Number of classes; by default the largest given label plus one.
            seed: Seed of the folds.

        Returns:
            [`LabelEvidence`].

        Raises:
            ValueError: If features or labels are invalid, or there are fewer than 2 rows or classes.
        """
        features = check_features(features)
        given, classes = given_classes(given, num_classes, "given")
        check_labels(given, classes, len(features), "given")
        if classes < 2 or len(given) < 2:
            raise ValueError(f"given must hold at least 2 rows and 2 classes, got {len(given)} rows of {classes}")
        centre = mean_direction(features)
        vectors = directions(features, centre)
        groups = near_copy_groups(vectors)
        fold = folds_of(groups, given, self.folds, seed)
        scores = [
            class_means(vectors, given, classes, groups),
            *logistic_regressions(vectors, given, classes, fold, [_LOGISTIC]),
            balanced_ridge(vectors, given, classes, groups),
        ]
        return LabelEvidence(given, centre, vectors, np.maximum(np.stack(scores), _LOWEST))

    def fit(
        self,
        features: Float[np.ndarray, "rows width"] | None,
        given: Labels | None,
        checked_index: Int64[np.ndarray, " checked"],
        checked_labels: Int64[np.ndarray, " _"],
        *,
        num_classes: int | None = None,
        seed: int = 0,
        evidence: LabelEvidence | None = None,
    ) -> CorrectedLabels:
        """Fit the correction.

        Args:
            features: `[rows, width]`, finite, such as those of [`~hf_noisy.models.embed.embed`]; None with `evidence`.
            given: `[rows]`, given labels; None with `evidence`.
            checked_index: `[checked]`, the rows that were checked, each once.
            checked_labels: `[checked]`, their true labels.
            num_classes: Number of classes; by default the largest given or checked label plus one.
            seed: Seed of the folds.
            evidence: The result of [`evidence`] with the same rows, to save time.

        Returns:
            [`CorrectedLabels`].

        Raises:
            ValueError: If an array is invalid, a row was checked twice, or none was.
        """
        index, labels = np.asarray(checked_index), np.asarray(checked_labels)
        if evidence is None:
            if features is None or given is None:
                raise ValueError("features and given are needed, or evidence; pass both or that")
            known = max(given_classes(given, None, "given")[1], int(labels.max(initial=-1)) + 1)
            evidence = self.evidence(features, given, num_classes=num_classes or known, seed=seed)
        scores, vectors = evidence.scores, evidence.vectors
        rows, classes = scores.shape[1:]
        labels = check_labels(labels, classes, len(index), "checked_labels").astype(np.int64)
        index = check_labels(index, rows, name="checked_index").astype(np.int64)
        if len(index) == 0 or len(np.unique(index)) < len(index):
            raise ValueError(
                f"checked_index must hold at least one row, and each once, got {len(index)} entries for "
                f"{len(np.unique(index))} rows"
            )
        layer, everything = CheckedLayer(scores, vectors, index, labels), np.arange(len(index))
        parts = np.random.default_rng(seed).permutation(len(index)) % min(self.folds, len(index))
        fits = [_Fits(layer, precision, parts) for precision in _PRECISIONS]
        best = max(fits, key=lambda fit: fit.log_likelihood)
        held_out = np.empty((len(index), classes))
        for part, numbers in enumerate(best.without):
            held, kept = everything[parts == part], everything[parts != part]
            some = layer.probabilities(numbers)
            transition = _transition(some, evidence.given, index[kept], labels[kept])
            held_out[held] = _with_given(some[index[held]], transition, evidence.given[index[held]])
        probabilities = layer.probabilities(best.whole)
        transition = _transition(probabilities, evidence.given, index, labels)
        model_posterior = _with_given(probabilities, transition, evidence.given)
        posterior = model_posterior.copy()
        posterior[index] = np.eye(classes)[labels]
        fitted = np.union1d(evenly_spaced(np.arange(rows), _MAX_FITTED), index)
        head = fit_linear_head((LENGTH * vectors[fitted]).astype(np.float32), posterior[fitted], _PENALTY)
        head = LinearHead(_SHARPENED * head.weight, _SHARPENED * head.bias)
        return CorrectedLabels(posterior, model_posterior, held_out, transition, evidence.centre, head)


class _Fits:
    """The fit to all checked rows, and one without each part of them, for one precision."""

    def __init__(self, layer: CheckedLayer, precision: float, parts: Int64[np.ndarray, " checked"]) -> None:
        rows = np.arange(len(parts))
        self.whole = layer.fit(rows, precision)
        self.without = [layer.fit(rows[parts != part], precision, self.whole) for part in range(parts.max() + 1)]
        self.log_likelihood = sum(
            layer.log_likelihood(numbers, rows[parts == part]) for part, numbers in enumerate(self.without)
        )


def _transition(
    probabilities: Float64[np.ndarray, "rows classes"],
    given: Labels,
    index: Int64[np.ndarray, " checked"],
    labels: Int64[np.ndarray, " checked"],
) -> Float64[np.ndarray, "classes classes"]:
    """Transition matrix counted from all rows, and then from the checked rows with that as a prior."""
    classes = probabilities.shape[1]
    known = np.zeros((classes, classes))
    np.add.at(known, (labels, given[index]), 1)
    others = np.delete(np.arange(len(given)), index)
    counts = known + 1 / classes
    for label in range(classes):
        counts[:, label] += probabilities[others[given[others] == label]].sum(0)
    prior = counts / counts.sum(1, keepdims=True)
    return np.asarray((known + _ROWS_A_CLASS * prior) / (known.sum(1, keepdims=True) + _ROWS_A_CLASS))


def _with_given(
    probabilities: Float64[np.ndarray, "rows classes"],
    transition: Float64[np.ndarray, "classes classes"],
    given: Labels,
) -> Float64[np.ndarray, "rows classes"]:
    posterior = probabilities * transition[:, given].T + _TINY
    return np.asarray(posterior / posterior.sum(1, keepdims=True))
