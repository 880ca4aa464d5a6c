"""Labels that are lists: tags of tokens and sets of classes, as flat arrays of one class for each token or cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, LargeList, List
from jaxtyping import Bool, Float, Int64, Shaped

from hf_noisy.core.columns import LABEL, TOKENS

TaskName = Literal["one-label", "tokens", "multi-label"]
UNLABELLED = -1
HELD = {"one-label": "one class each", "tokens": "the tags of words", "multi-label": "sets of classes"}


@dataclass(frozen=True)
class FlatLabels:
    """The labels of all tokens one after the other, and where each row begins."""

    labels: Int64[np.ndarray, " tokens"]  # UNLABELLED where a token has none
    offsets: Int64[np.ndarray, " rows_plus_one"]

    @property
    def rows(self) -> Int64[np.ndarray, " tokens"]:
        """The row of each token."""
        return np.asarray(np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets)))

    def positions(self) -> Int64[np.ndarray, " tokens"]:
        """The position of each token in its row."""
        return np.asarray(np.arange(len(self.labels)) - self.offsets[self.rows])

    def split(self, values: Shaped[np.ndarray, "tokens ..."]) -> list[Shaped[np.ndarray, "length ..."]]:
        """Values of all tokens, row by row."""
        return np.split(values, self.offsets[1:-1]) if len(self.offsets) > 1 else []


def task_of_labels(dataset: Dataset, column: str = LABEL) -> TaskName:
    """What the labels of a dataset are: one class a row, a tag for each token, or a set of classes."""
    feature = dataset.features.get(column)
    if not isinstance(getattr(feature, "feature", None), ClassLabel):
        return "one-label"
    return "tokens" if TOKENS in dataset.column_names else "multi-label"


def list_names(dataset: Dataset, column: str = LABEL) -> list[str]:
    """The names of the classes of a column of lists."""
    names: list[str] = list(dataset.features[column].feature.names)
    return names


def flat_tags(dataset: Dataset, column: str = LABEL) -> FlatLabels:
    """The tags of all tokens of a dataset of tokens; those of a row without tags are missing."""
    lists = _lists(dataset, column)
    lengths = np.diff(_offsets(_lists(dataset, TOKENS)))
    own = np.diff(_offsets(lists))
    missing = lists.is_null().to_numpy(zero_copy_only=False)
    if (odd := np.flatnonzero(~missing & (own != lengths))).size:
        row = int(odd[0])
        raise ValueError(f"column '{column}' has {own[row]} tags for the {lengths[row]} tokens of row {row}")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = np.full(offsets[-1], UNLABELLED, dtype=np.int64)
    labels[np.repeat(~missing, lengths)] = _flat(lists)
    return FlatLabels(np.maximum(labels, UNLABELLED), offsets)


def flat_tokens(labels: Sequence[Any], probabilities: Any) -> tuple[FlatLabels, Float[np.ndarray, "tokens classes"]]:
    """The labels and probabilities of all tokens one after the other."""
    arrays = [np.asarray(one, dtype=np.int64) if len(one) else np.zeros(0, np.int64) for one in labels]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in arrays])]).astype(np.int64)
    flat = np.maximum(np.concatenate([*arrays, np.zeros(0, np.int64)]), UNLABELLED)
    if not isinstance(probabilities, np.ndarray) or probabilities.ndim != 2:
        parts = [np.asarray(one) for one in probabilities]
        odd = [row for row, (one, tags) in enumerate(zip(parts, arrays, strict=False)) if len(one) != len(tags)]
        if len(parts) != len(arrays) or odd:
            what = f"{len(parts)} sentences for {len(arrays)}" if not odd else f"other tokens in row {odd[0]}"
            raise ValueError(f"probabilities must be those of the tokens of labels, got {what}")
        probabilities = np.concatenate([one for one in parts if len(one)])
    if len(probabilities) != len(flat):
        raise ValueError(f"probabilities must be one row for each of the {len(flat)} tokens, got {len(probabilities)}")
    return FlatLabels(flat, offsets), probabilities


def label_sets(
    dataset: Dataset, column: str = LABEL
) -> tuple[Bool[np.ndarray, "rows classes"], Bool[np.ndarray, " rows"]]:
    """Which classes each row has, and which rows have a label at all (an empty set is one)."""
    lists = _lists(dataset, column)
    offsets = _offsets(lists)
    known = ~lists.is_null().to_numpy(zero_copy_only=False)
    sets = np.zeros((len(lists), len(list_names(dataset, column))), dtype=bool)
    sets[np.repeat(np.arange(len(lists)), np.diff(offsets)), _flat(lists)] = True
    return sets, known


def as_label_lists(sets: Bool[np.ndarray, "rows classes"], known: Bool[np.ndarray, " rows"] | None = None) -> pa.Array:
    """The sets as lists of ascending class ids; None where a row has no label."""
    rows, classes = np.nonzero(sets)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(sets)))])
    return as_arrow_lists(classes.astype(np.int64), offsets, known)


def as_arrow_lists(values: Any, offsets: Int64[np.ndarray, " _"], known: Any = None) -> pa.Array:
    """Values of all tokens as a list for each row; None where a row is not known."""
    mask = None if known is None or np.all(known) else pa.array(~np.asarray(known, dtype=bool))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values), mask=mask)


def is_list(feature: Any) -> bool:
    """Whether a column holds lists of any length."""
    return isinstance(feature, List | LargeList)


def _lists(dataset: Dataset, column: str) -> pa.Array:
    values = dataset.select_columns([column]).with_format("arrow")[:].column(column).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values


def _offsets(lists: pa.Array) -> Int64[np.ndarray, " _"]:
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _flat(lists: pa.Array) -> Int64[np.ndarray, " _"]:
    values = lists.flatten().fill_null(UNLABELLED)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)
