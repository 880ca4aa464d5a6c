"""Noise with a given transition matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.core.checks import check_transition_matrix
from hf_noisy.core.types import Labels
from hf_noisy.data.noise.kind import ClassNoise, TrueRows, rows_by_class


@dataclass(frozen=True)
class TransitionNoise(ClassNoise):
    """Labels of class i become class j with probability T[i, j].

    Args:
        matrix: Row-stochastic `[classes, classes]`, T[i, j] = P(given = j | true = i). A noise matrix of cleanlab has
            columns that sum to one: pass its transpose.
        exact: Of n rows of class i, exactly n T[i, j] get label j, rounded by largest remainder with ties to the lower
            class. False draws each row independently.

    Raises:
        ValueError: If the matrix is not square, or its rows are not distributions.

    Source: class-dependent noise as in Patrini et al. (2017).

    Example:
        >>> import numpy as np
        >>> given = TransitionNoise([[0.7, 0.3], [0.0, 1.0]]).apply(np.zeros(10, dtype=np.int64), num_classes=2)
        >>> np.bincount(given).tolist()
        [7, 3]
    """

    matrix: Sequence[Sequence[float | int]] | Float[np.ndarray, "classes classes"]
    exact: bool = True
    rate: float | None = field(default=None, init=False)
    kind: str = field(default="transition", init=False)

    def __post_init__(self) -> None:
        # Tuples rather than an array, so that two noises compare and the record is plain JSON.
        object.__setattr__(self, "matrix", tuple(map(tuple, _row_stochastic(self.matrix).tolist())))

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        matrix = self.transition_matrix(num_classes)
        draws = true.draws(1)[:, 0]
        given = np.empty_like(labels)
        for row, rows in zip(matrix, rows_by_class(labels, num_classes), strict=True):
            if self.exact:
                # Rows sorted by their draws and cut at the counts: the same labels as independent draws, except for
                # the rows next to a cut.
                given[rows[np.argsort(draws[rows])]] = np.repeat(np.arange(num_classes), _counts(row, len(rows)))
            else:
                # By rounding, the last sum may fall short of 1: use the last class of positive probability.
                found = np.searchsorted(row.cumsum(), draws[rows], side="right")
                given[rows] = np.minimum(found, np.flatnonzero(row)[-1])
        return given

    def transition_matrix(self, num_classes: int) -> Float[np.ndarray, "classes classes"]:
        """Expected P(given = column | true = row), row-stochastic `[classes, classes]`."""
        if len(self.matrix) != num_classes:
            raise ValueError(f"matrix is for {len(self.matrix)} classes, but the labels have {num_classes}")
        return np.array(self.matrix)


def _row_stochastic(values: Sequence[Sequence[float | int]] | np.ndarray) -> Float[np.ndarray, "classes classes"]:
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("matrix must be rows of numbers, all of one length") from None
    check_transition_matrix(matrix)
    normalised: np.ndarray = matrix / matrix.sum(axis=1, keepdims=True)
    return normalised


def _counts(shares: Float[np.ndarray, " classes"], num_rows: int) -> Integer[np.ndarray, " classes"]:
    """Integers that sum to `num_rows`, by largest remainder with ties to the lower class."""
    # Rounded, as 0.29 * 100 is 28.999999999999996, whose remainder is no remainder.
    quotas = np.round(shares * num_rows, 9)
    counts = np.floor(quotas).astype(np.int64)
    rest = num_rows - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:rest]] += 1
    return counts
