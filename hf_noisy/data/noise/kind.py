"""Base classes of label noise: settings, and a function from true to given labels."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Num

from hf_noisy.core.checks import check_labels, check_rate
from hf_noisy.core.types import Labels
from hf_noisy.data.noise.draws import noise_draws


class TrueRows(NamedTuple):
    """Rows with their true labels, and what their draws are keyed by."""

    labels: Labels
    num_classes: int
    seed: int
    features: Num[np.ndarray, "rows features"] | None
    stream: str

    def draws(self, size: int) -> Float[np.ndarray, "rows {size}"]:
        """Uniform numbers of each row: whether it flips, where to, how likely it was to flip."""
        return noise_draws(self.seed, self.stream, len(self.labels), size)


class Noise(ABC):
    """Base of all noises: a frozen dataclass with a `kind`, a `rate` (None where none was asked for) and `apply`."""

    kind: str
    rate: float | None

    def __post_init__(self) -> None:
        check_rate(self.rate, "rate", "0.4 is 40 % of the rows")

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Num[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels.

        Args:
            labels: True classes `[rows]`.
            num_classes: Number of classes.
            seed: Seed of the draws.
            features: Row vectors `[rows, features]`, for the noises that depend on the row.
            stream: Name of the split, so that row 0 of two splits has two draws.

        Returns:
            Given labels `[rows]`, int64.

        Raises:
            ValueError: If labels are out of range, or of fewer than 2 classes, or do not fit the noise.
        """
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}; noise needs a class to move to")
        labels = check_labels(labels, num_classes).astype(np.int64)
        return self._given(TrueRows(labels, num_classes, seed, features, stream))

    @abstractmethod
    def _given(self, true: TrueRows) -> Labels:
        """Given labels for true ones that have been checked."""

    def settings(self) -> dict[str, Any]:
        """What the record of a dataset says of this noise, in values that JSON knows."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # every noise is a dataclass


class ClassNoise(Noise):
    """A noise that looks at nothing but the true label, so that one matrix says all of it."""

    @abstractmethod
    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
