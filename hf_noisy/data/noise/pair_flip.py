"""Pair flip: each class is mistaken for the next one."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from hf_noisy.core.types import Labels
from hf_noisy.data.noise.draws import choose
from hf_noisy.data.noise.kind import ClassNoise, TrueRows


@dataclass(frozen=True)
class PairNoise(ClassNoise):
    """Labels move to the next class, the last one to the first (asymmetric noise).

    The order of the class ids decides which classes are confused.

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
