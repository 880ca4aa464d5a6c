"""Rows with tags or sets of classes of which a person has checked all labels, or single ones."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, List, Value
from jaxtyping import Int64

from hf_noisy.core.columns import CHECKED_LABEL, CHECKED_LABELS, TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.checked import RANDOM, UNCHECKED, UNKNOWN
from hf_noisy.data.checked_list_file import read_checked_lists
from hf_noisy.data.flat_labels import flat_tags, list_names, task_of_labels
from hf_noisy.data.labelled_rows import LabelledRows
from hf_noisy.data.list_values import label_ids, values_of
from hf_noisy.data.replace_column import with_column

Values = Int64[np.ndarray, "_"]


@dataclass(frozen=True)
class CheckedLists:
    """Rows whose labels a person has checked.

    Attributes:
        index: `[checked]`, positions in the dataset, ascending.
        values: For each of them the class of each word, or 0 or 1 for each class; -1 where nobody looked.
        strategy: `[checked]`, how each row was drawn: `"random"`, `"informative"` or `"unknown"`.
    """

    index: Int64[np.ndarray, " checked"]
    values: list[Values]
    strategy: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def random(self) -> "CheckedLists | None":
        """The rows that were drawn at random, which are checked as a whole; None without any."""
        return self._some([place for place, one in enumerate(self.strategy) if one == RANDOM])

    def whole(self, dataset: Dataset) -> "CheckedLists | None":
        """The rows of which every given label was checked; None without any."""
        flat = flat_tags(dataset) if task_of_labels(dataset) == "tokens" else None

        def is_whole(row: int, values: Values) -> bool:
            open_ones = values < 0
            if flat is not None:
                open_ones &= flat.labels[flat.offsets[row] : flat.offsets[row + 1]] >= 0
            return not open_ones.any()

        return self._some([place for place, one in enumerate(self.values) if is_whole(int(self.index[place]), one)])

    def among(self, labelled: LabelledRows) -> "CheckedLists | None":
        """The checked rows that have a given label, with their positions among these."""
        found = self._some(np.flatnonzero(np.isin(self.index, labelled.index)).tolist())
        if found is None:
            return None
        return CheckedLists(np.searchsorted(labelled.index, found.index), found.values, found.strategy)

    def _some(self, places: list[int]) -> "CheckedLists | None":
        if not places:
            return None
        return CheckedLists(
            self.index[places], [self.values[one] for one in places], [self.strategy[one] for one in places]
        )


def checked_lists(dataset: Dataset, checked: str | PathLike[str] | None = None) -> CheckedLists | None:
    """The checked rows of a dataset of tags or sets: of a file, or of its column `checked_label`; None without any."""
    if checked is not None:
        found = read_checked_lists(checked, dataset)
        index = sorted(found)
        return CheckedLists(np.array(index), [found[row][0] for row in index], [found[row][1] for row in index])
    if CHECKED_LABEL not in dataset.column_names:
        return None
    names = list_names(dataset)
    ids = {name: number for number, name in enumerate(names)}
    own = getattr(getattr(dataset.features[CHECKED_LABEL], "feature", None), "names", None)
    words = dataset.with_format(None)[TOKENS][:] if task_of_labels(dataset) == "tokens" else None
    rows, values = [], []
    for row, listed in enumerate(dataset.with_format(None)[CHECKED_LABEL][:]):
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise ValueError(f"column '{CHECKED_LABEL}' must hold lists of classes like the labels, got {listed!r}")
        where = f"column '{CHECKED_LABEL}' in row {row}"
        named = [own[one] if own and isinstance(one, int) and one >= 0 else one for one in listed]
        labels = label_ids(named, ids, where)
        rows.append(row)
        values.append(values_of(labels, None if words is None else len(words[row]), len(names), where))
    return CheckedLists(np.array(rows), values, [UNKNOWN] * len(rows)) if rows else None


def with_checked_lists(dataset: Dataset, checked: CheckedLists | None) -> Dataset:
    """The dataset with these rows in a column `checked_labels`: their values, -100 where nobody looked."""
    old = [name for name in (CHECKED_LABEL, CHECKED_LABELS) if name in dataset.column_names]
    dataset = dataset.remove_columns(old)
    if checked is None:
        return dataset
    column: list[Any] = [None] * len(dataset)
    for row, values in zip(checked.index.tolist(), checked.values, strict=True):
        column[row] = np.where(values == UNCHECKED, NO_LABEL, values).tolist()
    return with_column(dataset, CHECKED_LABELS, pa.array(column, pa.list_(pa.int64())), List(Value("int64")))
