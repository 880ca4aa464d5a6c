"""Rows with their index, so that a loss or a recorder can keep a state per row."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import datasets
from torch.utils.data import Dataset, Subset
from transformers.utils import logging

logger = logging.get_logger(__name__)


class IndexedRow(NamedTuple):
    """A row of a dataset, of any type, and its position."""

    position: int
    row: Any


class IndexedDataset(Dataset[IndexedRow]):
    """A map-style dataset whose items are pairs of position and row.

    The rows themselves are unchanged, so that collators see what the dataset gives: mappings, tuples or objects. Lazy
    transforms (`with_transform`) run as before.

    Args:
        dataset: A `datasets.Dataset`, a map-style torch dataset or a list.

    Raises:
        TypeError: If `dataset` has no length or no access by position.
        ValueError: If a row cannot be read, such as a broken image; the message names the row.

    Example:
        >>> IndexedDataset([{"label": 1}, {"label": 0}])[1]
        IndexedRow(position=1, row={'label': 0})
    """

    def __init__(self, dataset: Any) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise TypeError(
                f"dataset must have a length and access by position, got {type(dataset).__name__}; "
                "pass a map-style dataset (for a streamed one, load it without streaming)"
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> IndexedRow:
        position = self._position(index)
        return IndexedRow(position, _read(self.dataset, position))

    def __getitems__(self, indices: Sequence[int]) -> list[IndexedRow]:
        positions = [self._position(index) for index in indices]
        # For Arrow tables, one batched read is far cheaper than single rows.
        fetch = getattr(self.dataset, "__getitems__", None)
        try:
            rows = fetch(positions) if fetch is not None else None
        except Exception:  # read one by one, to find the row at fault
            rows = None
        if rows is None:
            rows = [_read(self.dataset, position) for position in positions]
        return [IndexedRow(position, row) for row, position in zip(rows, positions, strict=True)]

    def _position(self, index: int) -> int:
        position = int(index)
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range for a dataset of {size} rows")
        return position % size


def drop_unreadable(dataset: Any) -> Any:
    """The dataset without the rows that cannot be read, such as broken images.

    Every row is read once, and a warning lists the rows left out. The remaining rows are renumbered: use the result
    for training and for everything after it.

    Args:
        dataset: As for [`IndexedDataset`].

    Returns:
        `dataset` itself if all rows can be read, else its readable rows, by `select` or as `torch.utils.data.Subset`.

    Raises:
        ValueError: If no row can be read.

    Example:
        >>> drop_unreadable([{"label": 1}, {"label": 0}])
        [{'label': 1}, {'label': 0}]
    """
    rows, readable, faults = IndexedDataset(dataset), [], {}
    for position in range(len(rows)):
        try:
            _read(dataset, position)
            readable.append(position)
        except ValueError as error:
            faults[position] = repr(error.__cause__)
    if not faults:
        return dataset
    first, reason = next(iter(faults.items()))
    if not readable:
        raise ValueError(f"none of the {len(rows)} rows of the dataset can be read, row {first} because of {reason}")
    some = ", ".join(map(str, list(faults)[:20])) + (", ..." if len(faults) > 20 else "")
    logger.warning(f"left out {len(faults)} of {len(rows)} rows that cannot be read: {some}; the first: {reason}")
    return dataset.select(readable) if hasattr(dataset, "select") else Subset(dataset, readable)


def with_columns(dataset: Any, columns: Collection[str]) -> Any:
    """The dataset without other columns, so that these are not even read; unchanged if a transform may need them."""
    if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
        return dataset
    others = [name for name in dataset.column_names if name not in columns]
    return dataset if len(others) == len(dataset.column_names) else dataset.remove_columns(others)


def _read(dataset: Any, position: int) -> Any:
    try:
        return dataset[position]
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"row {position} of the dataset cannot be read ({type(error).__name__}: {reason}); repair it, or leave "
            "such rows out with hf_noisy.data.drop_unreadable(dataset)"
        ) from error
