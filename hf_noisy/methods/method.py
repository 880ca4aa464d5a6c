"""The protocol between `NoisyTrainer` and a method."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_noisy.core.rows import Rows, Task
from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.core.types import BatchLabels, LabelTensor, RowLosses
from hf_noisy.losses.loss import Loss
from hf_noisy.methods.missing_labels import given_label_rows

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import Trainer


@dataclass
class Batch:
    """One micro-batch, as passed to a method.

    Args:
        inputs: Only what the model's `forward` accepts.
        labels: `[batch]`, the given (noisy) labels; `[batch, classes]` for methods that take soft labels, and for
            multi-label classification; `[batch, tokens]` for token classification, -100 where there is none.
        index: `[batch]`, (first) row of each example in the training set; -1 for a streamed dataset.
        progress: Optimiser steps done over all steps, in `[0, 1)`.
        epoch: Full epochs done.
        num_epochs: Epochs of the whole run, rounded up; 0 if unknown (a streamed dataset).
        seed: Seed of the run; with `index` and `epoch` the key of every random number of a method.
        second_view: Inputs of a second view of the same rows, for methods that use one.
        task: What a row of logits is.
        missing_rate: As `hf_noisy.methods.missing_labels.missing_rates` returns them, if labels may be missing.
    """

    inputs: dict[str, Any]
    labels: BatchLabels
    index: Int[Tensor, " rows"]
    progress: float
    epoch: int
    num_epochs: int = 1
    seed: int = 0
    second_view: dict[str, Any] | None = None
    task: Task = SINGLE_LABEL
    missing_rate: Tensor | None = None

    @property
    def row_labels(self) -> LabelTensor | Float[Tensor, "rows classes"]:
        """The given labels of the rows of logits."""
        return self.task.row_labels(self.labels)

    @property
    def row_index(self) -> Int[Tensor, " rows"]:
        """Indices of the rows of logits, available before the model is called."""
        return self.task.row_index(self.labels, self.index)

    def rows(self, outputs: Any) -> Rows:
        """The rows of logits in the outputs of the model, with their labels and indices."""
        return given_label_rows(self.task.rows(outputs, self.labels, self.index), self.missing_rate)


@dataclass
class Step:
    """The losses of a batch, and what to log.

    Args:
        losses: `[batch]`, one loss per row, not reduced.
        outputs: The output of the model.
        metrics: Detached scalars or `[batch]` tensors, averaged and logged by the trainer.
    """

    losses: RowLosses
    outputs: Any
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """How one optimiser step is taken under label noise.

    What must survive a resume belongs in `state_dict()`. The model is passed to each call and must not be kept: under
    DDP and `torch.compile`, the wrapped model to call is another object than the user's.

    Attributes:
        citation: Reference to the paper.
        num_branches: Networks that the method trains at once; the trainer creates them if needed.
        needs_rows: Whether the method needs row indices, for its state or random numbers per row.
        soft_labels: Whether labels may be distributions, `[batch, classes]`.
        second_view: View that the trainer makes of every row, `"auto"` for one that fits the data, or `None`.
        row_losses: Whether each row has a loss of its own, which can be weighted.
        one_label_only: Whether the method is only for examples with one label, not for tokens or several labels.
    """

    citation: ClassVar[str] = ""
    num_branches: ClassVar[int] = 1
    needs_rows: ClassVar[bool] = False
    row_losses: ClassVar[bool] = True
    one_label_only: ClassVar[bool] = False
    soft_labels: bool = False
    second_view: Any = None

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        """Called with the unwrapped model before the method's state is restored; refuse unfit models here.

        Args:
            model: The user's model, or the branches that the trainer made from it.
            accelerator: The trainer's, or `None` for the check when the trainer is created.
            num_rows: Rows of the training set, if known.
        """

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        """Called when `train()` starts, after `setup`, before the method's state is restored; by default does nothing.

        Here a method computes what training needs from the initial model and the rows, or adds callbacks. It runs on
        every process, again for every `train()`, and must not change the global random state.

        Args:
            trainer: Its `model` has the branches and is not wrapped yet; its rows are in `train_dataset`.
            resumes: Whether training resumes: the buffers are then restored, and need only be of the right shape.
        """

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Step:
        """Losses of a batch; `model` is the wrapped model."""

    def before_step(self, model: nn.Module) -> None:
        """Called before each optimiser step with the unwrapped model, whose gradients are complete and clipped."""

    def after_step(self, model: nn.Module) -> None:
        """Called after each optimiser step with the unwrapped model."""

    def finish(self, trainer: "Trainer") -> Float[np.ndarray, "rows classes"] | None:
        """Called at the end of `train()`, such as to fit what predicts from then on (see `evaluated`).

        It runs on every process.

        Args:
            trainer: Its `model` is the trained model.

        Returns:
            Distributions of the true labels of the training rows, from which the trainer trains the network that
            `save_model` writes; None for a network of the trained model.
        """
        return None

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        """Further networks to evaluate, by the prefix of their metrics; `""` replaces the model in `predict` too."""
        return {}


class LossMethod(Method):
    """A method that only applies a loss to the logits.

    Of labels that are distributions, such as shares of votes, it takes the mean of the losses of the classes.

    Args:
        loss: A [`Loss`].
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.citation = loss.citation  # type: ignore[misc]
        self.soft_labels = True

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        # The papers' schedules change between epochs, not steps; a streamed dataset has no epochs.
        progress = batch.epoch / batch.num_epochs if batch.num_epochs else batch.progress
        if rows.labels.ndim == 1 or self.loss.soft_labels:
            return Step(self.loss(rows.logits, rows.labels, progress), outputs)
        each = [self.loss(rows.logits, label, progress) for label in _every_class(rows.labels)]
        losses = torch.stack(each, dim=1) * rows.labels
        return Step(torch.where(rows.labels > 0, losses, 0.0).sum(dim=1), outputs)


def _every_class(labels: Float[Tensor, "rows classes"]) -> Iterator[LabelTensor]:
    """Each class in turn as the label of all rows."""
    for label in range(labels.shape[1]):
        yield torch.full((len(labels),), label, device=labels.device)
