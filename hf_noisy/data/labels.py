"""The label and weight columns of a training set, read whole and checked before any training."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hf_noisy.core.checks import check_weights
from hf_noisy.core.columns import LABEL, LABEL_WEIGHT, LABELS
from hf_noisy.core.task import Task


def label_column(dataset: Any) -> str | None:
    """The label column of a `datasets.Dataset`, `"labels"` or `"label"`, or `None` if it cannot be read cheaply."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__") or not hasattr(dataset, "with_format"):
        return None  # a stream is read once, and not for this; others may list columns that they cannot hand out
    return next((name for name in (LABELS, LABEL) if name in names), None)


def stored_labels(dataset: Any) -> Shaped[np.ndarray, "..."] | None:
    """The given labels of all rows, or `None` where reading them would mean reading the rows."""
    if isinstance(getattr(dataset, "labels", None), np.ndarray):  # views of images know theirs
        labels: np.ndarray = dataset.labels
        return labels
    column = label_column(dataset)
    # What a lazy transform makes of a row is not known before the row is read.
    if column is None or getattr(dataset, "format", {}).get("type") == "custom":
        return None
    # `with_format` rather than the dataset's own transform: only the label column is wanted, and as it is stored.
    return np.asarray(dataset.with_format(None)[column][:])


def check_training_labels(dataset: Any, task: Task, num_classes: int, soft_labels: bool = False) -> bool:
    """Refuse given labels that the task cannot be trained on; False if they can only be read batch by batch."""
    labels = np.zeros(0, np.int64) if (stored := stored_labels(dataset)) is None else stored
    task.check_labels(labels, num_classes, soft_labels)
    if stored is None:
        return False
    present = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.sum(0))
    if empty := sorted(set(range(num_classes)) - set(present.tolist())):
        missing = ", ".join(map(str, empty))
        warnings.warn(f"no training row has label {missing}; these classes cannot be learned", stacklevel=2)
    return True


def check_training_weights(dataset: Any) -> bool:
    """Refuse a column of row weights that no loss can be multiplied by; whether there is such a column."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or LABEL_WEIGHT not in names:
        return False
    if hasattr(dataset, "__len__") and hasattr(dataset, "with_format"):  # a stream is read once, and not for this
        check_weights(dataset.with_format(None)[LABEL_WEIGHT][:], f"column '{LABEL_WEIGHT}'")
    return True
