"""Symmetric noise: labels move to any other class with equal probability."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from hf_noisy.core.types import Labels
from hf_noisy.data.noise.kind import ClassNoise, TrueRows, choose


@dataclass(frozen=True)
class SymmetricNoise(ClassNoise):
    """Labels move to a class drawn uniformly.

    Args:
        rate: Share of the rows that are redrawn, in [0, 1).
        include_self: Draw over all classes, so that a share 1 / classes of the redrawn labels stay right. False
            (default) draws among the other classes.
        exact: Redraw exactly `round(rate * rows)` rows. False redraws each row independently.

    Source: without self Co-teaching (Han et al., 2018); with self DivideMix (Li et al., 2020).

    Example:
        >>> import numpy as np
        >>> given = SymmetricNoise(0.4).apply(np.zeros(10, dtype=np.int64), num_classes=3, seed=0)
        >>> int((given != 0).sum())
        4
    """

    rate: float
    include_self: bool = False
    exact: bool = True
    kind: str = field(default="symmetric", init=False)

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        draws = true.draws(2)
        rows = np.flatnonzero(choose(self.rate - draws[:, 0], self.rate, self.exact))
        given = labels.copy()
        if self.include_self:
            given[rows] = draws[rows, 1] * num_classes  # truncated to an integer by the assignment
        else:
            given[rows] += 1 + (draws[rows, 1] * (num_classes - 1)).astype(np.int64)
            given[rows] %= num_classes
        return given

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        others = self.rate / (num_classes if self.include_self else num_classes - 1)
        matrix = np.full((num_classes, num_classes), others)
        np.fill_diagonal(matrix, 1 - others * (num_classes - 1))
        return matrix
