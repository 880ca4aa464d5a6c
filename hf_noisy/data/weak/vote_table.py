"""Votes of annotators (people, rules, language models) on rows, however many each has given."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer
from scipy.sparse import csr_array

from hf_noisy.data.weak.votes import check_votes

ABSTAIN = -1
_SHOWN = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Votes:
    """The answers of annotators: at most one of each annotator on each row.

    Attributes:
        row: `[votes]`, position of the row.
        annotator: `[votes]`, position of the annotator.
        label: `[votes]`, class id.
        num_rows: Number of rows, those without a vote included.
        annotators: Names of the annotators.
        classes: Names of the classes.
    """

    row: Int64[np.ndarray, " votes"]
    annotator: Int64[np.ndarray, " votes"]
    label: Int64[np.ndarray, " votes"]
    num_rows: int
    annotators: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    def matrix(self) -> Int64[np.ndarray, "rows annotators"]:
        """The class id of each annotator on each row, -1 for no answer."""
        table = np.full((self.num_rows, len(self.annotators)), ABSTAIN, dtype=np.int64)
        table[self.row, self.annotator] = self.label
        return table

    def indicators(self) -> csr_array:
        """1 at `[row, annotator * classes + label]` for each vote."""
        columns = self.annotator * len(self.classes) + self.label
        return csr_array(
            (np.ones(len(self)), (self.row, columns)),
            shape=(self.num_rows, len(self.annotators) * len(self.classes)),
        )

    def counts(self) -> Int64[np.ndarray, "rows classes"]:
        """Number of votes for each class."""
        return self.weighted_counts(np.ones(len(self.annotators))).astype(np.int64)

    def weighted_counts(self, weights: Float64[np.ndarray, " annotators"]) -> Float64[np.ndarray, "rows classes"]:
        """Sum of the weights of the annotators who voted for each class."""
        cells, size = self.row * len(self.classes) + self.label, self.num_rows * len(self.classes)
        return np.bincount(cells, weights=weights[self.annotator], minlength=size).reshape(self.num_rows, -1)


def votes_from_matrix(
    matrix: Any,
    num_classes: int | None = None,
    *,
    annotators: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    abstain: int = ABSTAIN,
) -> Votes:
    """Votes from a table of class ids.

    Args:
        matrix: `[rows, annotators]`, class ids; `abstain` where an annotator gave no answer.
        num_classes: Number of classes; by default that of `classes`, or the largest vote plus one.
        annotators: Names of the annotators; their positions by default.
        classes: Names of the classes; their ids by default.
        abstain: The value that means no answer.

    Returns:
        [`Votes`].

    Raises:
        ValueError: If a vote is no class, names are missing or repeated, or there is no vote.

    Example:
        >>> votes = votes_from_matrix(np.array([[0, 1, 1], [0, -1, 0]]), annotators=["ann", "ben", "model"])
        >>> len(votes), votes.counts().tolist()
        (5, [[1, 2], [2, 0]])
    """
    if num_classes is None:
        num_classes = len(classes) if classes is not None else max(int(np.max(matrix, initial=-1)) + 1, 2)
    cast = check_votes(matrix, num_classes, abstain)
    row, annotator = np.nonzero(cast)
    names = _names(annotators, matrix.shape[1], "annotators")
    labels = _names(classes, num_classes, "classes")
    return _votes(row, annotator, matrix[row, annotator], len(matrix), names, labels)


def votes_from_answers(
    rows: Integer[np.ndarray, " answers"],
    annotators: Sequence[Any],
    labels: Integer[np.ndarray, " answers"],
    *,
    num_rows: int | None = None,
    classes: Sequence[str] | None = None,
    abstain: int = ABSTAIN,
) -> Votes:
    """Votes from a list of answers in the order in which they were given.

    If an annotator answers a row twice, the last answer counts, since people correct themselves; this is logged.
    An abstention is no answer, and takes none back.

    Args:
        rows: `[answers]`, position of the row, from 0.
        annotators: `[answers]`, name of the annotator.
        labels: `[answers]`, class id; `abstain` for an abstention.
        num_rows: Number of rows; by default the largest position plus one.
        classes: Names of the classes; by default ids up to the largest label.
        abstain: The value that means no answer.

    Returns:
        [`Votes`], annotators sorted by name.

    Raises:
        ValueError: If a row or label is out of range, or there is no vote.

    Example:
        >>> votes = votes_from_answers(np.array([0, 0, 1, 0]), ["ann", "ben", "ann", "ben"], np.array([0, 0, 1, 1]))
        >>> votes.matrix().tolist()
        [[0, 1], [1, -1]]
    """
    rows, labels = np.asarray(rows), np.asarray(labels)
    num_rows = int(rows.max(initial=-1)) + 1 if num_rows is None else num_rows
    if len(rows) and (rows.min() < 0 or rows.max() >= num_rows):
        raise ValueError(f"rows must be from 0 to {num_rows - 1}, got {rows.min()} to {rows.max()}")
    num_classes = len(classes) if classes is not None else max(int(labels.max(initial=-1)) + 1, 2)
    kept = check_votes(labels[:, None], num_classes, abstain)[:, 0]
    names, numbers = np.unique(np.asarray(annotators, dtype=str), return_inverse=True)
    row, annotator, label = rows[kept].astype(np.int64), numbers[kept], labels[kept].astype(np.int64)
    keys = row * len(names) + annotator
    _, last = np.unique(keys[::-1], return_index=True)
    last = np.sort(len(keys) - 1 - last)
    if repeated := len(keys) - len(last):
        logger.warning(
            f"{repeated:,} answers were replaced, since the annotator answered the row again; the last answer counts"
        )
    found = _names(classes, num_classes, "classes")
    return _votes(row[last], annotator[last], label[last], num_rows, tuple(names.tolist()), found)


def _votes(
    row: Any, annotator: Any, label: Any, num_rows: int, annotators: tuple[str, ...], classes: tuple[str, ...]
) -> Votes:
    if not len(row):
        raise ValueError(f"votes must hold at least one answer, got none in {num_rows} rows")
    silent = np.setdiff1d(np.arange(len(annotators)), annotator)
    if len(silent):
        shown = ", ".join(annotators[number] for number in silent[:_SHOWN]) + (", ..." if len(silent) > _SHOWN else "")
        logger.warning(f"{len(silent)} of {len(annotators)} annotators have no answer and are ignored: {shown}")
    row, annotator, label = (np.asarray(values).astype(np.int64) for values in (row, annotator, label))
    return Votes(row, annotator, label, num_rows, annotators, classes)


def _names(names: Sequence[str] | None, count: int, what: str) -> tuple[str, ...]:
    found = tuple(map(str, range(count) if names is None else names))
    if len(found) != count or len(set(found)) < count:
        raise ValueError(
            f"{what} must be {count} different names, got {len(found)}, {len(set(found))} of them different"
        )
    return found
