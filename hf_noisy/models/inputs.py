"""Batches of any training set for a pass over all of its rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor, nn

from hf_noisy.core.columns import INDEX, LABEL, LABELS
from hf_noisy.models.heads import accepted_inputs


def batches_of(dataset: Any, batch_size: int) -> list[list[int]]:
    """Row indices of each batch; rows of one length together, as padding is most of the cost of short texts.

    Args:
        dataset: Map-style data set.
        batch_size: Rows a batch.

    Returns:
        Every row once.

    Example:
        >>> batches_of([{"label": 0}] * 3, 2)
        [[0, 1], [2]]
    """
    rows = np.arange(len(dataset))
    if isinstance(dataset, Dataset) and "input_ids" in dataset.column_names:
        rows = np.argsort([len(ids) for ids in dataset.with_format(None)["input_ids"]], kind="stable")
    return [rows[first : first + batch_size].tolist() for first in range(0, len(rows), batch_size)]


class ModelInputs:
    """Collates rows to the inputs of a model, and the rows they are.

    Args:
        collator: The trainer's.
        model: Whose `forward` takes the inputs; other columns and the labels go no further.
        all_columns: Whether the collator gets columns that the model does not take, to make inputs of them.
        labels: Whether the collator gets the labels, which those of one's own often ask for.
    """

    def __init__(
        self,
        collator: Callable[[list[Any]], Any],
        model: nn.Module,
        all_columns: bool = False,
        labels: bool = True,
    ) -> None:
        self.collator, self.labels = collator, labels
        self.accepted = accepted_inputs(model)
        self.all_columns = all_columns or self.accepted is None

    def __call__(self, rows: list[dict[str, Any]]) -> tuple[list[int], dict[str, Tensor]]:
        index = [int(row[INDEX]) for row in rows]
        batch = self.collator([{key: value for key, value in row.items() if self._keeps(key)} for row in rows])
        inputs = {key: value for key, value in batch.items() if self.accepted is None or key in self.accepted}
        return index, {key: value for key, value in inputs.items() if key not in (INDEX, LABEL, LABELS)}

    def _keeps(self, key: str) -> bool:
        if key in (LABEL, LABELS):
            return self.labels
        return key != INDEX and (self.all_columns or key in (self.accepted or ()))
