"""What detection accepts, checked and read a block of rows at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Integer

# As in `metrics.calibration`: wide enough for rows normalised in float16, narrow enough to catch logits.
ROW_SUM_TOLERANCE = 5e-3
# 256 KiB in float32: a block and one copy of it stay in the second cache of a core.
ELEMENTS_A_BLOCK = 1 << 16


class Block(NamedTuple):
    """Some rows on their way through the cache.

    Attributes:
        rows: Which rows.
        values: `[block, classes]`, float32 or float64 (float16 is widened).
        labels: `[block]`, given labels, as indices.
    """

    rows: slice
    values: Float[np.ndarray, "block classes"]
    labels: Integer[np.ndarray, " block"]

    def own(self) -> Float[np.ndarray, " block"]:
        """The value of each row's given label, `[block]`."""
        own: np.ndarray = self.values[np.arange(len(self.labels)), self.labels]
        return own

    def best_other(self) -> Float[np.ndarray, " block"]:
        """The highest value among the other classes of each row, `[block]`."""
        # Column by column, whole vectors are compared; along a short row the maximum costs three times as much.
        columns = np.array(self.values.T, order="C")
        columns[self.labels, np.arange(len(self.labels))] = -np.inf
        best: np.ndarray = columns.max(axis=0)
        return best


def check_probabilities(probabilities: Any, labels: Any) -> None:
    """Refuse what is not one distribution and one class id a row; reads once, a block of rows at a time.

    Args:
        probabilities: `[rows, classes]`, float16, float32 or float64, may be memory-mapped; each row sums to 1.
        labels: `[rows]`, integers in `[0, classes)`.

    Raises:
        ValueError: If they are something else; the sentence says what and in which row.

    Example:
        >>> import numpy as np
        >>> check_probabilities(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    """
    for _ in checked_blocks(probabilities, labels):
        pass


def checked_blocks(probabilities: Any, labels: Any) -> Iterator[Block]:
    """The blocks of [`row_blocks`], each one checked as by [`check_probabilities`] before it is handed out.

    Raises:
        ValueError: As [`check_probabilities`]; for shapes and labels at once, for values as their block is reached.
    """
    check_shapes(probabilities, labels)
    return (_checked(block) for block in row_blocks(probabilities, labels))


def _checked(block: Block) -> Block:
    # A row sum is finite only if every entry is, and NaN fails each comparison.
    sums = np.einsum("rc->r", block.values)
    if not (block.values.min() >= 0 and np.abs(sums - 1).max() <= ROW_SUM_TOLERANCE):
        _refuse(block)
    return block


def row_blocks(values: Float[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"]) -> Iterator[Block]:
    """All rows in their order, in blocks small enough for the cache; nothing is checked.

    Args:
        values: `[rows, classes]`, may be memory-mapped; never copied whole.
        labels: `[rows]`, given labels.

    Yields:
        A [`Block`] of at least one row.

    Example:
        >>> import numpy as np
        >>> [block.rows for block in row_blocks(np.zeros((3, 2)), np.array([0, 1, 1]))]
        [slice(0, 3, None)]
    """
    # A slice of a memmap is a memmap, which costs more to make than a plain view.
    values, labels = np.asarray(values), np.asarray(labels)
    step = max(1, ELEMENTS_A_BLOCK // values.shape[1])
    for start in range(0, len(values), step):
        rows = slice(start, min(start + step, len(values)))
        block = values[rows]
        wide = block.astype(np.float32) if block.dtype == np.float16 else block
        yield Block(rows, wide, labels[rows].astype(np.intp, copy=False))


def check_shapes(values: Any, labels: Any, name: str = "probabilities") -> None:
    """Refuse arrays that are not `[rows, classes]` floats with one class id a row.

    Args:
        values: Probabilities or logits.
        labels: Given labels.
        name: What the caller calls `values`.

    Raises:
        ValueError: If types or shapes do not agree, there are fewer than 2 classes or no rows, or a label is no class.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} must be a numpy array of floats, got {kind}; convert it with np.asarray")
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise ValueError(f"{name} must be [rows, classes] of at least 1 row and 2 classes, got {values.shape}")
    check_labels(labels, *values.shape)


def check_labels(labels: Any, num_rows: int, num_classes: int) -> None:
    """Refuse labels that are not one class id a row.

    Raises:
        ValueError: If the type, the shape or a value is another.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"labels must be a numpy array of integers, got {kind}; pass class ids, none missing")
    if labels.shape != (num_rows,):
        raise ValueError(f"labels must be one class id for each of the {num_rows} rows, got shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"labels must be classes 0 to {num_classes - 1}, got {wrong}; drop rows without a class")


def check_features(features: Any) -> None:
    """Refuse features that are not `[rows, dim]` floats; whether they are finite is for the reader of the rows to see.

    Raises:
        ValueError: If the type or the shape is another.
    """
    if not isinstance(features, np.ndarray) or features.dtype.kind != "f":
        kind = features.dtype if isinstance(features, np.ndarray) else type(features).__name__
        raise ValueError(f"features must be a numpy array of floats, got {kind}; convert it with np.asarray")
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features must be [rows, dim] of at least 1 row and 1 number, got {features.shape}")


def class_counts(labels: Integer[np.ndarray, " rows"], num_classes: int) -> Int64[np.ndarray, " classes"]:
    """Rows of each given class, for what cannot be estimated where a class has none.

    Returns:
        `[classes]`, each at least 1.

    Raises:
        ValueError: If a class has no row.

    Example:
        >>> import numpy as np
        >>> class_counts(np.array([0, 1, 1]), 2).tolist()
        [1, 2]
    """
    counts = np.bincount(labels.astype(np.intp, copy=False), minlength=num_classes)
    if not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)[:8]))
        raise ValueError(f"labels must hold every class, but no row has class {empty}; leave such classes out")
    return counts.astype(np.int64)


def _refuse(block: Block) -> None:
    values, first = block.values, block.rows.start
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise ValueError(f"probabilities must be finite, got NaN or infinity in row {row}; mend or drop such rows")
    if values.min() < 0:
        row = first + int(np.argmin(values.min(axis=1)))
        raise ValueError(
            f"probabilities must not be negative, got {values.min():.4g} in row {row}; pass softmax(logits)"
        )
    sums = values.sum(axis=1, dtype=np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    raise ValueError(
        f"probabilities must sum to 1 in each row, got {sums[worst]:.4g} in row {first + worst}; pass softmax(logits)"
    )
