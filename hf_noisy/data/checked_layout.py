"""Checked labels of tokens and of cells, numbered as the rows of logits are."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Int64, Shaped

from hf_noisy.core.columns import LABEL, LABELS, TOKENS
from hf_noisy.core.rows import Task
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.checked import SINGLE, UNCHECKED, UNKNOWN, CheckedRows
from hf_noisy.data.checked_lists import checked_lists
from hf_noisy.data.flat_labels import flat_tags, task_of_labels
from hf_noisy.data.labels import flat_lists, label_of
from hf_noisy.data.row_layout import RowLayout


def checked_units(dataset: Any, checked: Any, task: Task, num_labels: int, layout: RowLayout) -> CheckedRows | None:
    """The checked rows of logits of a dataset: from a file, or from a list for each example.

    In a list None, NaN or -100 stand where nobody looked.
    """
    if (stored := flat_lists(dataset)) is None:
        lists = [np.atleast_1d(label_of(dataset[index])) for index in range(len(dataset))]
        stored = np.concatenate(lists), np.array([len(one) for one in lists])
    labels, counts = stored
    if isinstance(checked, str | PathLike):
        values = _of_file(dataset, checked, task, labels, counts)
    elif isinstance(checked, Mapping | CheckedRows) or not hasattr(checked, "__getitem__"):
        raise ValueError(
            f"checked labels of {task.name} must be a file, or a list for each example in the form of '{LABELS}', "
            f"None where nobody looked, got {type(checked).__name__}"
        )
    else:
        values = _of_lists(dataset, checked, counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    is_open = np.bincount(rows, weights=(values == NO_LABEL) & (labels != NO_LABEL), minlength=len(counts)) > 0
    if not task.cells:
        values, rows = values[labels != NO_LABEL], rows[labels != NO_LABEL]
    index = np.flatnonzero(values != NO_LABEL)
    if not len(index):
        return None
    task.check_labels(values[index], num_labels if not task.cells else 2)
    nothing = np.full(len(index), np.nan)
    batch = np.zeros(len(index), np.int64)
    strategy = [SINGLE if one else UNKNOWN for one in is_open[rows[index]].tolist()]
    return CheckedRows(index, values[index], strategy, nothing, batch, layout.num_rows)


def _of_lists(dataset: Any, checked: Any, counts: Int64[np.ndarray, " examples"]) -> Int64[np.ndarray, " labels"]:
    if len(checked) != len(dataset):
        raise ValueError(f"checked must be a list or None for each of the {len(dataset)} rows, got {len(checked)}")
    parts = []
    for row, (own, count) in enumerate(zip(checked, counts.tolist(), strict=True)):
        if own is None or (isinstance(own, float) and np.isnan(own)):
            parts.append(np.full(count, NO_LABEL))
            continue
        if not hasattr(own, "__len__") or len(own) != count:
            found = f"{len(own)}" if hasattr(own, "__len__") else repr(own)
            raise ValueError(f"checked must have {count} labels in row {row}, as many as are given, got {found}")
        try:
            values = np.asarray(own, np.float64)  # None as NaN
        except (TypeError, ValueError):
            raise ValueError(f"checked must have whole numbers in row {row}, got {list(own)!r:.60}") from None
        values = np.where(np.isnan(values), NO_LABEL, values)
        if (values != np.rint(values)).any():
            odd = values[values != np.rint(values)][0]
            raise ValueError(f"checked must have whole numbers in row {row}, got {odd:g}")
        parts.append(values.astype(np.int64))
    return np.concatenate([*parts, np.zeros(0, np.int64)])


def _of_file(
    dataset: Any,
    path: str | PathLike[str],
    task: Task,
    labels: Shaped[np.ndarray, " labels"],
    counts: Int64[np.ndarray, " examples"],
) -> Int64[np.ndarray, " labels"]:
    """The labels in a file, of rows that still have the words or texts and the given labels by class."""
    wanted = "multi-label" if task.cells else "tokens"
    if not isinstance(dataset, Dataset) or task_of_labels(dataset) != wanted:
        columns = "the text" if task.cells else f"'{TOKENS}'"
        raise ValueError(
            f"checked rows in '{path}' are found by their content, so the dataset must keep the columns {columns} and "
            f"'{LABEL}' (lists of classes) beside '{LABELS}'"
        )
    found = checked_lists(dataset, path)
    values, ends = np.full(len(labels), NO_LABEL), np.cumsum(counts)
    flat, rows = None if task.cells else flat_tags(dataset), () if found is None else found.index.tolist()
    for row, own in zip(rows, () if found is None else found.values, strict=True):
        here = slice(ends[row] - counts[row], ends[row])
        if flat is None:
            values[here] = np.where(own == UNCHECKED, NO_LABEL, own)
            continue
        # The words with a tag, in their order, are the labelled tokens, of which truncation cuts off the last ones.
        tags = flat.labels[flat.offsets[row] : flat.offsets[row + 1]]
        places = np.flatnonzero(labels[here] != NO_LABEL)
        words = np.flatnonzero(tags >= 0)[: len(places)]
        if len(words) < len(places) or (tags[words] != labels[here][places]).any():
            raise ValueError(
                f"row {row} has labels on other tokens than the first of each word, so checked rows in '{path}' have "
                "no place; use tokenize_and_align_labels without label_all_tokens"
            )
        values[here][places] = np.where(own[words] == UNCHECKED, NO_LABEL, own[words])
    return values
