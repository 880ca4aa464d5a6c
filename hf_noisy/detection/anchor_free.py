"""The transition matrix from the labels of nearest neighbours, without a classifier or anchor points."""

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

from hf_noisy.core.checks import check_features, check_labels, class_counts
from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import Labels


def anchor_free_transition_matrix(
    features: Float[np.ndarray, "rows dim"],
    labels: Labels,
    num_classes: int,
    max_rows: int = 15_000,
    seed: int = 0,
) -> Float64[np.ndarray, "classes classes"]:
    """P(given | true) from how often a row and its two nearest neighbours have the same given labels.

    A row and its two neighbours are assumed to share their true class, so their given labels are three independent
    draws from one row of the matrix, which identify the matrix and the class prior. The paper matches moments of these
    draws by gradient descent; here the same model is fitted by maximum likelihood with EM.

    The estimate is biased: neighbours of another true class count as noise, so the rate is too high if classes overlap
    in the features; and noise that depends on the row, which neighbours share, is underestimated. Each true class must
    keep its label more often than it gets any other one.

    Args:
        features: `[rows, dim]`, frozen vectors in which neighbours mostly share a class; may be memory-mapped.
            Compared by cosine.
        labels: `[rows]`, given labels, every class among them.
        num_classes: Number of classes.
        max_rows: Largest number of rows; of more rows, a random sample is used.
        seed: Seed of the sample.

    Returns:
        `[true, given]`, row-stochastic.

    Raises:
        ValueError: If there are fewer than 3 rows, a feature is not finite, a label is no class, or a class has no
            row.

    Source: Zhu et al. (2021, "Clusterability as an Alternative to Anchor Points"); EM as Dawid and Skene (1979).

    Example:
        >>> import numpy as np
        >>> angles = np.array([0.0, 0.1, 0.2, 1.5, 1.6, 1.7])
        >>> features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> anchor_free_transition_matrix(features, np.array([0, 0, 0, 1, 1, 1]), 2).round(3).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    check_labels(labels, num_classes, num_rows=len(features))
    if max_rows < 3 or len(features) < 3:
        raise ValueError(f"features and max_rows must allow at least 3 rows, got {len(features)} and {max_rows}")
    rows = np.arange(len(features))
    if len(rows) > max_rows:
        draws = uniforms(seed, stream="anchor-free", index=rows, size=1)[:, 0]
        rows = np.sort(np.argpartition(draws, max_rows)[:max_rows])
    chosen = labels[rows].astype(np.int64)
    counts = class_counts(chosen, num_classes)
    neighbours = _two_nearest(check_features(features[rows]).astype(np.float32, copy=False))
    triples = np.sort(np.concatenate([chosen[:, None], chosen[neighbours]], axis=1), axis=1)
    distinct, weights = np.unique(triples, axis=0, return_counts=True)
    return _climb(distinct, weights / len(chosen), counts / len(chosen))


def _two_nearest(features: Float[np.ndarray, "rows dim"]) -> Integer[np.ndarray, "rows 2"]:
    """Indices of the two nearest other rows by cosine."""
    from sklearn.neighbors import NearestNeighbors

    norms = np.linalg.norm(features, axis=1, keepdims=True)
    # On the unit sphere the order of distances is that of cosines, and sklearn has a fast path for distances.
    unit = features / np.maximum(norms, np.finfo(np.float32).tiny)
    index: np.ndarray = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(unit).kneighbors(return_distance=False)
    return index


def _climb(
    triples: Int64[np.ndarray, "triples 3"],
    weights: Float64[np.ndarray, " triples"],
    given: Float64[np.ndarray, " classes"],
    max_steps: int = 500,
    tolerance: float = 1e-6,
) -> Float64[np.ndarray, "classes classes"]:
    """EM for `P(i, j, k) = sum_m prior[m] T[m, i] T[m, j] T[m, k]`, starting near the identity."""
    from scipy.sparse import csr_array

    num_classes, columns = len(given), np.arange(len(triples))
    # `[classes, triples]`: how often each label occurs in each triple.
    holds = csr_array((np.ones(triples.size), (triples.T.ravel(), np.tile(columns, 3))), (num_classes, len(triples)))
    prior = given
    # The start decides which hidden class gets which id.
    matrix = 0.5 * np.eye(num_classes) + 0.5 * given
    for _ in range(max_steps):
        by_label = np.ascontiguousarray(matrix.T)
        share = by_label[triples[:, 0]] * by_label[triples[:, 1]] * by_label[triples[:, 2]] * prior
        share *= (weights / share.sum(axis=1))[:, None]
        prior = share.sum(axis=0)
        # [given, true]; a class that lost every triple keeps its label instead of dividing by 0.
        counts = holds @ share + 1e-12 * np.eye(num_classes)
        matrix, before = (counts / counts.sum(axis=0)).T, matrix
        if np.abs(matrix - before).max() < tolerance:
            break
    result: np.ndarray = matrix / matrix.sum(axis=1, keepdims=True)
    return result
