"""Weights of the losses of rows: of each row, and of the rows of each class."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hf_noisy.core.columns import LABEL_WEIGHT
from hf_noisy.core.rows import Task
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.core.types import RowLosses
from hf_noisy.data.labels import check_training_weights, label_of
from hf_noisy.methods import Batch, Method
from hf_noisy.training.checked_labels import CheckedLabels

ClassWeight = Literal["balanced"] | Any  # or one number per class


class RowWeights:
    """Multiplies losses by the column `label_weight`, and by weights of classes with a mean of 1 over all rows."""

    def __init__(self, class_weight: ClassWeight, task: Task, num_labels: int) -> None:
        self._task, self._num_labels, self._num_classes = task, num_labels, task.row_classes(num_labels)
        check_class_weight(class_weight, self._num_classes)
        self._given = class_weight
        self._has_column, self._row_losses = False, True
        self._classes: Float[Tensor, " classes"] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change when a run resumes."""
        given = self._given
        return {"class weights": given if given is None or isinstance(given, str) else np.asarray(given).tolist()}

    def fit(self, dataset: Any, checked: CheckedLabels, method: Method) -> None:
        """Check the weights of the rows, and compute those of the classes from the given (or checked) labels."""
        self._has_column, self._row_losses = check_training_weights(dataset), method.row_losses
        if self._given is not None:
            labels = checked.all_labels(dataset, self._task, self._num_labels)
            self._classes = torch.from_numpy(class_weights(self._given, labels, self._num_classes).astype(np.float32))

    def __call__(
        self,
        losses: RowLosses,
        batch: Batch,
        row_data: dict[str, Any],
    ) -> RowLosses:
        """The weighted losses of a batch; `ValueError` if the weights of its rows are missing or cannot be used."""
        weights = row_data.get(LABEL_WEIGHT)
        if not self._row_losses and (self._classes is not None or self._has_column or weights is not None):
            raise ValueError(
                f"class_weight and '{LABEL_WEIGHT}' need a loss of each row, but a model gives one of a whole batch; "
                "leave them out with method 'model_loss', or take 'cross_entropy'"
            )
        if weights is not None:
            losses = losses * self._task.to_rows(weights, batch.labels).to(losses.dtype)
        elif self._has_column:
            raise ValueError(
                f"the batch has no '{LABEL_WEIGHT}' of its rows, which the training loader adds; call super() where a "
                "subclass overrides get_train_dataloader or training_step; of a stream, data_collator must pass it on"
            )
        if self._classes is None:
            return losses
        labels = batch.row_labels
        self._classes = self._classes.to(labels.device)
        return losses * (labels.float() @ self._classes if labels.ndim == 2 else self._classes[labels])


def class_weights(
    given: ClassWeight, labels: Num[np.ndarray, "..."], num_classes: int
) -> Float64[np.ndarray, " classes"]:
    """The weight of each class, scaled to a mean of 1 over the rows; `"balanced"` is the inverse of its frequency."""
    counts = np.bincount(labels, minlength=num_classes) if labels.ndim == 1 else labels.sum(0)
    shares: Float64[np.ndarray, " classes"] = counts / counts.sum()
    weights = np.divide(1.0, shares, out=np.zeros(num_classes), where=shares > 0)
    if not isinstance(given, str):
        weights = np.asarray(given, np.float64)
    if (mean := float(weights @ shares)) <= 0.0:
        raise ValueError(f"class_weight is 0 for every class that a row has, got {weights.tolist()}")
    return np.asarray(weights / mean)


def check_class_weight(given: ClassWeight, num_classes: int) -> None:
    """Refuse what is neither `"balanced"`, None, nor one number of at least 0 per class."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    weights = np.full(1, np.nan) if isinstance(given, str | dict) else np.asarray(given, np.float64)
    if weights.shape != (num_classes,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"class_weight must be 'balanced' or {num_classes} numbers of at least 0, one per class, got {given!r}"
        )


def given_weights(rows: Sequence[Mapping[str, Any]], task: Task) -> Float[Tensor, "batch ..."]:
    """The column `label_weight` of a batch: `[batch]`, or `[batch, rows of an example]`, padded with NaN."""
    first = rows[0][LABEL_WEIGHT]
    if task.one_row or np.ndim(first) == 0:
        return torch.tensor([float(row[LABEL_WEIGHT]) for row in rows])
    weights = [_of_rows(row, task) for row in rows]
    return pad_sequence(weights, batch_first=True, padding_value=float("nan"))


def _of_rows(row: Mapping[str, Any], task: Task) -> Float[Tensor, " rows"]:
    """The weights of the rows of an example, which has one for each entry of its labels."""
    weights, labels = torch.as_tensor(row[LABEL_WEIGHT]), torch.as_tensor(label_of(row))
    if weights.shape != labels.shape:
        raise ValueError(
            f"'{LABEL_WEIGHT}' must be one number per row, or one for each of its {len(labels)} labels, got "
            f"{len(weights)}"
        )
    return task.to_rows(weights[None].float(), labels[None]) if task.cells else weights[labels != NO_LABEL].float()
