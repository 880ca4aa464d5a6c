"""Multi-label classification: a row is a cell, the question whether an example has a class."""

from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from hf_noisy.core.rows import Rows, Task, check_logits, logits_of, no_index, predicted_logits
from hf_noisy.core.types import Labels, Probabilities

MULTI_LABEL = "multi_label_classification"  # the problem_type of transformers
ABSENT, PRESENT = 0, 1  # the classes of a cell


class MultiLabel(Task):
    r"""Any number of classes for each example: a row is a cell (example, class) of two classes, absent and present.

    With the model's logit $z$ of a cell, the logits of the row are $(0, z)$. Their cross-entropy is the binary
    cross-entropy of $\sigma(z)$, and the methods apply as they are.
    """

    one_row: ClassVar[bool] = False
    cells: ClassVar[bool] = True

    def row_classes(self, num_labels: int) -> int:
        return 2

    def given(self, labels: Any) -> Any:
        return labels[:, None] if getattr(labels, "ndim", 2) == 1 else labels  # a model of one class

    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        logits = logits_of(outputs)
        remedy = f"its labels have shape {tuple(labels.shape)}, which must be [batch, classes] of zeros and ones"
        is_right = isinstance(logits, Tensor) and logits.shape == labels.shape
        check_logits(logits, is_right, "[batch, classes]", labels, remedy)
        of_branches = getattr(outputs, "branch_logits", None)  # [batch, branches, classes]
        of_branches = None if of_branches is None else self.to_classes(of_branches.transpose(1, 2)).flatten(0, 1)
        cells = self.to_classes(logits).flatten(0, 1)
        return Rows(cells, self.row_labels(labels), self.row_index(labels, index), of_branches)

    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        index = no_index(labels) if index is None else index
        cells = index[:, None] + torch.arange(labels.shape[1], device=index.device)
        return torch.where((index < 0)[:, None], -1, cells).flatten()

    def row_labels(self, labels: Tensor) -> Int[Tensor, " rows"] | Float[Tensor, "rows classes"]:
        return labels.flatten().long()

    def with_row_labels(self, labels: Tensor, new: Int[Tensor, " rows"]) -> Tensor:
        return new.view_as(labels).to(labels.dtype)

    def to_rows(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, " rows"]:
        return (values[:, None] if values.ndim == 1 else values).expand(labels.shape).flatten()

    def select(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, "rows ..."]:
        return values.repeat_interleave(labels.shape[1], 0)

    def to_classes(self, logits: Tensor) -> Float[Tensor, "... classes"]:
        return torch.stack([torch.zeros_like(logits), logits], -1)

    def from_classes(self, logits: Float[Tensor, "... classes"]) -> Tensor:
        return logits[..., PRESENT] - logits[..., ABSENT]

    def flat(
        self, labels: Shaped[np.ndarray, " labels"], counts: Int64[np.ndarray, " examples"], num_labels: int
    ) -> tuple[Labels, Int64[np.ndarray, " examples"]]:
        if (wrong := counts != num_labels).any():
            row = int(wrong.argmax())
            raise ValueError(
                f"labels of an example must be {num_labels} zeros and ones, one for each class, got {counts[row]} in "
                f"row {row}; make a list of zeros and ones of lists of class ids"
            )
        self.check_labels(labels, num_labels)
        return labels.astype(np.int64), counts

    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        from scipy.special import expit

        logits, labels = predicted_logits(predicted), self.given(np.asarray(predicted.label_ids))
        if not isinstance(logits, np.ndarray) or logits.shape != labels.shape:
            shape = getattr(logits, "shape", type(logits).__name__)
            raise ValueError(f"predictions must be logits [examples, classes] for labels {labels.shape}, got {shape}")
        present = expit(logits.astype(np.float64)).ravel()
        return labels.ravel().astype(np.int64), np.stack([1 - present, present], 1)

    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        if labels.ndim == 2 and labels.shape[1] != num_classes:
            raise ValueError(
                f"labels must be one list of {num_classes} zeros and ones for each example, got shape {labels.shape}"
            )
        if not np.isin(labels, (ABSENT, PRESENT)).all():
            raise ValueError(
                "labels of several classes per example must be 1. for a class that it has and 0. for the others, got "
                f"{labels[~np.isin(labels, (ABSENT, PRESENT))].flat[0]}"
            )
