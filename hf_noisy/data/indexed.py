"""Rows that know their number, so that a loss or a recorder can keep something for each of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from hf_noisy.columns import INDEX


class IndexedDataset(Dataset[dict[str, Any]]):
    """Map-style view of a dataset whose rows carry their position in the column `index`.

    The wrapper changes nothing else: lazy transforms (`with_transform`) run as before, and columns are filtered later,
    by the data collator. A column of that name in the dataset is replaced by the position.

    Args:
        dataset: A `datasets.Dataset`, a map-style torch dataset or a list, whose rows are mappings.

    Raises:
        TypeError: If `dataset` has no length or no access by position, or if a row is not a mapping.

    Example:
        >>> IndexedDataset([{"label": 1}, {"label": 0}])[1]
        {'label': 0, 'index': 1}
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

    def __getitem__(self, index: int) -> dict[str, Any]:
        position = self._position(index)
        return _with_index(self.dataset[position], position)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        positions = [self._position(index) for index in indices]
        # One batched read is far cheaper than one read a row for Arrow tables.
        fetch = getattr(self.dataset, "__getitems__", None)
        rows = fetch(positions) if fetch is not None else [self.dataset[position] for position in positions]
        return [_with_index(row, position) for row, position in zip(rows, positions, strict=True)]

    def _position(self, index: int) -> int:
        position = int(index)
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range for a dataset of {size} rows")
        return position % size


def _with_index(row: Any, position: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise TypeError(
            f"rows of the dataset must be mappings from column to value, got {type(row).__name__} at row {position}; "
            'return for example {"input_ids": ..., "labels": ...}'
        )
    return {**row, INDEX: position}
