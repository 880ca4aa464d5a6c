"""Checks of labels, features and probabilities: bad input is refused in one sentence, before anything is computed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.core.columns import LABEL


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
