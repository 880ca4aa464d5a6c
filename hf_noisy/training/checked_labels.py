"""The checked labels of training rows, in the place of their given ones."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from hf_noisy.core.columns import CHECKED_LABEL, CHECKED_LABELS, LABELS
from hf_noisy.core.rows import Task
from hf_noisy.core.types import BatchLabels, Labels
from hf_noisy.data.checked import CheckedRows, checked_rows
from hf_noisy.data.checked_layout import checked_units
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.data.labels import label_column, row_labels, stored_labels
from hf_noisy.data.row_layout import row_layout

if TYPE_CHECKING:
    from hf_noisy.training.vote_targets import VoteTargets

NO_ROW_NUMBERS = (
    "row numbers, which the training loader adds, but the batch has none; call super() where a subclass overrides "
    "get_train_dataloader or training_step"
)


class CheckedLabels:
    """Replaces the given labels of a batch by votes, if there are any, and by what a person found."""

    def __init__(self, dataset: Any, checked: Any, num_classes: int, task: Task, votes: "VoteTargets") -> None:
        self.rows: CheckedRows | None = None
        self._votes = votes
        self._task, self._first = task, torch.empty(0)
        if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            columns = getattr(dataset, "column_names", None) or []
            column = next((f"column '{name}'" for name in (CHECKED_LABEL, CHECKED_LABELS) if name in columns), None)
            if checked is not None or column is not None:
                raise ValueError(
                    f"checked rows need a train_dataset with a length, got a stream with {column or 'checked='}; load "
                    "it without streaming"
                )
            return
        if not task.one_row:
            self._fit_lists(dataset, checked, num_classes)
            return
        # Other datasets than those of the Hub may not say how many classes they have.
        names = None if label_column(dataset) else [str(label) for label in range(num_classes)]
        self.rows = checked_rows(dataset, checked, names=names)
        if self.rows is not None and (most := int(self.rows.labels.max())) >= num_classes:
            row = int(self.rows.index[np.argmax(self.rows.labels)])
            raise ValueError(f"checked label {most} of row {row} is none of the model's {num_classes} classes")
        if self.rows is not None and votes.are_for_layers:
            raise ValueError(
                f"method annotator_layers takes no checked rows; add the checked labels to the votes as an annotator, "
                f"and leave out checked= and the column '{CHECKED_LABEL}'"
            )
        self._column = torch.from_numpy(self.rows.as_column()) if self.rows else torch.empty(0)

    def _fit_lists(self, dataset: Any, checked: Any, num_classes: int) -> None:
        """Number the labels that a person has checked among those of all examples."""
        names = getattr(dataset, "column_names", None) or []
        if checked is None and CHECKED_LABELS in names:
            checked = dataset.with_format(None)[CHECKED_LABELS][:]
        if checked is None and CHECKED_LABEL not in names:
            return
        if checked is None:
            raise ValueError(
                f"checked labels of {self._task.name} stand in a column '{CHECKED_LABELS}', a list for each example "
                f"in the form of '{LABELS}' or None where nobody looked; rename the column '{CHECKED_LABEL}'"
            )
        layout = row_layout(dataset, self._task, num_classes)
        self.rows = checked_units(dataset, checked, self._task, num_classes, layout)
        self._column = torch.from_numpy(self.rows.as_column()) if self.rows else torch.empty(0)
        self._first = torch.from_numpy(layout.first)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change when a run resumes."""
        checked = None if self.rows is None else labels_digest(self.rows.as_column())
        return {"checked labels": checked, **self._votes.identity}

    def __call__(self, labels: BatchLabels, index: Int[Tensor, " rows"] | None) -> BatchLabels:
        """The labels of a batch, hard or soft."""
        if self.rows is None and not self._votes.are_targets:
            return labels
        if index is None:
            raise ValueError(f"checked rows and votes are found by {NO_ROW_NUMBERS}")
        labels = self._votes(labels, index)
        if self.rows is None:
            return labels
        self._column = self._column.to(labels.device)
        if not self._task.one_row:
            first = self._first.to(labels.device)[index]
            found = self._column[self._task.row_index(labels, first)]
            given = self._task.row_labels(labels)
            return self._task.with_row_labels(labels, torch.where(found >= 0, found, given.to(found.dtype)))
        known = self._column[index]
        if labels.ndim == 1:
            return torch.where(known >= 0, known.to(labels.dtype), labels)
        pinned = F.one_hot(known.clamp(min=0), labels.shape[1]).to(labels.dtype)
        return torch.where((known >= 0)[:, None], pinned, labels)

    def all_labels(self, dataset: Any, task: Task, num_labels: int) -> Labels | Float64[np.ndarray, "rows classes"]:
        """The labels of all rows of the training set, hard or soft."""
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise ValueError("class_weight needs a train_dataset with a length; load it without streaming")
        if not task.one_row:
            given = row_layout(dataset, task, num_labels).labels
            if self.rows is None:
                return given
            column = self.rows.as_column()
            return np.where(column >= 0, column, given)
        stored = stored_labels(dataset)
        labels = torch.tensor(row_labels(dataset) if stored is None else stored)
        found = np.asarray(self(labels, torch.arange(len(labels))))
        return found.astype(np.float64) if found.ndim == 2 else found


def without_checked_column(dataset: Any) -> Any:
    """The dataset without the columns of checked labels, whose missing values no collator can stack."""
    columns = getattr(dataset, "column_names", None) or []
    found = [name for name in (CHECKED_LABEL, CHECKED_LABELS) if name in columns]
    return dataset.remove_columns(found) if found and hasattr(dataset, "remove_columns") else dataset
