"""What every purifier is, and the checks that all of them share."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

_SUM_TOLERANCE = 1e-3


@runtime_checkable
class Purifier(Protocol):
    """What [`purify`] asks of a purifier: a distribution of the true label for every row.

    A purifier is called once, with all rows, by `Dataset.map`. It must be picklable, and its state must say all that
    its result depends on: the cache of `datasets` is keyed by it.

    Attributes:
        name: Short name, kept in the column `purifier`.
        citation: The paper, as it is cited.
        columns: The columns that it reads.
    """

    @property
    def name(self) -> str: ...

    @property
    def citation(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior of the true label.

        Args:
            batch: Numpy arrays (or lists) by name of the column, all rows of the dataset.

        Returns:
            `{"label_posterior": [rows, classes]}`, float32, of which each row sums to 1.
        """
        ...


def check_purifier(purifier: Any) -> None:
    """Refuse what is no purifier, before any row is read.

    Raises:
        TypeError: If it lacks a name, a citation, columns or a call.
    """
    if not isinstance(purifier, Purifier) or isinstance(purifier, type):
        raise TypeError(
            "purifier must be an object with name, citation and columns that can be called, such as KNNPurifier(), "
            f"got {purifier!r}"
        )


def check_posterior(posterior: Any, rows: int, num_classes: int, name: str) -> Float32[np.ndarray, "rows classes"]:
    """The posterior of a purifier as float32, with a column for every class.

    Args:
        posterior: `[rows, classes]`; classes that no row was given may be missing at the end.
        rows: Rows of the dataset.
        num_classes: Classes of the dataset, the least number of columns to return.
        name: Of the purifier, for the sentence.

    Returns:
        `[rows, num_classes]` or wider.

    Raises:
        ValueError: If it has another number of rows, or its rows are not distributions.
    """
    posterior = np.asarray(posterior)
    if posterior.ndim != 2 or posterior.dtype.kind != "f" or len(posterior) != rows:
        raise ValueError(
            f"purifier '{name}' must return a posterior of shape ({rows}, classes), got {posterior.dtype} of shape "
            f"{posterior.shape}"
        )
    # Written so that NaN fails it too.
    if not ((posterior >= 0).all() and (np.abs(posterior.sum(1) - 1) <= _SUM_TOLERANCE).all()):
        raise ValueError(f"purifier '{name}' must return rows of at least 0 that sum to 1; normalise them")
    wider = np.zeros((rows, max(num_classes, posterior.shape[1])), dtype=np.float32)
    wider[:, : posterior.shape[1]] = posterior
    return wider
