"""What the nearest rows were given says what a row should be."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer

from hf_noisy.core.checks import feature_matrix, given_classes
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_POSTERIOR
from hf_noisy.detection.neighbours import Index, check_index, nearest, sample_references

Weights = Literal["distance", "softmax", "uniform"]
_SAME = 1e-6  # share of the mean distance below which rows count as copies


class KNNPurifier:
    """Posterior by a vote of the nearest other rows, each for the label that it was given.

    A row never votes for itself, so its own label has no say. Right where rows of a class lie together and most of
    them are labelled correctly; noise that depends on the features (a rule) passes for the truth.

    All rows among all rows take time that grows with the square of their number; `max_references` makes it linear.

    Args:
        k: Neighbours that vote; all other rows where there are fewer.
        weights: `"distance"` weighs a vote by 1 / distance, so copies of the row outvote all others; `"softmax"` by
            exp(-distance / temperature); `"uniform"` does not weigh.
        temperature: For `"softmax"`, in units of the distance.
        metric: `"cosine"` (one minus the cosine, in [0, 2]) or `"euclidean"`.
        features: Column of the row vectors.
        num_classes: Number of classes; by default what the given labels show.
        max_references: Rows that vote, a seeded sample of them with the same shares of given labels; None means all.
        seed: Of the sample.
        index: `"exact"`, or `"faiss"` for the approximate index of that package, which pays from about 100,000 rows
            that vote; see [`hf_noisy.detection.neighbours.nearest`].

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> batch = {"features": np.array([[0.0, 1], [0, 2], [0, 3], [1, 0]]), "label": np.array([0, 0, 1, 1])}
        >>> KNNPurifier(k=2)(batch)["label_posterior"][2].tolist()
        [1.0, 0.0]

    Source: the local vote of Zhu et al. (2022), here without the row's own label.
    """

    citation = (
        "Zhu, Z., Dong, Z., Liu, Y. (2022). Detecting Corrupted Labels Without Training a Model to Predict. ICML 2022."
    )

    def __init__(
        self,
        k: int = 10,
        weights: Weights = "distance",
        *,
        temperature: float = 0.1,
        metric: Literal["cosine", "euclidean"] = "cosine",
        features: str = FEATURES,
        num_classes: int | None = None,
        max_references: int | None = None,
        seed: int = 0,
        index: Index = "exact",
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1 neighbour, got {k}; 10 is a usual choice")
        if weights not in get_args(Weights):
            raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}, got {weights!r}")
        if not 0.0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0, got {temperature}; 0.1 suits cosine distances")
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}")
        self.k, self.weights, self.temperature, self.metric = k, weights, temperature, metric
        if max_references is not None and max_references < 2:
            raise ValueError(f"max_references must be at least 2 rows, got {max_references}; pass None for all rows")
        check_index(index)
        self.num_classes, self.max_references, self.seed, self.index = num_classes, max_references, seed, index
        self.name = "knn"
        self.columns: tuple[str, ...] = (features, LABEL)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior `[rows, classes]` of all rows, which are each other's neighbours."""
        features = feature_matrix(batch, self.columns[0])
        labels, num_classes = given_classes(batch, self.num_classes)
        if len(labels) < 2:
            raise ValueError(f"dataset must have at least 2 rows for neighbours to vote, got {len(labels)}")
        distances, neighbours = self._neighbours(features, labels)
        weights = self._weights(distances)
        posterior = np.zeros((len(labels), num_classes))
        for votes, rows in zip(weights.T, neighbours.T, strict=True):  # one neighbour of every row at a time
            posterior[np.arange(len(labels)), labels[rows]] += votes
        return {LABEL_POSTERIOR: _normalised(posterior)}

    def _neighbours(
        self, features: Float[np.ndarray, "rows width"], labels: Integer[np.ndarray, " rows"]
    ) -> tuple[Float64[np.ndarray, "rows k"], Int64[np.ndarray, "rows k"]]:
        if self.metric == "cosine":  # half the squared distance of unit vectors
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.where(lengths > 0, lengths, 1)
        chosen = sample_references(labels, self.max_references, self.seed)
        own = np.full(len(labels), -1)
        own[chosen] = np.arange(len(chosen))  # each row is left out of its own neighbours, by its number
        references = features if len(chosen) == len(labels) else features[chosen]
        k = min(self.k, len(chosen) - 1)
        distances, neighbours = nearest(features, references, k, own=own, index=self.index)
        return distances**2 / 2 if self.metric == "cosine" else distances, chosen[neighbours]

    def _weights(self, distances: Float[np.ndarray, "rows k"]) -> Float64[np.ndarray, "rows k"]:
        distances = distances.astype(np.float64)
        if self.weights == "uniform":
            return np.ones_like(distances)
        if self.weights == "softmax":
            nearest = distances.min(axis=1, keepdims=True)
            return np.asarray(np.exp((nearest - distances) / self.temperature))
        # Rounding gives copies of a row a distance that is not quite 0.
        return np.asarray(1 / np.maximum(distances, _SAME * distances.mean() or 1.0))


def _normalised(votes: Float64[np.ndarray, "rows classes"]) -> Float32[np.ndarray, "rows classes"]:
    return np.asarray(votes / votes.sum(axis=1, keepdims=True), dtype=np.float32)
