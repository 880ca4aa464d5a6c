"""What every purifier is, and the checks that all of them share."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Integer

from hf_noisy.columns import LABEL

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


def given_classes(
    batch: Mapping[str, Any], num_classes: int | None, column: str = LABEL
) -> tuple[Integer[np.ndarray, " rows"], int]:
    """Given labels of a batch, and the number of classes.

    Args:
        batch: What a purifier is called with.
        num_classes: Number of classes, or None for the largest label plus one.
        column: Column of the labels.

    Returns:
        Labels `[rows]`, int64, and the number of classes.

    Raises:
        ValueError: If a label is none of the classes.
    """
    labels = np.asarray(batch[column])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"column '{column}' must hold one class id a row, got {labels.dtype} of shape {labels.shape}")
    found = int(labels.max(initial=-1)) + 1
    if labels.min(initial=0) < 0 or (num_classes is not None and found > num_classes):
        raise ValueError(
            f"column '{column}' must hold classes from 0 to {(num_classes or found) - 1}, got "
            f"{int(labels.min(initial=0)) if labels.min(initial=0) < 0 else found - 1}; drop rows without a label, "
            "or raise num_classes"
        )
    return labels.astype(np.int64), found if num_classes is None else num_classes


def feature_matrix(batch: Mapping[str, Any], column: str) -> Float[np.ndarray, "rows width"]:
    """The row vectors in a column, refused where they cannot be computed with.

    Args:
        batch: What a purifier is called with.
        column: Column of vectors of one length.

    Returns:
        `[rows, width]`, of the float type of the column, float64 for other numbers.

    Raises:
        ValueError: If the vectors differ in length, are no numbers, or one is missing, NaN or infinite.
    """
    try:
        features = np.asarray(batch[column])
    except ValueError:  # numpy on vectors of several lengths
        features = np.empty(0, dtype=object)
    if features.ndim != 2 or features.dtype.kind not in "fiub" or features.shape[1] == 0:
        raise ValueError(
            f"column '{column}' must hold vectors of numbers of one length in every row; drop the rows that have none"
        )
    features = features if features.dtype.kind == "f" else features.astype(np.float64)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise ValueError(
            f"column '{column}' must be finite, but {int(bad.sum())} rows have NaN or infinity, the first of them row "
            f"{int(bad.argmax())}; drop or fill them"
        )
    return features
