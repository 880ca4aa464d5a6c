"""Asymmetric noise: a few classes are taken for their look-alikes, the others are left alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.data.draws import check_rate, choose, noise_draws
from hf_noisy.data.records import check_class_ids


@dataclass(frozen=True)
class MapNoise:
    """Labels of some classes move to one other class each (asymmetric noise).

    Args:
        rate: Share of the rows of each class in `mapping` that move, in [0, 1). Over all rows the share is smaller,
            unless every class is in the mapping.
        mapping: Class -> the class that it is taken for. Classes that are not in it keep their labels.
        exact: Move exactly `round(rate * rows)` rows of each class. False moves each row independently.

    Source: the confusion of similar classes of Patrini et al. (2017), Section 5.

    Example:
        >>> import numpy as np
        >>> sorted(MapNoise(0.5, {0: 2}).apply(np.array([0, 0, 1, 2]), num_classes=3, seed=0).tolist())
        [0, 1, 2, 2]
    """

    rate: float
    mapping: Mapping[int, int]
    exact: bool = True
    kind: str = field(default="asymmetric", init=False)

    def __post_init__(self) -> None:
        check_rate(self.rate)
        same = [label for label, target in self.mapping.items() if label == target]
        if same or not self.mapping:
            raise ValueError(f"mapping must lead from classes to other classes, got {dict(self.mapping)}")

    def apply(
        self,
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        seed: int = 0,
        features: Float[np.ndarray, "rows features"] | None = None,
        stream: str = "train",
    ) -> Integer[np.ndarray, " rows"]:
        """Noisy copies of the labels; arguments as in [`~hf_noisy.data.noise.SymmetricNoise.apply`]."""
        labels = check_class_ids(labels, num_classes)
        self._check_classes(num_classes)
        margins = self.rate - noise_draws(seed, stream, len(labels))[:, 0]
        given = labels.copy()
        for label, target in self.mapping.items():
            rows = np.flatnonzero(labels == label)
            given[rows[choose(margins[rows], self.rate, self.exact)]] = target
        return given

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        self._check_classes(num_classes)
        matrix = np.eye(num_classes)
        for label, target in self.mapping.items():
            matrix[label, [label, target]] = 1 - self.rate, self.rate
        return matrix

    def _check_classes(self, num_classes: int) -> None:
        outside = {*self.mapping, *self.mapping.values()} - set(range(num_classes))
        if outside:
            raise ValueError(f"mapping must name classes from 0 to {num_classes - 1}, got {min(outside)}")
