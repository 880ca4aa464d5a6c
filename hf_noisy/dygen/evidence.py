"""What training recorded says about the true label of a row, whichever kind of noise there is.

Two witnesses, multiplied. The classifier, averaged over branches and epochs, is right early about random noise but
learns the rules behind systematic noise. The pretrained encoder has seen no noisy label: the distances of its features
to the class centroids are coarse, but a rule cannot bend them. Both count every class alike, so that a class which
swallowed the others' rows does not win by its size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from hf_noisy.dygen.vectors import unit_rows
from hf_noisy.dynamics.scores import centroid_distances, centroids
from hf_noisy.dynamics.store import Trajectories

_NEVER = -30.0  # log-odds of a class without training rows against the best other: finite, but never chosen


@dataclass
class Evidence:
    """Evidence about true labels, fitted on training rows and given labels.

    Args:
        mean_probability: `[classes]`, average prediction on the training rows.
        centre: `[width]`, mean of the normalised features; None where the encoder recorded none.
        centroids: `[classes, width]`, class means of the centred, normalised features.
        sharpness: How fast a class becomes unlikely with the squared distance to its centroid.
        counts: `[classes]`, training rows by given label.
    """

    mean_probability: Float64[np.ndarray, " classes"]
    centre: Float64[np.ndarray, " width"] | None
    centroids: Float64[np.ndarray, "classes width"] | None
    sharpness: float
    counts: Integer[np.ndarray, " classes"]

    @classmethod
    def fit(cls, trajectories: Trajectories, labels: Integer[np.ndarray, " rows"], split: str = "train") -> "Evidence":
        """Fit on the rows of `split` and their given labels.

        Args:
            trajectories: What training recorded.
            labels: `[rows]`, given labels.
            split: The training split.

        Returns:
            The fitted evidence.
        """
        counts = np.bincount(labels, minlength=trajectories.num_classes)
        predicted = mean_prediction(trajectories, split)
        # One row's worth for every class keeps the division by the average finite.
        mean_probability = (predicted.sum(0) + 1.0) / (len(labels) + trajectories.num_classes)
        evidence = cls(mean_probability, None, None, 0.0, counts)
        features = trajectories.features(split)
        if features is not None:
            evidence.centre = unit_rows(features.astype(np.float64)).mean(0)
            normalised = evidence._normalise(features)
            evidence.centroids = centroids(normalised, labels, trajectories.num_classes)
            evidence.sharpness = _fit_sharpness(evidence._squared_distances(features, labels), labels, counts)
        return evidence

    def log_probabilities(
        self, trajectories: Trajectories, split: str, labels: Integer[np.ndarray, " rows"] | None = None
    ) -> Float64[np.ndarray, "rows classes"]:
        """Log-probabilities of the true label, before the row's own given label is added.

        Args:
            trajectories: Those of the fit.
            split: Any recorded split.
            labels: `[rows]`, given labels if the rows took part in the fit: a row is then left out of its centroid.

        Returns:
            `[rows, classes]`, float64.
        """
        evidence = np.log(mean_prediction(trajectories, split) + 1e-9) - np.log(self.mean_probability)
        features = trajectories.features(split)
        if self.centroids is not None and features is not None:
            squared = self._squared_distances(features, labels)
            evidence = evidence + np.maximum(log_softmax(-self.sharpness * squared, axis=-1), -20.0)
        empty = self.counts == 0
        evidence[:, empty] = evidence[:, ~empty].max(1, keepdims=True) + _NEVER
        return np.asarray(log_softmax(evidence, axis=-1))

    def _normalise(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows width"]:
        return unit_rows(unit_rows(features.astype(np.float64)) - self.centre)

    def _squared_distances(
        self, features: Float[np.ndarray, "rows width"], labels: Integer[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows classes"]:
        assert self.centroids is not None
        squared = centroid_distances(self._normalise(features), self.centroids) ** 2
        if labels is not None:
            # Distance to the mean of the other n - 1 rows is n / (n - 1) times the distance to the mean of all n.
            size = self.counts[labels].astype(np.float64)
            rows = np.arange(len(labels))
            own = squared[rows, labels] * (size / np.maximum(size - 1.0, 1.0)) ** 2
            # The only row of a class has no other to be near to: neither for nor against.
            others = (squared[:, self.counts > 0].sum(1) - squared[rows, labels]) / max((self.counts > 0).sum() - 1, 1)
            squared[rows, labels] = np.where(size > 1, own, others)
        squared[:, self.counts == 0] = np.inf
        return squared


def mean_prediction(trajectories: Trajectories, split: str) -> Float64[np.ndarray, "rows classes"]:
    """Class probabilities averaged over branches and epochs, `[rows, classes]`."""
    return np.asarray(softmax(trajectories.logits(split).astype(np.float64), axis=-1).mean((0, 1)))


def posterior_given_label(
    log_evidence: Float64[np.ndarray, "rows classes"],
    labels: Integer[np.ndarray, " rows"],
    noise_rate: float,
    *,
    max_iterations: int = 20,
) -> tuple[Float64[np.ndarray, "rows classes"], Float64[np.ndarray, "classes classes"]]:
    """Add what a row's own given label says, through a transition matrix fitted on the evidence.

    Expectation-maximisation of `p(y) T[y, given]`. Where the given labels carry something, each round trusts them
    more; it stops as soon as the expected share of wrong labels is down to `noise_rate`, before the first round if
    the evidence alone says so, and otherwise after `max_iterations`.

    Args:
        log_evidence: `[rows, classes]`.
        labels: `[rows]`, given labels.
        noise_rate: Share of wrong labels to stop at, in `[0, 1)`.
        max_iterations: Rounds at most.

    Returns:
        Probabilities of the true label `[rows, classes]` and the row-stochastic transition matrix
        `T[true, given]`.

    Example:
        >>> import numpy as np
        >>> p, T = posterior_given_label(np.log(np.array([[0.6, 0.4], [0.6, 0.4]])), np.array([0, 0]), 0.5)
        >>> p.round(1).tolist()
        [[0.6, 0.4], [0.6, 0.4]]
    """
    num_classes = log_evidence.shape[1]
    given = np.eye(num_classes)[labels]
    posterior = np.asarray(softmax(log_evidence, axis=-1))
    transition = _transition(posterior, given)
    for _ in range(max_iterations):
        if 1.0 - posterior[np.arange(len(labels)), labels].mean() <= noise_rate:
            break
        posterior = np.asarray(softmax(log_evidence + np.log(transition[:, labels].T), axis=-1))
        transition = _transition(posterior, given)
    return posterior, transition


def suspicion(
    log_evidence: Float64[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """Log-odds of the best other class against the given label; above 0 the evidence is against the label."""
    others = log_evidence.copy()
    rows = np.arange(len(labels))
    others[rows, labels] = -np.inf
    return np.asarray(others.max(1) - log_evidence[rows, labels])


def _transition(
    posterior: Float64[np.ndarray, "rows classes"], given: Float64[np.ndarray, "rows classes"]
) -> Float64[np.ndarray, "classes classes"]:
    # One row's worth of uniform counts keeps rows of rare classes stochastic and their logarithm finite.
    counts = posterior.T @ given + 1.0 / given.shape[1]
    return np.asarray(counts / counts.sum(1, keepdims=True))


def _fit_sharpness(
    squared: Float64[np.ndarray, "rows classes"],
    labels: Integer[np.ndarray, " rows"],
    counts: Integer[np.ndarray, " classes"],
) -> float:
    """The one number that makes distances into probabilities: likelihood of the given labels, each class alike."""
    rows = np.arange(len(labels))
    weight = 1.0 / counts[labels]
    weight /= weight.sum()

    def loss(log_sharpness: float) -> float:
        return float(-(weight * log_softmax(-np.exp(log_sharpness) * squared, axis=-1)[rows, labels]).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 6.0), method="bounded").x))
