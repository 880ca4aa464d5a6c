"""Class labels of a dataset, and the record of their noise that is saved with it."""

import json
from typing import Any

import datasets
import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.core.checks import check_labels
from hf_noisy.core.columns import CLEAN_LABEL, LABEL
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names, task_of_labels
from hf_noisy.data.labels import column_values

_RECORD_KEY, _LEFT_OUT_KEY = "noise_record", "unreadable_rows_left_out"


def class_labels(dataset: datasets.Dataset, column: str) -> tuple[Integer[np.ndarray, " rows"], int]:
    """The class ids in a column as int64 and the number of classes, at least two; missing labels are refused."""
    if column not in dataset.column_names:
        raise ValueError(f"label_column must be one of {dataset.column_names}, got '{column}'")
    feature = dataset.features[column]
    labels = column_values(dataset, column)
    if labels.dtype.kind not in "iu":
        if labels.dtype.kind == "f":
            remedy = f"cast whole numbers with dataset.cast_column('{column}', datasets.Value('int64'))"
        elif isinstance(feature, datasets.Value):
            remedy = f"call dataset.class_encode_column('{column}')"
        else:
            remedy = "reduce it to one whole number per row"
        raise ValueError(f"column '{column}' must hold class ids, got {feature}; {remedy} first")
    if isinstance(feature, datasets.ClassLabel) and feature.num_classes is not None:
        num_classes = feature.num_classes
    else:
        num_classes = int(labels.max(initial=-1)) + 1
    if num_classes < 2:
        raise ValueError(f"column '{column}' must hold at least 2 classes, got {num_classes}; check the column")
    return check_labels(labels, num_classes, name=f"column '{column}'").astype(np.int64), num_classes


def record_noise(
    dataset: datasets.Dataset,
    record: dict[str, Any],
    clean_labels: Integer[np.ndarray, " rows"],
    labels: Integer[np.ndarray, " rows"],
    num_classes: int,
) -> datasets.Dataset:
    """The dataset with a record of its noise in `info.description`, which `save_to_disk` keeps."""
    record = {"rate_asked" if key == "rate" else key: value for key, value in record.items()}
    record["rate_measured"] = float(np.mean(clean_labels != labels)) if len(labels) else 0.0
    record["transition_matrix"] = measured_transition_matrix(clean_labels, labels, num_classes).tolist()
    return _with_record(dataset, record)


def record_list_noise(
    dataset: datasets.Dataset, record: dict[str, Any], label_column: str = LABEL
) -> datasets.Dataset:
    """As [`record_noise`], of the labels of tokens, or of cells with the shares of each class."""
    if task_of_labels(dataset, label_column) == "tokens":
        given, true = flat_tags(dataset, label_column).labels, flat_tags(dataset, CLEAN_LABEL).labels
        known = (given >= 0) & (true >= 0)
        record = {**record, "unit": "token"}
        return record_noise(dataset, record, true[known], given[known], len(list_names(dataset, label_column)))
    (given, has_label), (true, is_known) = label_sets(dataset, label_column), label_sets(dataset, CLEAN_LABEL)
    known = has_label & is_known
    given, true = given[known], true[known]
    missing, spurious = (true & ~given).sum(0), (given & ~true).sum(0)
    record = {
        **record,
        "unit": "cell",
        "rate_measured": float((given != true).mean()) if given.size else 0.0,
        "missing_share": float(missing.sum() / max(true.sum(), 1)),
        "spurious_share": float(spurious.sum() / max(given.sum(), 1)),
        "missing_rate": (missing / np.maximum(true.sum(0), 1)).tolist(),
        "spurious_rate": (spurious / np.maximum((~true).sum(0), 1)).tolist(),
    }
    return _with_record(dataset, record)


def _with_record(dataset: datasets.Dataset, record: dict[str, Any]) -> datasets.Dataset:
    # Rates and seeds may be numpy scalars, which JSON cannot write.
    line = json.dumps({_RECORD_KEY: record}, default=np.generic.item)
    dataset.info.description = "\n".join(filter(None, [dataset.info.description, line]))
    return dataset


def noise_record(dataset: datasets.Dataset) -> dict[str, Any] | None:
    """The record of the noise in a dataset: kind, rates, seed, measured transition matrix.

    The figures were measured when the record was made: a later `filter` does not change them.

    Args:
        dataset: Any dataset.

    Returns:
        The record, or None if there is none.

    Example:
        >>> noise_record(datasets.Dataset.from_dict({"label": [0]})) is None
        True
    """
    for line in reversed(dataset.info.description.splitlines()):
        if line.startswith(f'{{"{_RECORD_KEY}"'):
            record: dict[str, Any] = json.loads(line)[_RECORD_KEY]
            return record
    return None


def record_left_out(dataset: datasets.Dataset, rows: int) -> datasets.Dataset:
    """The dataset with the number of unreadable rows that were left out when it was read."""
    line = json.dumps({_LEFT_OUT_KEY: rows})
    dataset.info.description = "\n".join(filter(None, [dataset.info.description, line]))
    return dataset


def rows_left_out(dataset: datasets.Dataset) -> int:
    """The number of unreadable rows that were left out when the dataset was read."""
    lines = dataset.info.description.splitlines()
    return sum(json.loads(line)[_LEFT_OUT_KEY] for line in lines if line.startswith(f'{{"{_LEFT_OUT_KEY}"'))


def measured_transition_matrix(
    clean_labels: Integer[np.ndarray, " rows"], labels: Integer[np.ndarray, " rows"], num_classes: int
) -> Float[np.ndarray, "classes classes"]:
    """P(given | true) by counting, `[true, given]`; a class without rows gets its row of the identity matrix."""
    counts = np.bincount(clean_labels * num_classes + labels, minlength=num_classes**2).astype(np.float64)
    counts = counts.reshape(num_classes, num_classes)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(num_classes))


def record_known_noise(dataset: datasets.Dataset, kind: str) -> datasets.Dataset:
    """The dataset with a record of the noise between its columns `clean_label` and `label`."""
    if task_of_labels(dataset) != "one-label":
        return record_list_noise(dataset, {"kind": kind})
    clean_labels, num_classes = class_labels(dataset, CLEAN_LABEL)
    labels, _ = class_labels(dataset, LABEL)
    return record_noise(dataset, {"kind": kind}, clean_labels, labels, num_classes)
