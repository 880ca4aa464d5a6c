"""Classification into one label: a row is an example."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from hf_noisy.core.checks import check_labels, check_soft_labels
from hf_noisy.core.rows import Rows, Task, check_logits, logits_of, no_index, predicted_logits
from hf_noisy.core.types import Labels, Probabilities


class SingleLabel(Task):
    """One class for each example: a row is an example."""

    def given(self, labels: Any) -> Any:
        return one_class_each(labels)

    def for_model(self, labels: Tensor) -> Tensor:
        return labels.argmax(-1) if labels.ndim == 2 else labels

    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        logits = logits_of(outputs)
        is_right = isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[0] == labels.shape[0]
        remedy = "use a sequence or image classification model"
        check_logits(logits, is_right, "[batch, classes]", labels, remedy)
        return Rows(logits, labels, self.row_index(labels, index), getattr(outputs, "branch_logits", None))

    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        return no_index(labels) if index is None else index

    def row_labels(self, labels: Tensor) -> Int[Tensor, " rows"] | Float[Tensor, "rows classes"]:
        return labels

    def with_row_labels(self, labels: Tensor, new: Int[Tensor, " rows"]) -> Tensor:
        return new.to(labels.dtype)

    def to_rows(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, " rows"]:
        return values

    def select(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, "rows ..."]:
        return values

    def count(self, items: Tensor | int, labels: Tensor) -> Tensor | int:
        # Trainer counts the entries of soft labels, not the rows.
        return items / labels.shape[1] if labels.ndim == 2 else items  # type: ignore[return-value]

    def flat(
        self, labels: Shaped[np.ndarray, " labels"], counts: Int64[np.ndarray, " examples"], num_labels: int
    ) -> tuple[Labels, Int64[np.ndarray, " examples"]]:
        return labels, counts

    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        from scipy.special import softmax

        logits = predicted_logits(predicted)
        labels = check_labels(one_class_each(predicted.label_ids))
        if not isinstance(logits, np.ndarray) or logits.ndim != 2 or len(logits) != len(labels):
            shape = getattr(logits, "shape", type(logits).__name__)
            raise ValueError(f"predictions must be logits [rows, classes] of the {len(labels)} rows, got {shape}")
        return labels, softmax(logits.astype(np.float64), axis=1)

    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        if num_classes < 2:
            raise ValueError(
                f"model has {num_classes} class, but at least 2 are needed; load it with num_labels=2 or more"
            )
        refuse_multi_label(labels, num_classes)
        if labels.ndim != 2 or labels.dtype.kind != "f":
            check_labels(labels, num_classes)
        elif soft_labels:
            check_soft_labels(labels, num_classes)
            if len(labels) and np.isin(labels, (0, 1)).all():
                warnings.warn(
                    "labels are one-hot vectors, trained as one class per row with softmax, where a stock Trainer "
                    "would train independent classes",
                    stacklevel=2,
                )
        else:
            raise ValueError(
                f"labels must be one class per row for this method, got soft labels of shape {labels.shape}; use "
                "method='cross_entropy', or the most probable class of each row"
            )


def one_class_each(labels: Any) -> Any:
    """Labels `[rows, 1]` of class ids, which transformers' own losses accept, as `[rows]`; others unchanged."""
    if getattr(labels, "ndim", 0) != 2 or labels.shape[1] != 1:
        return labels
    if not isinstance(labels, Tensor):
        return labels[:, 0]
    column = labels[:, 0].long()  # the default collator makes floats of lists
    return column if bool((column == labels[:, 0]).all()) else labels


def refuse_multi_label(labels: Shaped[np.ndarray, "..."], num_classes: int) -> None:
    """Refuse rows of zeros and ones with several classes, or none."""
    is_table = labels.ndim == 2 and labels.shape[1] == num_classes and labels.dtype.kind in "biuf"
    if not is_table or not np.isin(labels, (0, 1)).all():
        return
    if (several := labels.sum(1) != 1).any():
        row = int(several.argmax())
        raise ValueError(
            f"model must classify into one label, got {int(labels[row].sum())} classes in row {row}; for several "
            "classes per row, load the model with problem_type='multi_label_classification'"
        )
