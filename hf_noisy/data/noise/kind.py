"""Base classes of label noise: settings, and a function from true to given labels."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from hf_noisy.core.checks import check_labels, check_rate
from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import Labels

_ROWS = 8192  # rows drawn at once: intermediate arrays stay in the processor cache


class TrueRows(NamedTuple):
    """Rows with their true labels, and the keys of their random draws."""

    labels: Labels
    num_classes: int
    seed: int
    features: Num[np.ndarray, "rows features"] | None
    stream: str

    def draws(self, size: int) -> Float[np.ndarray, "rows {size}"]:
        """Uniform numbers keyed by seed, stream and row: whether it flips, where to, how likely it was to flip."""
        draws = np.empty((len(self.labels), size))
        for start in range(0, len(draws), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(draws)))
            draws[start : start + _ROWS] = uniforms(
                self.seed, stream=f"label_noise/{self.stream}", index=rows, size=size
            )
        return draws


class Noise(ABC):
    """Base of all noises: a frozen dataclass with a `kind`, a `rate` (None if it has none) and `apply`."""

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
            stream: Name of the split, so that row 0 of two splits gets different draws.

        Returns:
            Given labels `[rows]`, int64.

        Raises:
            ValueError: If labels are out of range, of fewer than 2 classes, or do not fit the noise.
        """
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}; noise needs a class to move to")
        labels = check_labels(labels, num_classes).astype(np.int64)
        return self._given(TrueRows(labels, num_classes, seed, features, stream))

    @abstractmethod
    def _given(self, true: TrueRows) -> Labels:
        """Given labels for checked true labels."""

    def settings(self) -> dict[str, Any]:
        """The settings for the record in a dataset, as JSON values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # every noise is a dataclass


class ClassNoise(Noise):
    """A noise that depends on the true label only, so that a transition matrix describes it."""

    @abstractmethod
    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""


def choose(margins: Float[np.ndarray, " rows"], rate: float, exact: bool) -> Bool[np.ndarray, " rows"]:
    """Rows that flip: the `round(rate * rows)` largest margins, or, if not exact, those above 0."""
    if not exact:
        return margins > 0
    flips = np.zeros(len(margins), dtype=bool)
    count = round(rate * len(margins))
    if count:
        flips[np.argpartition(-margins, count - 1)[:count]] = True
    return flips


def rows_by_class(labels: Integer[np.ndarray, " rows"], num_classes: int) -> list[Integer[np.ndarray, "_"]]:
    """Indices of the rows of each class, ascending, by one sort for all classes."""
    # numpy uses radix sort for 16-bit integers, and comparisons for wider ones.
    keys = labels.astype(np.uint16) if num_classes <= 2**16 else labels
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])
