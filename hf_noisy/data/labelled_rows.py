"""Rows with and without a given label: commands work on the labelled rows and put the others back in their place."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict
from jaxtyping import Int64

from hf_noisy.core.columns import CHECKED_LABEL, CLEAN_LABEL, LABEL, stored_column
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.flat_labels import is_list
from hf_noisy.data.replace_column import with_column

MARKS = ("-1", "-100")  # what other tools write in the place of a missing label
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows of a dataset, and where they are in it."""

    rows: Dataset
    index: Int64[np.ndarray, " labelled"]  # positions in the whole
    whole: Dataset

    @property
    def missing(self) -> Int64[np.ndarray, " unlabelled"]:
        """The positions of the rows without a label."""
        return np.setdiff1d(np.arange(len(self.whole)), self.index)

    def among(self, checked: CheckedRows | None) -> CheckedRows | None:
        """The checked rows of the whole that have a given label, with their positions among the labelled rows."""
        if checked is None or len(self.index) == len(self.whole):
            return checked
        kept = np.flatnonzero(np.isin(checked.index, self.index))
        part = replace(
            checked,
            index=np.searchsorted(self.index, checked.index[kept]),
            labels=checked.labels[kept],
            strategy=[checked.strategy[row] for row in kept],
            probability=checked.probability[kept],
            batch=checked.batch[kept],
            num_rows=len(self.index),
            digests=tuple(checked.digests[row] for row in kept) if checked.digests else (),
        )
        return part if len(part) else None


def labelled_rows(dataset: Dataset, column: str = LABEL) -> LabelledRows:
    """The rows whose label is not missing."""
    if is_list(dataset.features.get(column)):  # an empty list is a label
        values = dataset.select_columns([column]).with_format("arrow")[:].column(column)
        known = values.is_valid().to_numpy()
    else:
        known = label_values(dataset, column) >= 0
    index = np.flatnonzero(known)
    return LabelledRows(dataset if known.all() else dataset.select(index), index, dataset)


def label_values(dataset: Dataset, column: str) -> Int64[np.ndarray, " rows"]:
    """The class ids in a column, -1 where they are missing or there is no such column."""
    if column not in dataset.column_names:
        return np.full(len(dataset), -1)
    values = stored_column(dataset, column)
    return np.asarray(values.to_pandas().fillna(-1).to_numpy(), dtype=np.int64)


def has_values(dataset: Dataset, column: str) -> bool:
    """Whether there is such a column and a row has a value in it."""
    if column not in dataset.column_names:
        return False
    values = stored_column(dataset, column)
    return len(values) == 0 or values.null_count < len(values)


def true_noise(rows: Dataset, labels: Any) -> float | None:
    """The share of labels that differ from the true one, among the rows whose true label is known; None if none is."""
    clean = label_values(rows, CLEAN_LABEL)
    known = clean >= 0
    return float((clean != np.asarray(labels))[known].mean()) if known.any() else None


def marks_as_missing(splits: DatasetDict) -> DatasetDict:
    """The splits with labels -1 and -100 as missing values, unless fewer than two classes would be left."""
    feature = next(iter(splits.values())).features.get(LABEL)
    marks = [name for name in getattr(feature, "names", None) or [] if name in MARKS]
    kept = [name for name in getattr(feature, "names", None) or [] if name not in MARKS]
    if not marks or len(kept) < 2:
        return splits
    ids = np.array([kept.index(name) if name in kept else -1 for name in feature.names])
    found = dict.fromkeys(marks, 0)
    for key, rows in splits.items():
        given = label_values(rows, LABEL)
        for mark in marks:
            found[mark] += int((given == feature.names.index(mark)).sum())
        for column in (LABEL, CLEAN_LABEL, CHECKED_LABEL):
            if column in rows.column_names and rows.features[column] == feature:
                old = label_values(rows, column)
                new = pa.array(ids[old], mask=(old < 0) | (ids[old] < 0))
                rows = with_column(rows, column, new, ClassLabel(names=kept))
        splits[key] = rows
    counted = " and ".join(f"{count:,} labels {mark}" for mark, count in found.items())
    logger.warning("%s count as missing; if this is a class, give it another name", counted)
    return splits
