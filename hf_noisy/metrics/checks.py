"""Labels that cannot be compared are refused before anything is counted."""

from typing import Any

import numpy as np
from jaxtyping import Bool


def check_class_ids(name: str, labels: Any) -> None:
    """Refuse what is not an array of class ids.

    Raises:
        ValueError: If it is a list, or holds anything but whole numbers.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{name} must be a numpy array of whole numbers, got {kind}; convert class ids by np.asarray")


def check_rows(**columns: Any) -> None:
    """Refuse columns of labels that are not one class id a row, all of the same number of rows.

    Raises:
        ValueError: If they are not, naming the column.
    """
    for name, column in columns.items():
        check_class_ids(name, column)
        if column.ndim != 1 or not len(column):
            raise ValueError(f"{name} must be one class id a row and at least one row, got shape {column.shape}")
        if column.min() < 0:
            raise ValueError(f"{name} must be classes from 0 on, got {column.min()}; leave out rows without a label")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the same rows are needed in each, got {counted}")


def share(hits: Bool[np.ndarray, " rows"]) -> float:
    """Share of true entries; NaN where there are none to count."""
    return float(np.mean(hits)) if len(hits) else float("nan")
