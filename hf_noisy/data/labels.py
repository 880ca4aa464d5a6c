"""The label and weight columns of a dataset, read as they are stored and checked before any training."""

import warnings
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64, Shaped

from hf_noisy.core.checks import check_weights
from hf_noisy.core.columns import LABEL, LABEL_WEIGHT, LABELS, column_array, stored_column
from hf_noisy.core.rows import Task
from hf_noisy.core.single_label import one_class_each
from hf_noisy.core.types import Labels


def column_values(dataset: datasets.Dataset, column: str) -> Shaped[np.ndarray, " rows"]:
    """The values of a column as they are stored, whatever the format of the dataset; missing labels are refused."""
    values = stored_column(dataset, column)
    if values.null_count:
        rows = np.flatnonzero(values.is_null().to_numpy())
        shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise ValueError(f"column '{column}' lacks {len(rows):,} labels, in rows {shown}; drop those rows first")
    array: np.ndarray = values.to_numpy()
    return array


def with_format_of(original: datasets.Dataset, dataset: datasets.Dataset) -> datasets.Dataset:
    """The dataset in the format of the original, limited to the columns that it has."""
    form: Any = original.format
    columns: list[str] | None = None
    if set(form["columns"]) != set(original.column_names):
        # A format that shows the label to a trainer must show a new weight too.
        weight = [LABEL_WEIGHT] if LABEL in form["columns"] and LABEL_WEIGHT not in original.column_names else []
        columns = [name for name in [*form["columns"], *weight] if name in dataset.column_names]
    return dataset.with_format(form["type"], columns, form["output_all_columns"], **form["format_kwargs"])


def label_column(dataset: Any) -> str | None:
    """The label column of a `datasets.Dataset`, `"labels"` or `"label"`, or `None` if it cannot be read cheaply."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__") or not hasattr(dataset, "with_format"):
        return None  # a stream can be read only once; other types may list columns without giving access to them
    return next((name for name in (LABELS, LABEL) if name in names), None)


def stored_labels(dataset: Any) -> Shaped[np.ndarray, "..."] | None:
    """The given labels of all rows, or `None` where reading them would mean reading the rows."""
    if isinstance(getattr(dataset, "labels", None), np.ndarray):  # ImageViews
        labels: np.ndarray = dataset.labels
        return labels
    column = label_column(dataset)
    # A lazy transform may change the label when the row is read.
    if column is None or getattr(dataset, "format", {}).get("type") == "custom":
        return None
    return label_column_array(dataset, column)


def label_column_array(dataset: datasets.Dataset, column: str) -> Shaped[np.ndarray, "..."]:
    """The labels in a column as they are stored, see [`label_array`]."""
    values = column_array(dataset, column)
    return label_array(values.tolist() if values.dtype == object else values)


def flat_lists(dataset: Any) -> tuple[Shaped[np.ndarray, " labels"], Int64[np.ndarray, " examples"]] | None:
    """The lists of labels of all examples, flat, and their lengths; None where it would mean reading the rows."""
    column = label_column(dataset)
    if column is None or getattr(dataset, "format", {}).get("type") == "custom":
        return None
    lists = dataset.select_columns([column]).with_format("arrow")[:].column(column).combine_chunks()
    is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
    if not (is_list or pa.types.is_fixed_size_list(lists.type)):
        raise ValueError(f"column '{column}' must hold a list of labels in each row, got {lists.type}")
    flat = lists.flatten()
    if lists.null_count or flat.null_count:
        raise ValueError(f"column '{column}' lacks labels in some rows; drop those rows first")
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return flat.to_numpy(zero_copy_only=False), counts


def label_array(values: Any) -> Shaped[np.ndarray, "..."]:
    """Labels as an array: one class id per row, also of rows such as `[1]`, or one distribution per row."""
    try:
        return np.asarray(one_class_each(np.asarray(values)))
    except ValueError as error:  # ragged
        lengths = sorted({len(value) for value in values if hasattr(value, "__len__")})
        raise ValueError(
            f"labels must be one class per row, got lists of {lengths[0]} to {lengths[-1]} labels, as of tokens; load "
            "the model with AutoModelForTokenClassification"
        ) from error


def row_labels(dataset: Any) -> Labels:
    """The given labels of all rows, read row by row where a lazy transform may change them."""
    labels = stored_labels(dataset)
    if labels is None:
        rows = (dataset[index] for index in range(len(dataset)))
        labels = label_array([label_of(row) for row in rows])
    return labels


def label_of(row: Any) -> Any:
    """The label of a row that was read."""
    name = LABELS if LABELS in row else LABEL
    if name not in row:
        raise ValueError(f"rows have no '{LABEL}' or '{LABELS}', only {', '.join(row)}; name the labels so")
    return np.asarray(row[name]).tolist()  # also of a tensor


def check_training_labels(dataset: Any, task: Task, num_classes: int, soft_labels: bool = False) -> bool:
    """Refuse given labels that the task cannot be trained on; False if they can only be read batch by batch."""
    if task.one_row:
        found = stored_labels(dataset)
    else:
        lists = flat_lists(dataset)
        found = None if lists is None else task.flat(lists[0], lists[1], num_classes)[0]
    labels = np.zeros(0, np.int64) if found is None else found
    task.check_labels(labels, num_classes, soft_labels)
    if found is None:
        return False
    present = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.sum(0))
    if empty := sorted(set(range(task.row_classes(num_classes))) - set(present.tolist())):
        missing = ", ".join(map(str, empty))
        warnings.warn(f"no training row has label {missing}; these classes cannot be learned", stacklevel=2)
    return True


def check_training_weights(dataset: Any) -> bool:
    """Whether there is a column of row weights; refused if its values cannot be used as weights."""
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or LABEL_WEIGHT not in names:
        return False
    if hasattr(dataset, "__len__") and hasattr(dataset, "with_format"):  # a stream can be read only once
        weights = column_array(dataset, LABEL_WEIGHT)
        if weights.dtype == object and len(weights) and all(isinstance(one, list) for one in weights):
            weights = np.concatenate(weights)  # one for each token
        check_weights(weights.ravel(), f"column '{LABEL_WEIGHT}'")
    return True
