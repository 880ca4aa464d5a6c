"""Rows that a command did not change, with the same columns as those that it did."""

from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from hf_noisy.core.columns import LABEL, LABEL_GIVEN, LABEL_WEIGHT, ROW_GIVEN, column_array, stored_column
from hf_noisy.data.labelled_rows import LabelledRows, label_values
from hf_noisy.data.replace_column import with_column


def same_columns(splits: DatasetDict, split: str) -> DatasetDict:
    """All splits with the columns of one, and of each other; what is not known is missing."""
    aligned = {name: rows if name == split else with_columns_of(rows, splits[split]) for name, rows in splits.items()}
    for name, rows in aligned.items():
        for other in aligned.values():
            rows = with_columns_of(rows, other)
        aligned[name] = rows
    order = aligned[split].column_names
    same = {name: rows.select_columns(order) for name, rows in aligned.items()}
    return _with_readable_lists(DatasetDict(same))


def _with_readable_lists(splits: DatasetDict) -> DatasetDict:
    """Lists of a fixed length as lists of any length if some are missing: such Parquet needs Arrow 26 to be read."""
    for name, feature in next(iter(splits.values())).features.items():
        fixed = isinstance(feature, datasets.List) and feature.length >= 0
        if fixed and any(rows.data.column(name).null_count for rows in splits.values()):
            splits = splits.cast_column(name, datasets.List(feature.feature))
    return splits


def put_back(changed: Dataset, labelled: LabelledRows) -> Dataset:
    """The labelled rows as a command changed them, and all others in their place."""
    if not len(labelled.missing):
        return changed
    rows, places = changed, labelled.index
    others = with_columns_of(labelled.whole.select(labelled.missing), changed)
    if ROW_GIVEN in changed.column_names:
        rows = numbered(changed, labelled)
        places = column_array(rows, ROW_GIVEN)
        others = with_column(others, ROW_GIVEN, labelled.missing, datasets.Value("int64"))
    merged = datasets.concatenate_datasets([rows, others.select_columns(rows.column_names)])
    merged.info.update(changed.info)  # merging keeps only a few of the fields
    return merged.select(np.argsort(np.concatenate([places, labelled.missing]), kind="stable"))


def numbered(changed: Dataset, labelled: LabelledRows) -> Dataset:
    """The rows with their numbers in the whole, where some were dropped."""
    if ROW_GIVEN not in changed.column_names:
        return changed
    numbers = labelled.index[column_array(changed, ROW_GIVEN)]
    return with_column(changed, ROW_GIVEN, numbers, datasets.Value("int64"))


def with_columns_of(rows: Dataset, like: Dataset) -> Dataset:
    """The rows with the further columns of other rows, in which only the given label and a weight of 1 are known."""
    soft, already = (isinstance(one.features.get(LABEL), datasets.List) for one in (like, rows))
    added: dict[str, Any] = {name: [None] * len(rows) for name in like.column_names if name not in rows.column_names}
    if LABEL_GIVEN in added and LABEL in rows.column_names:
        added[LABEL_GIVEN] = stored_column(rows, LABEL)
    if LABEL_WEIGHT in added:
        added[LABEL_WEIGHT] = np.ones(len(rows))
    if soft and not already and LABEL in rows.column_names:
        classes = np.eye(rows.features[LABEL].num_classes, dtype=np.float32)
        values = [None if label < 0 else classes[label] for label in label_values(rows, LABEL)]
        rows = with_column(rows, LABEL, values, like.features[LABEL])
    for name, values in added.items():
        rows = with_column(rows, name, values, like.features[name])
    return rows
