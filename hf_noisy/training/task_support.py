"""What token and multi-label classification need of a trainer, and which methods do not fit them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding, Trainer

from hf_noisy.core.rows import Task
from hf_noisy.core.task import TOKENS
from hf_noisy.data.row_layout import RowLayout, row_layout
from hf_noisy.methods import LossMethod, Method
from hf_noisy.methods.missing_labels import missing_rates
from hf_noisy.models.heads import num_classes, unwrapped
from hf_noisy.training.train_loader import has_rows


class TaskRows:
    """The numbers of the rows of each example of the training set, and the rates of missing labels."""

    def __init__(self, task: Task, model: nn.Module, missing_rate: Any) -> None:
        self.task, self.num_labels, self._given = task, num_classes(model), missing_rate
        names = getattr(getattr(unwrapped(model), "config", None), "label2id", None)
        self.missing = missing_rates(missing_rate, task, self.num_labels, names)
        self.layout: RowLayout | None = None  # of a task with several rows per example
        self._first: Tensor | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change when a run resumes."""
        return {} if self._given is None else {"missing_rate": np.asarray(self._given).tolist()}

    def fit(self, dataset: Any, method: Method) -> int | None:
        """Number the rows of a training set for a method; returns how many there are, None for a stream."""
        _refuse_method(method, self.task)
        if not has_rows(dataset):
            if method.needs_rows:
                raise ValueError(
                    f"train_dataset must have a length and access by position for method {type(method).__name__}, "
                    f"which needs row indices, got {type(dataset).__name__}; load it without streaming"
                )
            return None
        if self.task.one_row:
            return len(dataset)
        self.layout = row_layout(dataset, self.task, self.num_labels)
        self._first = torch.from_numpy(self.layout.first)
        return self.layout.num_rows

    def first(self, index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The number of the first row of each example."""
        if self._first is None:
            return index
        self._first = self._first.to(index.device)
        return self._first[index]

    def describe(self, row: int) -> str:
        """A row of the training set, for messages."""
        if self.layout is None:
            return f"row {row}"
        example, place = self.layout.example_of(row)
        return f"{'class' if self.task.cells else 'labelled token'} {place} of row {example}"


def use_token_collator(trainer: Trainer, task: Task) -> None:
    """Pad the labels of tokens too, where the user gave no collator."""
    collator: Any = trainer.data_collator
    if task is TOKENS and type(collator) is DataCollatorWithPadding:
        trainer.data_collator = DataCollatorForTokenClassification(collator.tokenizer)


def _refuse_method(method: Method, task: Task) -> None:
    """Refuse methods that correct the label of a whole example or mix examples, where these have several labels."""
    if method.one_label_only and not task.one_row:
        raise ValueError(
            f"method {type(method).__name__} is for examples with one label, and {task.name} has several for each "
            "example; take another, such as 'elr', or 'soft_correction' with checked rows"
        )
    if task.cells and isinstance(method, LossMethod) and method.loss.normalised:
        raise ValueError(
            f"method {type(method.loss).__name__} normalises the logits of a row, and those of several labels, "
            "(0, z), are then always the same; take another, such as 'gce'"
        )
