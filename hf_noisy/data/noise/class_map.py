"""Asymmetric noise: each class is confused with one other class, the next one or one of a mapping."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_noisy.core.types import Labels
from hf_noisy.data.noise.kind import ClassNoise, TrueRows, choose, rows_by_class

# truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse.
CIFAR10_MAP = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
# Superclass of each of the 100 classes, both in the order of the official files.
CIFAR100_SUPERCLASSES = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)


@dataclass(frozen=True)
class PairNoise(ClassNoise):
    """Labels move to the next class id, the last one to the first (asymmetric noise).

    Args:
        rate: Share of the rows that move, in [0, 1).
        exact: Move exactly `round(rate * rows)` rows. False moves each row independently.

    Source: pair flipping of Co-teaching (Han et al., 2018).

    Example:
        >>> import numpy as np
        >>> sorted(PairNoise(0.5).apply(np.array([2, 2]), num_classes=3, seed=0).tolist())
        [0, 2]
    """

    rate: float
    exact: bool = True
    kind: str = field(default="pair", init=False)

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        flips = choose(self.rate - true.draws(1)[:, 0], self.rate, self.exact)
        given: np.ndarray = labels + flips
        given[given == num_classes] = 0
        return given

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        identity = np.eye(num_classes)
        return (1 - self.rate) * identity + self.rate * np.roll(identity, 1, axis=1)


@dataclass(frozen=True)
class MapNoise(ClassNoise):
    """Labels of some classes move to one other class each (asymmetric noise).

    Args:
        rate: Share of the rows of each class in `mapping` that move, in [0, 1). Over all rows the share is smaller,
            unless every class is in the mapping.
        mapping: Class -> the class it is confused with. Other classes keep their labels.
        exact: Move exactly `round(rate * rows)` rows of each class. False moves each row independently.

    Source: Patrini et al. (2017), Section 5.

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
        super().__post_init__()
        # A copy of plain integers, since the record is JSON and the caller may change the mapping later.
        object.__setattr__(self, "mapping", _class_ids(self.mapping))
        same = [label for label, target in self.mapping.items() if label == target]
        if same or not self.mapping:
            raise ValueError(f"mapping must lead from classes to other classes, got {dict(self.mapping)}")

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        self._check_classes(num_classes)
        margins = self.rate - true.draws(1)[:, 0]
        given, groups = labels.copy(), rows_by_class(labels, num_classes)
        for label, target in self.mapping.items():
            rows = groups[label]
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


def _class_ids(mapping: Any) -> dict[int, int]:
    try:
        return {operator.index(label): operator.index(target) for label, target in mapping.items()}
    except (AttributeError, TypeError):
        raise ValueError(f"mapping must be a dictionary from class ids to class ids, got {mapping!r}") from None


def asymmetric(rate: float, mapping: Mapping[int, int] | None = None, exact: bool = True) -> MapNoise | PairNoise:
    """Asymmetric noise: each class is confused with one other, by `mapping` or, by default, with the next class.

    Args:
        rate: Share of the rows of each class that move, in [0, 1).
        mapping: Class -> the class it is confused with; other classes keep their labels.
        exact: As in [`MapNoise`] and [`PairNoise`].

    Returns:
        A [`MapNoise`], or without a mapping a [`PairNoise`].

    Example:
        >>> asymmetric(0.4, {0: 2}).kind, asymmetric(0.4).kind
        ('asymmetric', 'pair')
    """
    return PairNoise(rate, exact) if mapping is None else MapNoise(rate, mapping, exact)


def cifar10_map(rate: float, exact: bool = True) -> MapNoise:
    """The asymmetric noise of CIFAR-10: truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog.

    Args:
        rate: Share of the rows of each of these five classes that move, in [0, 1); half of it over all rows.
        exact: As in [`MapNoise`].

    Returns:
        The noise, for class ids in the official order.

    Source: Patrini et al. (2017), Section 5.

    Example:
        >>> cifar10_map(0.4).transition_matrix(10)[9, [1, 9]].tolist()
        [0.4, 0.6]
    """
    return MapNoise(rate, dict(CIFAR10_MAP), exact)


def cifar100_map(rate: float, exact: bool = True) -> MapNoise:
    """The asymmetric noise of CIFAR-100: each class moves to the next one of its superclass, the last to the first.

    Args:
        rate: Share of the rows of each class that move, in [0, 1).
        exact: As in [`MapNoise`].

    Returns:
        The noise, for the 100 class ids in the official order.

    Source: Patrini et al. (2017), Section 5.

    Example:
        >>> cifar100_map(0.4).mapping[0]
        51
    """
    return superclass_map(rate, CIFAR100_SUPERCLASSES, exact)


def superclass_map(rate: float, superclass_of_class: Sequence[int], exact: bool = True) -> MapNoise:
    """Each class moves to the next class id inside its superclass, the last one to the first.

    Args:
        rate: Share of the rows of each class that move, in [0, 1). The only class of a superclass keeps its labels.
        superclass_of_class: Superclass of each class, `[classes]`.
        exact: As in [`MapNoise`].

    Returns:
        The noise.

    Raises:
        ValueError: If no superclass has two classes.

    Example:
        >>> superclass_map(0.2, [0, 1, 0, 1, 0]).mapping
        {0: 2, 2: 4, 4: 0, 1: 3, 3: 1}
    """
    groups: dict[int, list[int]] = {}
    for label, superclass in enumerate(superclass_of_class):
        groups.setdefault(superclass, []).append(label)
    pairs = [
        pair for group in groups.values() if len(group) > 1 for pair in zip(group, group[1:] + group[:1], strict=True)
    ]
    if not pairs:
        raise ValueError(
            f"superclass_of_class must put two classes into one superclass, got {list(superclass_of_class)}"
        )
    return MapNoise(rate, dict(pairs), exact)
