"""Where the rows of each example are, for tasks with several rows of logits per example."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from hf_noisy.core.rows import Task
from hf_noisy.core.types import Labels
from hf_noisy.data.labels import flat_lists, label_of, row_labels


@dataclass(frozen=True)
class RowLayout:
    """The rows of a dataset, in the order of its examples.

    Attributes:
        labels: `[rows]`, the given label of each row.
        first: `[examples + 1]`, the number of the first row of each example, and of all rows.
    """

    labels: Labels
    first: Int64[np.ndarray, " bounds"]

    @property
    def num_rows(self) -> int:
        return int(self.first[-1])

    def rows_of(self, examples: list[int]) -> Int64[np.ndarray, " rows"]:
        """The numbers of the rows of some examples, in their order."""
        return np.concatenate([np.arange(self.first[one], self.first[one + 1]) for one in examples])

    def example_of(self, row: int) -> tuple[int, int]:
        """The example of a row, and the place of the row in it."""
        example = int(np.searchsorted(self.first, row, side="right")) - 1
        return example, row - int(self.first[example])


def row_layout(dataset: Any, task: Task, num_labels: int) -> RowLayout:
    """The rows of a dataset; examples are read one by one where their labels are not stored."""
    if task.one_row:
        return RowLayout(row_labels(dataset), np.arange(len(dataset) + 1))
    if (stored := flat_lists(dataset)) is None:
        lists = [np.atleast_1d(label_of(dataset[index])) for index in range(len(dataset))]
        stored = np.concatenate(lists), np.array([len(one) for one in lists])
    labels, counts = task.flat(*stored, num_labels)
    return RowLayout(labels, np.concatenate([[0], np.cumsum(counts)]))
