"""Outliers: rows that are far from all others."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from hf_noisy.core.checks import check_features
from hf_noisy.detection.surroundings import NearestIndex, Surroundings, surroundings

_FENCE = 1.5  # interquartile ranges beyond the third quartile


class Outliers(NamedTuple):
    """The result of [`find_outliers`].

    Attributes:
        distance: `[rows]`, in [0, 2], the mean distance between unit vectors to the 10 nearest rows.
        is_outlier: `[rows]`, whether the distance is unusually large.
    """

    distance: Float64[np.ndarray, " rows"]
    is_outlier: Bool[np.ndarray, " rows"]


def find_outliers(features: Float[np.ndarray, "rows width"], *, index: NearestIndex = "auto") -> Outliers:
    """Find rows that are far from all others: another topic, another language, a broken input.

    Such a row may belong to none of the classes, whatever its label. The score is the mean distance to the 10 nearest
    rows with other features; rows beyond the upper fence of the box plot (third quartile plus 1.5 interquartile
    ranges) are outliers.

    Args:
        features: `[rows, width]`, of a frozen encoder.
        index: `"exact"`, `"faiss"`, or `"auto"`: see [`~hf_noisy.detection.audit.audit`].

    Returns:
        [`Outliers`].

    Raises:
        ValueError: If features are not finite.
        ImportError: If `index` is `"faiss"` and faiss is not installed.

    Source: the distance to nearest neighbours is by Ramaswamy et al. (2000), its mean by Angiulli and Pizzuti (2002),
    the fence by Tukey (1977).

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(loc=3, size=(100, 16))
        >>> rows[5] = -rows[5]
        >>> np.flatnonzero(find_outliers(rows).is_outlier).tolist()
        [5]
    """
    return outliers_among(surroundings(check_features(features), index))


def outliers_among(around: Surroundings) -> Outliers:
    """[`find_outliers`] of neighbours that were already searched."""
    if around.distances.shape[1] == 0:
        return Outliers(np.zeros(len(around.first)), np.zeros(len(around.first), dtype=bool))
    mean = around.distances.mean(axis=1)
    lower, upper = np.quantile(mean, [0.25, 0.75])
    distance = mean[np.searchsorted(around.distinct, around.first)]
    return Outliers(distance, distance > upper + _FENCE * (upper - lower))
