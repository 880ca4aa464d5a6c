"""Checks of labels, probabilities, weights, features and rates, before anything is computed.

Each error says what the argument or column must be, what was given and in which row, and how to fix it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, Block, labelled_blocks, row_slices
from hf_noisy.core.types import Labels, Probabilities

# Wide enough for rows that were normalised in half precision, narrow enough to catch logits.
ROW_SUM_TOLERANCE = 5e-3
MATRIX_TOLERANCE = 1e-6  # of the row sums of a transition matrix


def check_labels(
    labels: Any, num_classes: int | None = None, num_rows: int | None = None, name: str = "labels"
) -> Labels:
    """The labels, if they are a numpy array of one class id per row, from 0 to `num_classes` - 1."""
    check_integers(labels, name)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one class id per row, got an array of shape {labels.shape}")
    if num_rows is not None and len(labels) != num_rows:
        raise ValueError(f"{name} must be one class id for each of the {num_rows} rows, got {len(labels)}")
    if len(labels) and (labels.min() < 0 or (num_classes is not None and labels.max() >= num_classes)):
        negative = labels.min() < 0
        row = int(labels.argmin() if negative else labels.argmax())
        known = "from 0" if num_classes is None else f"0 to {num_classes - 1}"
        remedy = "drop rows without a label" if negative else "drop such rows, or allow for more classes (num_labels)"
        raise ValueError(f"{name} must be classes {known}, got {labels[row]} in row {row}; {remedy}")
    return np.asarray(labels)


def is_several(labels: Any) -> bool:
    """Whether rows have several labels: a list for each, or a table of zeros and ones."""
    if isinstance(labels, list | tuple):
        return len(labels) > 0 and all(np.ndim(one) == 1 for one in labels)
    return isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.dtype.kind in "biu"


def given_classes(labels: Any, num_classes: int | None = None, name: str = "labels") -> tuple[Labels, int]:
    """The labels as int64, and the number of classes: by default the largest label plus one."""
    checked = check_labels(np.asarray(labels), num_classes, name=name).astype(np.int64)
    return checked, int(checked.max(initial=-1)) + 1 if num_classes is None else num_classes


def check_integers(values: Any, name: str) -> None:
    """Refuse anything but a numpy array of integers; a class 0.5 would be truncated to 0."""
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} must be a numpy array of integers, got {_kind(values)}; convert it with np.asarray")
    missing = [value is None or value != value for value in values.flat] if values.dtype.kind in "Of" else [False]
    if any(missing):
        row = int(np.argmax(missing))
        raise ValueError(f"{name} has a missing value in row {row}; drop such rows")
    if values.dtype.kind in "US":
        raise ValueError(
            f"{name} must be integers, got text such as {str(values.flat[0])!r}; number the classes, for example with "
            "dataset.class_encode_column('label')"
        )
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be one integer per row, got {values.dtype} of shape {values.shape}; encode them"
        )


def check_label_columns(**columns: Any) -> None:
    """Refuse label columns that are empty, of different lengths, or not one class id per row."""
    for name, column in columns.items():
        if not len(check_labels(column, name=name)):
            raise ValueError(f"{name} must have at least one row, got none")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"all label columns must have the same rows, got {counted}")


def class_counts(labels: Labels, num_classes: int) -> Int64[np.ndarray, " classes"]:
    """Number of rows of each given class; a class without rows is refused, as nothing can be estimated for it."""
    counts = np.bincount(labels.astype(np.intp, copy=False), minlength=num_classes)
    if not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)[:8]))
        raise ValueError(f"labels must hold every class, but no row has class {empty}; leave such classes out")
    return counts.astype(np.int64)


def check_probabilities(labels: Any, probabilities: Any) -> None:
    """Refuse anything but one class id and one distribution over the classes per row, block by block."""
    for _ in probability_blocks(labels, probabilities):
        pass


def probability_blocks(labels: Any, probabilities: Any) -> Iterator[Block]:
    """[`labelled_blocks`] with checks: of shapes and labels at once, of values when their block is read."""
    check_scores(labels, probabilities)
    return (_distributions(block, "probabilities") for block in labelled_blocks(labels, probabilities))


def check_scores(labels: Any, scores: Any, name: str = "probabilities") -> None:
    """Refuse scores (probabilities, logits) that are not `[rows, classes]` floats, with one class id per row."""
    if np.ndim(labels) == 2 and np.ndim(scores) == 1:
        raise ValueError(f"labels come first and {name} second; swap the two arguments")
    if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f":
        raise ValueError(f"{name} must be a numpy array of floats, got {_kind(scores)}; convert it with np.asarray")
    if scores.ndim != 2 or len(scores) == 0 or scores.shape[1] < 2:
        raise ValueError(f"{name} must be [rows, classes] with at least 1 row and 2 classes, got {scores.shape}")
    check_labels(labels, num_classes=scores.shape[1], num_rows=len(scores))


def check_soft_labels(
    values: Any, num_classes: int | None = None, num_rows: int | None = None, name: str = "soft labels"
) -> Probabilities:
    """The distributions over the classes `[rows, classes]`, if each row is at least 0 and sums to 1."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 2:
        shape = f" of shape {values.shape}" if isinstance(values, np.ndarray) else ""
        raise ValueError(f"{name} must be an array of floats [rows, classes], got {_kind(values)}{shape}")
    if num_rows is not None and len(values) != num_rows:
        raise ValueError(f"{name} must be one distribution for each of the {num_rows} rows, got {len(values)}")
    if num_classes is not None and values.shape[1] != num_classes:
        raise ValueError(f"{name} must have a column for each of the {num_classes} classes, got {values.shape[1]}")
    if values.size:
        for block in labelled_blocks(np.zeros(len(values), np.int64), values):
            _distributions(block, name)
    return np.asarray(values)


def check_weights(weights: Any, name: str) -> None:
    """Refuse row weights that are not finite and at least 0, or that are all 0."""
    weights = np.asarray(weights)
    if weights.ndim != 1 or weights.dtype.kind not in "fiu" or not np.isfinite(weights).all():
        raise ValueError(f"{name} must hold one finite number per row; fill in those that are missing")
    if weights.min(initial=0) < 0 or not weights.any():
        raise ValueError(f"{name} must be at least 0, and above 0 in some row; 1 is a full weight")


def check_features(features: Any, name: str = "features") -> Float[np.ndarray, "rows width"]:
    """The row vectors `[rows, width]`, if all are finite numbers; integers become float64."""
    try:
        features = np.asarray(features)
    except ValueError:  # numpy on vectors of several lengths
        features = np.empty(0, dtype=object)
    if features.ndim != 2 or features.dtype.kind not in "fiub" or features.shape[1] == 0:
        raise ValueError(
            f"{name} must hold numeric vectors of the same length in every row, got {features.dtype} of shape "
            f"{features.shape}; drop rows without one"
        )
    features = features if features.dtype.kind == "f" else features.astype(np.float64)
    finite = np.ones(len(features), bool)
    for rows in row_slices(len(features), features.shape[1], ELEMENTS_A_BLOCK):
        finite[rows] = np.isfinite(features[rows]).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} must be finite, but {int((~finite).sum())} rows have NaN or infinity, first row "
            f"{int(finite.argmin())}; drop or fill them"
        )
    return np.asarray(features)


def check_rate(rate: Any, name: str = "noise_rate", remedy: str = "pass None to have it estimated") -> None:
    """Refuse a share of rows that is not a number in [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating) or not 0 <= rate < 1:
        raise ValueError(f"{name} must be a number in [0, 1), got {rate!r}; {remedy}")


def check_transition_matrix(matrix: np.ndarray, num_classes: int | None = None) -> None:
    """Refuse a matrix that is not row-stochastic.

    Args:
        matrix: `[classes, classes]`, P(given = column | true = row).
        num_classes: Number of classes that it must have; None for any number from 2.

    Raises:
        ValueError: If it is not square, of another size, not finite, negative, or a row does not sum to 1.

    Example:
        >>> import numpy as np
        >>> check_transition_matrix(np.array([[0.9, 0.1], [0.2, 0.8]]))
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"matrix must be [classes, classes] of at least 2 classes, got {matrix.shape}")
    if num_classes is not None and len(matrix) != num_classes:
        raise ValueError(f"matrix must have {num_classes} classes, got {len(matrix)}; estimate it on the same data")
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise ValueError("matrix must hold finite numbers only; estimate it anew")
    if matrix.min() < 0:
        raise ValueError(f"matrix must not be negative, got {matrix.min():.4g}")
    off = np.abs(matrix.sum(axis=1, dtype=np.float64) - 1)
    if off.max() > MATRIX_TOLERANCE:
        columns = np.abs(matrix.sum(axis=0, dtype=np.float64) - 1).max() <= MATRIX_TOLERANCE
        remedy = "its columns do: transpose it" if columns else "divide each row by its sum"
        row = int(np.argmax(off))
        raise ValueError(f"matrix must have rows that sum to 1, got {matrix[row].sum():.4g} in row {row}; {remedy}")


def _distributions(block: Block, name: str) -> Block:
    """The block, if every row is finite, at least 0 and sums to 1."""
    values, first = block.values, block.rows.start
    # A row sum is finite only if every entry is, and NaN fails each comparison.
    sums = np.einsum("rc->r", values)
    if values.min() >= 0 and np.abs(sums - 1).max() <= ROW_SUM_TOLERANCE:
        return block
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise ValueError(f"{name} must be finite, got NaN or infinity in row {row}; fix or drop such rows")
    if values.min() < 0:
        row = first + int(np.argmin(values.min(axis=1)))
        raise ValueError(f"{name} must not be negative, got {values.min():.4g} in row {row}; pass softmax(logits)")
    sums = values.sum(axis=1, dtype=np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    raise ValueError(
        f"{name} must sum to 1 in each row, got {sums[worst]:.4g} in row {first + worst}; pass softmax(logits)"
    )


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
