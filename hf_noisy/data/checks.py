"""Labels that cannot be trained on are refused before any training."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from hf_noisy.core.columns import LABEL, LABEL_WEIGHT, LABELS

_SUM_TOLERANCE = 1e-3  # distributions that were stored in half precision


def label_column(dataset: Any) -> str | None:
    """The label column of a `datasets.Dataset`, `"labels"` or `"label"`, or `None` if it cannot be read cheaply."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__") or not hasattr(dataset, "with_format"):
        return None  # a stream is read once, and not for this; others may tell columns that they cannot hand out
    return next((name for name in (LABELS, LABEL) if name in names), None)


def check_labels(dataset: Any, num_classes: int, soft_labels: bool = False) -> bool:
    """Refuse a data set whose given labels are missing, out of range or of fewer than two classes.

    Args:
        dataset: The training set. Columns of a `datasets.Dataset` are read whole; other data sets are left to a check
            of each batch.
        num_classes: Number of classes of the model.
        soft_labels: Whether labels may be distributions over the classes.

    Returns:
        Whether the labels were read.

    Raises:
        ValueError: In one sentence that says which label and what would do.
    """
    if num_classes < 2:
        raise ValueError(
            f"model has {num_classes} class, but at least 2 are needed; load it with num_labels=2 or more"
        )
    labels = _stored_labels(dataset)
    if labels is None:
        return False
    check_values(labels, num_classes, soft_labels)
    present = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.sum(0))
    empty = sorted(set(range(num_classes)) - set(present.tolist()))
    if empty:
        missing = ", ".join(map(str, empty))
        warnings.warn(f"no training row has label {missing}; these classes cannot be learned", stacklevel=2)
    return True


def check_weights(dataset: Any) -> bool:
    """Refuse row weights that no loss can be multiplied by.

    Args:
        dataset: The training set. The column `label_weight` of a `datasets.Dataset` is read whole.

    Returns:
        Whether there is such a column.

    Raises:
        ValueError: If a weight is missing, negative or not finite, or all are 0.
    """
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or LABEL_WEIGHT not in names:
        return False
    if hasattr(dataset, "__len__") and hasattr(dataset, "with_format"):  # a stream is read once, and not for this
        weights = np.asarray(dataset.with_format(None)[LABEL_WEIGHT][:])
        if weights.ndim != 1 or weights.dtype.kind not in "fiu" or not np.isfinite(weights).all():
            raise ValueError(
                f"column '{LABEL_WEIGHT}' must hold one finite number a row; fill in those that are missing"
            )
        if weights.min(initial=0) < 0 or not weights.any():
            raise ValueError(
                f"column '{LABEL_WEIGHT}' must be at least 0, and above 0 in some row; 1 is a full weight"
            )
    return True


def _stored_labels(dataset: Any) -> Shaped[np.ndarray, "..."] | None:
    if isinstance(getattr(dataset, "labels", None), np.ndarray):  # views of images know theirs
        labels: np.ndarray = dataset.labels
        return labels
    column = label_column(dataset)
    # What a lazy transform makes of a row is not known before the row is read.
    if column is None or getattr(dataset, "format", {}).get("type") == "custom":
        return None
    # `with_format` rather than the dataset's own transform: only the label column is wanted, and as it is stored.
    return np.asarray(dataset.with_format(None)[column][:])


def check_values(labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
    """Refuse labels that are not classes, nor distributions over them where these are taken.

    Raises:
        ValueError: If they are something else, or soft where the method needs hard ones.
    """
    if labels.ndim != 2 or labels.dtype.kind != "f":
        check_label_range(labels, num_classes)
        return
    if not soft_labels:
        raise ValueError(
            f"labels must be one class a row for this method, got soft labels of shape {labels.shape}; use "
            "method='cross_entropy', or the most probable class of each row"
        )
    if labels.shape[1] != num_classes:
        raise ValueError(
            f"soft labels must have a column for each of the {num_classes} classes, got {labels.shape[1]}"
        )
    if not (labels >= 0).all() or np.abs(labels.sum(1) - 1).max(initial=0) > _SUM_TOLERANCE:
        raise ValueError("soft labels must be at least 0 and sum to 1 in each row; normalise them")


def check_label_range(labels: Shaped[np.ndarray, "..."], num_classes: int) -> Integer[np.ndarray, " rows"]:
    """The labels as integers, if all are in `[0, num_classes)`.

    Raises:
        ValueError: If a label is missing (None, NaN or negative), not an integer, or too large.
    """
    if labels.dtype == object or (labels.dtype.kind == "f" and bool(np.isnan(labels).any())):
        raise ValueError("labels must not be missing: drop the rows without one before training")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be one integer a row, got {labels.dtype} of shape {labels.shape}")
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels must not be missing or negative, got {labels.min()}; drop the rows without one")
    if labels.size and labels.max() >= num_classes:
        raise ValueError(
            f"labels must be below the {num_classes} classes of the model, got {labels.max()}; set num_labels"
        )
    return labels
