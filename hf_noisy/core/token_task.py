"""Classification of tokens, such as named entities: a row is a labelled token."""

from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from hf_noisy.core.rows import Rows, Task, check_logits, logits_of, no_index, predicted_logits
from hf_noisy.core.types import Labels, Probabilities

NO_LABEL = -100  # of special tokens, padding and the further pieces of a word


class TokenLabels(Task):
    """One class for each labelled token; tokens with label -100 are no rows."""

    # The number of a row is that of the labelled token within its example, counted from the example's first row: the
    # same whatever the batch, the side and the length of the padding.

    one_row: ClassVar[bool] = False

    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        logits = logits_of(outputs)
        is_right = isinstance(logits, Tensor) and logits.ndim == 3 and logits.shape[:2] == labels.shape
        remedy = f"its labels have shape {tuple(labels.shape)}; use a token classification model"
        check_logits(logits, is_right, "[batch, tokens, classes]", labels, remedy)
        is_row = labels != NO_LABEL
        of_branches = getattr(outputs, "branch_logits", None)  # [batch, branches, tokens, classes]
        of_branches = None if of_branches is None else of_branches.transpose(1, 2)[is_row]
        return Rows(logits[is_row], labels[is_row], _numbers(is_row, index), of_branches)

    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        return _numbers(labels != NO_LABEL, index)

    def row_labels(self, labels: Tensor) -> Int[Tensor, " rows"] | Float[Tensor, "rows classes"]:
        return labels[labels != NO_LABEL]

    def with_row_labels(self, labels: Tensor, new: Int[Tensor, " rows"]) -> Tensor:
        return labels.masked_scatter(labels != NO_LABEL, new.to(labels.dtype))

    def to_rows(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, " rows"]:
        if values.ndim == 2:
            return values[~values.isnan()]
        return values[:, None].expand(labels.shape)[labels != NO_LABEL]

    def select(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, "rows ..."]:
        return values[labels != NO_LABEL]

    def flat(
        self, labels: Shaped[np.ndarray, " labels"], counts: Int64[np.ndarray, " examples"], num_labels: int
    ) -> tuple[Labels, Int64[np.ndarray, " examples"]]:
        is_row = labels != NO_LABEL
        before = np.concatenate([[0], np.cumsum(is_row)])
        ends = np.cumsum(counts)
        return labels[is_row], before[ends] - before[ends - counts]

    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        from scipy.special import softmax

        logits, labels = predicted_logits(predicted), np.asarray(predicted.label_ids)
        if not isinstance(logits, np.ndarray) or logits.ndim != 3 or logits.shape[:2] != labels.shape:
            shape = getattr(logits, "shape", type(logits).__name__)
            raise ValueError(
                f"predictions must be logits [examples, tokens, classes] for labels {labels.shape}, got {shape}"
            )
        is_row = labels != NO_LABEL
        return labels[is_row], softmax(logits[is_row].astype(np.float64), axis=1)

    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        if num_classes < 2:
            raise ValueError(
                f"model has {num_classes} class, but at least 2 are needed; load it with num_labels=2 or more"
            )
        if labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be a list of class ids for each text, one per token, got {labels.dtype}; number the "
                "tags, and give -100 to tokens without one"
            )
        wrong = (labels != NO_LABEL) & ((labels < 0) | (labels >= num_classes))
        if wrong.any():
            raise ValueError(
                f"labels of tokens must be classes 0 to {num_classes - 1}, or -100 for none, got "
                f"{labels[wrong].flat[0]}; correct them, or allow for more classes (num_labels)"
            )


def _numbers(is_row: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
    """The number of each row: its place among the labelled tokens of its example, from the example's first row."""
    index = no_index(is_row) if index is None else index
    place = index[:, None] + is_row.cumsum(1) - 1
    return torch.where((index < 0)[:, None], -1, place)[is_row]
