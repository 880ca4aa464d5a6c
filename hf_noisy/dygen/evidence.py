"""Evidence about true labels in recorded trajectories, for any kind of noise: the product of two predictors.

The classifier, averaged over branches and epochs, resists random noise early in training but learns systematic noise.
Distances of the pretrained encoder's features to class centroids are coarse, but unaffected by systematic noise. Both
weight all classes equally, so that a class with many wrong rows does not win by its size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from hf_noisy.core.types import Labels
from hf_noisy.dygen.vectors import recorded_features, unit_rows
from hf_noisy.dynamics.scores import centroid_distances, class_means, class_sums
from hf_noisy.dynamics.store import ALL, Rows, Trajectories, row_blocks

_EMPTY_CLASS = -30.0  # log-odds of a class without training rows: finite, but never chosen


@dataclass
class Evidence:
    """Evidence about true labels, fitted on training rows and given labels."""

    mean_probability: Float64[np.ndarray, " classes"]  # mean prediction on the training rows
    centre: Float64[np.ndarray, " width"] | None  # mean of the normalised features, if recorded
    centroids: Float64[np.ndarray, "classes width"] | None  # class means of the centred, normalised features
    sharpness: float  # scale of the squared distances in the softmax
    counts: Integer[np.ndarray, " classes"]  # training rows by given label

    @classmethod
    def fit(cls, trajectories: Trajectories, labels: Labels, split: str = "train") -> "Evidence":
        """Fit on the rows of `split` and their given labels."""
        num_rows, num_classes = len(labels), trajectories.num_classes
        counts = np.bincount(labels, minlength=num_classes)
        predicted = sum(
            mean_prediction(trajectories, split, rows).sum(0) for rows in row_blocks(num_rows, num_classes)
        )
        # A pseudo-count of one row per class keeps the division by the average finite.
        mean_probability = (predicted + 1.0) / (num_rows + num_classes)
        evidence = cls(mean_probability, None, None, 0.0, counts)
        width = _feature_width(trajectories, split)
        if width:
            blocks = row_blocks(num_rows, width)
            total = sum(
                unit_rows(recorded_features(trajectories, split, rows).astype(np.float64)).sum(0) for rows in blocks
            )
            evidence.centre = total / num_rows
            sums = np.zeros((num_classes, width))
            for rows in blocks:
                normalised = evidence._normalise(recorded_features(trajectories, split, rows))
                sums += class_sums(normalised, labels[rows], num_classes)
            evidence.centroids = class_means(sums, counts)
            squared = np.empty((num_rows, num_classes))
            for rows in blocks:
                squared[rows] = evidence._squared_distances(recorded_features(trajectories, split, rows), labels[rows])
            evidence.sharpness = _fit_sharpness(squared, labels, counts)
        return evidence

    def log_probabilities(
        self, trajectories: Trajectories, split: str, labels: Labels | None = None
    ) -> Float64[np.ndarray, "rows classes"]:
        """Log-probabilities of the true label; with given `labels`, centroids leave out the row itself."""
        width = 0 if self.centroids is None else _feature_width(trajectories, split)
        found = np.empty((trajectories.num_rows(split), trajectories.num_classes))
        for rows in row_blocks(len(found), max(width, trajectories.num_classes)):
            features = recorded_features(trajectories, split, rows) if width else None
            predicted = mean_prediction(trajectories, split, rows)
            found[rows] = self._combine(predicted, features, None if labels is None else labels[rows])
        return found

    def _combine(
        self,
        predicted: Float64[np.ndarray, "rows classes"],
        features: Float[np.ndarray, "rows width"] | None,
        labels: Labels | None,
    ) -> Float64[np.ndarray, "rows classes"]:
        evidence = np.log(predicted + 1e-9) - np.log(self.mean_probability)
        if features is not None:
            squared = self._squared_distances(features, labels)
            evidence = evidence + np.maximum(log_softmax(-self.sharpness * squared, axis=-1), -20.0)
        empty = self.counts == 0
        evidence[:, empty] = evidence[:, ~empty].max(1, keepdims=True) + _EMPTY_CLASS
        return np.asarray(log_softmax(evidence, axis=-1))

    def _normalise(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows width"]:
        return unit_rows(unit_rows(features.astype(np.float64)) - self.centre)

    def _squared_distances(
        self, features: Float[np.ndarray, "rows width"], labels: Labels | None
    ) -> Float64[np.ndarray, "rows classes"]:
        assert self.centroids is not None
        squared = centroid_distances(self._normalise(features), self.centroids) ** 2
        if labels is not None:
            # Distance to the mean of the other n - 1 rows is n / (n - 1) times the distance to the mean of all n.
            size = self.counts[labels].astype(np.float64)
            rows = np.arange(len(labels))
            own = squared[rows, labels] * (size / np.maximum(size - 1.0, 1.0)) ** 2
            # The only row of a class gets the mean distance to the other classes, which is neutral.
            others = (squared[:, self.counts > 0].sum(1) - squared[rows, labels]) / max((self.counts > 0).sum() - 1, 1)
            squared[rows, labels] = np.where(size > 1, own, others)
        squared[:, self.counts == 0] = np.inf
        return squared


def mean_prediction(trajectories: Trajectories, split: str, rows: Rows = ALL) -> Float64[np.ndarray, "rows classes"]:
    """Class probabilities averaged over branches and epochs."""
    pairs = [(epoch, branch) for epoch in trajectories.epochs for branch in range(trajectories.num_branches)]
    total = sum(softmax(trajectories.branch_logits(split, *pair, rows).astype(np.float64), axis=-1) for pair in pairs)
    return np.asarray(total / len(pairs))


def posterior_given_label(
    log_evidence: Float64[np.ndarray, "rows classes"], labels: Labels, noise_rate: float, *, max_iterations: int = 20
) -> tuple[Float64[np.ndarray, "rows classes"], Float64[np.ndarray, "classes classes"]]:
    """Probabilities of the true label given evidence and given label, and the transition matrix `T[true, given]`."""
    # Expectation-maximisation of `p(y) T[y, given]`. If the given labels are informative, each round trusts them more,
    # until the expected share of wrong labels is down to `noise_rate`.
    posterior = np.empty_like(log_evidence)
    transition = _expect(log_evidence, labels, None, posterior)
    for _ in range(max_iterations):
        if 1.0 - posterior[np.arange(len(labels)), labels].mean() <= noise_rate:
            break
        transition = _expect(log_evidence, labels, transition, posterior)
    return posterior, transition


def suspicion(log_evidence: Float64[np.ndarray, "rows classes"], labels: Labels) -> Float64[np.ndarray, " rows"]:
    """Log-odds of the best other class against the given label."""
    others = log_evidence.copy()
    rows = np.arange(len(labels))
    others[rows, labels] = -np.inf
    return np.asarray(others.max(1) - log_evidence[rows, labels])


def _expect(
    log_evidence: Float64[np.ndarray, "rows classes"],
    labels: Labels,
    transition: Float64[np.ndarray, "classes classes"] | None,
    posterior: Float64[np.ndarray, "rows classes"],
) -> Float64[np.ndarray, "classes classes"]:
    """Write the posterior under `transition` and return the transition matrix re-estimated from it."""
    num_classes = log_evidence.shape[1]
    counts = np.zeros((num_classes, num_classes))
    for rows in row_blocks(len(labels), num_classes):
        given = labels[rows]
        conditioned = log_evidence[rows] if transition is None else log_evidence[rows] + np.log(transition[:, given].T)
        posterior[rows] = softmax(conditioned, axis=-1)
        counts += posterior[rows].T @ np.eye(num_classes)[given]
    # A uniform pseudo-count of one row per class keeps logarithms finite for rare classes.
    counts += 1.0 / num_classes
    return np.asarray(counts / counts.sum(1, keepdims=True))


def _feature_width(trajectories: Trajectories, split: str) -> int:
    features = trajectories.features(split, slice(0, 1))
    return 0 if features is None else features.shape[1]


def _fit_sharpness(
    squared: Float64[np.ndarray, "rows classes"], labels: Labels, counts: Integer[np.ndarray, " classes"]
) -> float:
    """The sharpness with the highest likelihood of the given labels, all classes weighted equally."""
    weight = 1.0 / counts[labels]
    weight /= weight.sum()

    def loss(log_sharpness: float) -> float:
        total = 0.0
        for rows in row_blocks(len(labels), squared.shape[1]):
            fit = log_softmax(-np.exp(log_sharpness) * squared[rows], axis=-1)
            total -= (weight[rows] * fit[np.arange(len(fit)), labels[rows]]).sum()
        return float(total)

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 6.0), method="bounded").x))
