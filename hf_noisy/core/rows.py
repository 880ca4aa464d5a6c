"""What a task is: how the output of a model becomes rows of class logits, all that methods and metrics see."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from hf_noisy.core.types import Labels, Logits, Probabilities


@dataclass(frozen=True)
class Rows:
    """Rows of class logits, with the given label (or soft label) and the index of each row."""

    logits: Logits
    labels: Int[Tensor, " rows"] | Float[Tensor, "rows classes"]
    index: Int[Tensor, " rows"]  # -1 where rows have no index
    branch_logits: Float[Tensor, "rows branches classes"] | None = None  # of a model of several networks


@dataclass(frozen=True)
class Task(ABC):
    """A kind of classification.

    `labels` are those of a batch as [`given`][hf_noisy.core.rows.Task.given] returns them, and `index` is the number
    of the first row of each example of the batch, as `row_counts` counts them over the dataset.
    """

    name: str  # as configurations store it
    auto_class: Any  # of transformers; None for modules that it does not know
    mapping: Any  # from configurations to the model classes of `auto_class`
    pipeline_tag: str  # of `pipeline` and model cards
    modality: str  # "text", "image" or "unknown"; also the column of raw inputs
    main_input: str | None  # the input that such a model requires
    metrics: tuple[str, ...]  # names that `compute_metrics` accepts

    one_row: ClassVar[bool] = True  # whether each example is one row
    cells: ClassVar[bool] = False  # whether rows ask whether an example has a class

    def model_classes(self, config: Any) -> tuple[type, ...]:
        """The model classes that the auto class has for a configuration."""
        classes = self.mapping.get(type(config), ())
        return classes if isinstance(classes, tuple) else (classes,)

    def row_classes(self, num_labels: int) -> int:
        """Number of classes of a row, for a model with so many labels."""
        return num_labels

    def given(self, labels: Any) -> Any:
        """The labels of a batch in the form that the other methods take."""
        return labels

    def for_model(self, labels: Tensor) -> Tensor:
        """The labels of a batch, for a model that cannot do without."""
        return labels

    @abstractmethod
    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        """The rows of logits in the output of a model for a batch; `ValueError` if there are none."""

    @abstractmethod
    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        """Indices of the rows of logits of a batch; -1 where its examples have none."""

    @abstractmethod
    def row_labels(self, labels: Tensor) -> Int[Tensor, " rows"] | Float[Tensor, "rows classes"]:
        """The labels of the rows of a batch."""

    @abstractmethod
    def with_row_labels(self, labels: Tensor, new: Int[Tensor, " rows"]) -> Tensor:
        """The labels of a batch with other ones of its rows."""

    @abstractmethod
    def to_rows(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, " rows"]:
        """One value for each row: of its example, or its own, padded with NaN to `[batch, rows of an example]`."""

    @abstractmethod
    def select(self, values: Float[Tensor, "batch ..."], labels: Tensor) -> Float[Tensor, "rows ..."]:
        """What a model computes for each position of its input or for each example, for each row."""

    def count(self, items: Tensor | int, labels: Tensor) -> Tensor | int:
        """Number of rows, of the number of labels that `Trainer` counts."""
        return items

    def to_classes(self, logits: Tensor) -> Float[Tensor, "... classes"]:
        """The output of a model with class logits in its last axis."""
        return logits

    def from_classes(self, logits: Float[Tensor, "... classes"]) -> Tensor:
        """The inverse of `to_classes`, up to what softmax ignores."""
        return logits

    @abstractmethod
    def flat(
        self, labels: Shaped[np.ndarray, " labels"], counts: Int64[np.ndarray, " examples"], num_labels: int
    ) -> tuple[Labels, Int64[np.ndarray, " examples"]]:
        """The labels of all rows and the number of rows of each example, of the stored labels of all examples."""

    @abstractmethod
    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        """Labels and probabilities of all rows of an `EvalPrediction`."""

    @abstractmethod
    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        """Refuse labels on which such a model cannot be trained."""


def logits_of(outputs: Any) -> Any:
    """The logits in the output of a model: an object, a mapping, a tuple `(loss, logits, ...)`, or logits alone."""
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, tuple | list):
        return next((part for part in outputs if not (isinstance(part, Tensor) and part.ndim == 0)), None)
    return outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)


def check_logits(logits: Any, is_right: bool, wanted: str, labels: Tensor, remedy: str) -> None:
    """Refuse the output of a model without logits of the wanted shape."""
    if isinstance(logits, Tensor) and is_right:
        return
    found = "no logits" if logits is None else f"logits of shape {tuple(getattr(logits, 'shape', ()))}"
    raise ValueError(
        f"model must return logits of shape {wanted}, but its output has {found} for a batch of {labels.shape[0]}; "
        f"{remedy}"
    )


def predicted_logits(predicted: Any) -> Any:
    """The logits of an `EvalPrediction`; where a model returns more, such as hidden states, they come first."""
    return predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions


def no_index(like: Tensor) -> Int[Tensor, " batch"]:
    """The index of examples without one: -1 for each."""
    return torch.full(like.shape[:1], -1, device=like.device)
