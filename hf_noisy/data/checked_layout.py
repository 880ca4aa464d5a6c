"""Checked labels of tokens and of cells, numbered as the rows of logits are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_noisy.core.rows import Task
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.checked import UNKNOWN, CheckedRows
from hf_noisy.data.labels import flat_lists, label_of
from hf_noisy.data.row_layout import RowLayout


def checked_units(
    dataset: Any, checked: Sequence[Any], task: Task, num_labels: int, layout: RowLayout
) -> CheckedRows | None:
    """The checked rows of logits of a dataset, from a list for each example, None or -100 where nobody looked."""
    if len(checked) != len(dataset):
        raise ValueError(f"checked must be a list or None for each of the {len(dataset)} rows, got {len(checked)}")
    if (stored := flat_lists(dataset)) is None:
        lists = [np.atleast_1d(label_of(dataset[index])) for index in range(len(dataset))]
        stored = np.concatenate(lists), np.array([len(one) for one in lists])
    labels, counts = stored
    parts = []
    for row, (own, count) in enumerate(zip(checked, counts.tolist(), strict=True)):
        if own is not None and len(own) != count:
            raise ValueError(f"checked must have {count} labels in row {row}, as many as are given, got {len(own)}")
        parts.append(np.full(count, NO_LABEL) if own is None else np.asarray(own, np.int64))
    values = np.concatenate([*parts, np.zeros(0, np.int64)])
    found = values if task.cells else values[labels != NO_LABEL]
    index = np.flatnonzero(found != NO_LABEL)
    if not len(index):
        return None
    task.check_labels(found[index], num_labels if not task.cells else 2)
    nothing = np.full(len(index), np.nan)
    batch = np.zeros(len(index), np.int64)
    return CheckedRows(index, found[index], [UNKNOWN] * len(index), nothing, batch, layout.num_rows)
