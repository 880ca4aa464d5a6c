"""Base of noise that depends on the row: scaled features, and draws from per-row probabilities."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import Labels
from hf_noisy.data.noise.kind import Noise, TrueRows, choose

_CHUNK = 4096

Targets = Callable[[np.ndarray], np.ndarray]  # row indices [some] -> P(given | row, it flips) [some, classes]


class FeatureNoise(Noise):
    """A noise that depends on features of the row; `inject_noise` computes them if they are not given."""

    rate: float
    std: float
    exact: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std >= 0:
            raise ValueError(f"std must be at least 0, got {self.std}")

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        features = standardise(check_features(true.features, len(labels)))
        draws = true.draws(3)
        flip_rates, targets = self._process(true, features, draws[:, 2])
        flips = choose(flip_rates - draws[:, 0], self.rate, self.exact)
        given = labels.copy()
        for start in range(0, len(labels), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(labels)))
            rows = rows[flips[rows]]
            given[rows] = (targets(rows).cumsum(axis=1) < draws[rows, 1:2]).sum(axis=1)
        # By rounding, the last sum of probabilities may fall short of 1: use the last class other than the true one.
        missed = given >= num_classes
        given[missed] = np.where(labels[missed] == num_classes - 1, num_classes - 2, num_classes - 1)
        return given

    @abstractmethod
    def _process(
        self, true: TrueRows, features: Float[np.ndarray, "rows features"], draws: Float[np.ndarray, " rows"]
    ) -> tuple[Float[np.ndarray, " rows"], Targets]:
        """Probability of a flip of each row, and its targets; `draws` is one uniform number per row."""


def check_features(features: Any, num_rows: int) -> Float[np.ndarray, "rows features"]:
    """The features as float64, refused unless they are finite real numbers, one vector per row."""
    shape: tuple[int, ...] = features.shape if isinstance(features, np.ndarray) else ()
    if len(shape) != 2 or shape[0] != num_rows or (num_rows and not shape[1]):
        got = f"shape {shape}" if isinstance(features, np.ndarray) else type(features).__name__
        raise ValueError(f"features must be an array of shape ({num_rows}, features), one row per label, got {got}")
    if features.dtype.kind != "f":
        raise ValueError(
            f"features must be real numbers, got {features.dtype}; pass embeddings, TF-IDF or pixels as floats, "
            "never token ids"
        )
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, got NaN or infinity; impute or drop those rows")
    wide: np.ndarray = features.astype(np.float64, copy=False)
    return wide


def standardise(features: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows features"]:
    """Each feature with mean 0 and standard deviation 1 over the rows, divided by the square root of their number."""
    if len(features) == 0:
        return features
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    scaled: np.ndarray = centred / np.where(deviation > 0, deviation, 1) / np.sqrt(features.shape[1])
    return scaled


def truncated_normal(draws: Float[np.ndarray, "*shape"], mean: float, std: float) -> Float[np.ndarray, "*shape"]:
    """Samples of a normal distribution truncated to [0, 1], from uniform ones."""
    from scipy.special import ndtr, ndtri

    if std == 0:
        return np.full(draws.shape, mean)
    low, high = ndtr(-mean / std), ndtr((1 - mean) / std)
    values: Float[np.ndarray, "*shape"] = np.clip(mean + std * ndtri(low + draws * (high - low)), 0, 1)
    return values


def normal_weight(seed: int, num_matrices: int, num_rows: int, num_columns: int) -> Float[np.ndarray, "_ _ _"]:
    """Standard normal matrices `[matrices, rows, columns]`, the same for every split."""
    from scipy.special import ndtri

    cells = np.arange(num_matrices * num_rows)
    draws = uniforms(seed, stream="label_noise/weight", index=cells, size=num_columns)
    weight: Float[np.ndarray, "_ _ _"] = ndtri(draws).reshape(num_matrices, num_rows, num_columns)
    return weight
