"""Undo a purification, and what purified datasets carry: columns, formats and the record of how they were made."""

import json
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict  # both: checks of types read the one out of the other
from jaxtyping import Shaped

from hf_noisy.core.columns import (
    LABEL,
    LABEL_CHANGED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    ROW_GIVEN,
)

DROPPED = "dropped"  # the split of the rows that were dropped
ADDED = (LABEL_GIVEN, LABEL_POSTERIOR, LABEL_CONFIDENCE, LABEL_CHANGED, PURIFIER, LABEL_WEIGHT, ROW_GIVEN)
_RECORD_KEY = "purification_record"


def restore_labels(dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
    """Undo [`purify`]: the given labels, the dropped rows in their places, and no column more.

    The columns alone are needed, so it works after saving, publishing and loading too. Rows that were removed by hand
    after the purification stay removed.

    Args:
        dataset: What `purify` returned.

    Returns:
        The dataset as it was before. Of rows that were dropped from a single dataset a single dataset again, unless
        its info was lost on the way (as on the Hub): then a `DatasetDict`.

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
            if name != DROPPED or ROW_GIVEN not in part.column_names
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


def add_record(dataset: Dataset, record: dict[str, Any]) -> None:
    """Append the record to the description of the dataset, which `save_to_disk` keeps."""
    dataset.info.description = "\n".join(filter(None, [dataset.info.description, json.dumps({_RECORD_KEY: record})]))


def stored_labels(dataset: Dataset, column: str) -> Shaped[np.ndarray, " rows"]:
    """The values of a column as they are stored, whatever the format of the dataset."""
    labels: np.ndarray = dataset.select_columns([column]).with_format("arrow")[:].column(column).to_numpy()
    return labels


def with_column(dataset: Dataset, name: str, values: Any, feature: Any) -> Dataset:
    """The dataset with other values in a column, which stays in its place."""
    order = dataset.column_names
    # Kept under another name until the new column is there: a dataset without columns has no rows.
    old = f"{name} before"
    return dataset.rename_column(name, old).add_column(name, values, feature=feature).select_columns(order)


def with_format_of(original: Dataset, dataset: Dataset) -> Dataset:
    """The dataset in the format of the original, on the columns that are there."""
    form: Mapping[str, Any] = original.format
    columns: list[str] | None = None
    if set(form["columns"]) != set(original.column_names):
        # A trainer that was shown the label must see its weight.
        weight = [LABEL_WEIGHT] if LABEL in form["columns"] else []
        columns = [name for name in [*form["columns"], *weight] if name in dataset.column_names]
    return dataset.with_format(form["type"], columns, form["output_all_columns"], **form["format_kwargs"])


def _restored(dataset: Dataset, dropped: Dataset | None) -> Dataset:
    form = dataset
    whole = dataset.with_format(None)
    if ROW_GIVEN in dataset.column_names:
        if dropped is None or ROW_GIVEN not in dropped.column_names:
            raise ValueError(
                f"dataset lacks the rows that were dropped; pass the DatasetDict that purify returned, with its split "
                f"'{DROPPED}'"
            )
        whole = datasets.concatenate_datasets([whole, dropped.with_format(None)])
        whole.info.update(dataset.info)  # merging keeps a few of the fields only
        position = np.asarray(whole.select_columns([ROW_GIVEN]).with_format("numpy")[:][ROW_GIVEN])
        whole = whole.select(np.argsort(position, kind="stable"))
    whole = with_column(whole, LABEL, stored_labels(whole, LABEL_GIVEN), dataset.features[LABEL_GIVEN])
    whole = whole.remove_columns([name for name in ADDED if name in whole.column_names])
    whole.info.description, _, _ = _split_description(whole)
    return with_format_of(form, whole)


def _split_description(dataset: Dataset) -> tuple[str, str, str]:
    """What the description was before, and the line of the record."""
    head, mark, tail = f"\n{dataset.info.description}".rpartition(f'\n{{"{_RECORD_KEY}": ')
    if not mark:
        return dataset.info.description, "", ""
    return head.removeprefix("\n"), mark, (mark + tail).strip().splitlines()[0]
