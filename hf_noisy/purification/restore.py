"""Undo a purification; the columns of purified datasets and the record of how they were made."""

import json
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict  # both: checks of types read the one out of the other

from hf_noisy.core.columns import (
    LABEL,
    LABEL_CHANGED,
    LABEL_CHECKED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
    column_array,
    stored_column,
)
from hf_noisy.data.labelled_rows import has_values
from hf_noisy.data.labels import with_format_of
from hf_noisy.data.replace_column import with_column

DROPPED = "dropped"  # the split of the rows that were dropped
ADDED = (
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_CONFIDENCE,
    LABEL_CHANGED,
    LABEL_CHECKED,
    PURIFIER,
    LABEL_WEIGHT,
    ROW_GIVEN,
)
_RECORD_KEY = "purification_record"


def restore_labels(dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
    """Undo [`purify`]: the given labels and dropped rows are restored, and the added columns are removed.

    It only needs the columns, so it also works after saving, publishing and loading. Rows that you removed after the
    purification stay removed.

    Args:
        dataset: What `purify` returned.

    Returns:
        The dataset as it was before. If a single dataset was purified with policy `drop` and its info was lost since
        (as on the Hub), the result is a `DatasetDict`.

    Raises:
        ValueError: If the dataset was not purified, or the dropped rows are missing.
    """
    if isinstance(dataset, DatasetDict):
        names = [name for name, part in dataset.items() if LABEL_GIVEN in part.column_names and name != DROPPED]
        if not names:
            raise ValueError(f"no split of the dataset has a column '{LABEL_GIVEN}', so none was purified")
        alone = bool((purification_record(dataset[names[0]]) or {}).get("alone"))
        restored = {
            name: _restored(part, dataset.get(DROPPED)) if name in names else part
            for name, part in dataset.items()
            if name != DROPPED or ROW_GIVEN not in part.column_names or not is_purified(part)
        }
        return restored[names[0]] if alone and len(restored) == 1 else DatasetDict(restored)
    if LABEL_GIVEN not in dataset.column_names:
        raise ValueError(f"dataset has no column '{LABEL_GIVEN}', so it was not purified; use it as it is")
    return _restored(dataset, None)


def purification_record(dataset: Dataset) -> dict[str, Any] | None:
    """How a dataset was purified: purifier, citation, options, policy, `min_confidence`, rows.

    Args:
        dataset: A dataset, purified or not.

    Returns:
        The record, or None where there is none.

    Example:
        >>> purification_record(Dataset.from_dict({"label": [0]})) is None
        True
    """
    _, mark, line = _split_description(dataset)
    record: dict[str, Any] | None = json.loads(line)[_RECORD_KEY] if mark else None
    return record


def is_purified(dataset: Dataset) -> bool:
    """Whether some rows were purified; splits beside a purified one may have its columns, without values."""
    return LABEL_GIVEN in dataset.column_names and has_values(dataset, PURIFIER)


def as_given(dataset: Dataset) -> Dataset:
    """The rows with their given labels, without what a purification adds; missing rows stay missing."""
    if LABEL_GIVEN not in dataset.column_names:
        return dataset
    # Labels may be missing: rows without a given label can be labelled by prediction.
    rows = dataset.with_format(None)
    rows = with_column(rows, LABEL, stored_column(rows, LABEL_GIVEN), dataset.features[LABEL_GIVEN])
    return rows.remove_columns([name for name in ADDED if name in rows.column_names])


def add_record(dataset: Dataset, record: dict[str, Any]) -> None:
    """Append the record to the description of the dataset, which `save_to_disk` keeps."""
    dataset.info.description = "\n".join(filter(None, [dataset.info.description, json.dumps({_RECORD_KEY: record})]))


def _restored(dataset: Dataset, dropped: Dataset | None) -> Dataset:
    whole = dataset.with_format(None)
    if ROW_GIVEN in dataset.column_names and is_purified(dataset):
        if dropped is None or ROW_GIVEN not in dropped.column_names:
            raise ValueError(
                f"dataset lacks the rows that were dropped; pass the DatasetDict that purify returned, with its split "
                f"'{DROPPED}'"
            )
        whole = datasets.concatenate_datasets([whole, dropped.with_format(None)])
        whole.info.update(dataset.info)  # merging keeps only a few of the fields
        position = column_array(whole, ROW_GIVEN)
        whole = whole.select(np.argsort(position, kind="stable"))
    whole = as_given(whole)
    whole.info.description, _, _ = _split_description(whole)
    return with_format_of(dataset, whole)


def _split_description(dataset: Dataset) -> tuple[str, str, str]:
    """The description without the record, the separator, and the line of the record."""
    head, mark, tail = f"\n{dataset.info.description}".rpartition(f'\n{{"{_RECORD_KEY}": ')
    if not mark:
        return dataset.info.description, "", ""
    return head.removeprefix("\n"), mark, (mark + tail).strip().splitlines()[0]
