"""The protocol between `NoisyTrainer` and a method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_noisy.losses.base import Loss

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Batch:
    """One micro-batch as a method sees it.

    Args:
        inputs: What the model's `forward` accepts, nothing else.
        labels: `[batch]`, the given (noisy) labels.
        index: `[batch]`, row of each example in the training set; -1 for a stream without rows.
        progress: Optimiser steps done over all steps, in `[0, 1)`.
        epoch: Full epochs done.
    """

    inputs: dict[str, Any]
    labels: Int[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    progress: float
    epoch: int


@dataclass
class Step:
    """What a method makes of a batch.

    Args:
        losses: `[batch]`, one loss a row; the trainer alone reduces.
        outputs: The output of the model.
        metrics: Detached scalars or `[batch]` tensors, averaged and logged by the trainer.
    """

    losses: Float[Tensor, " batch"]
    outputs: Any
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """How one optimiser step is taken under label noise.

    What must survive a resume belongs in `state_dict()`. The model is handed to each call and never kept: under
    DDP and `torch.compile` the object to call is not the object the user made.
    """

    citation: ClassVar[str] = ""

    def setup(self, model: nn.Module, accelerator: "Accelerator | None") -> None:
        """Called once with the unwrapped model before the optimiser state is restored; refuse unfit models here.

        Args:
            model: The model as the user made it.
            accelerator: The trainer's, or `None` when a trainer is only being built and checks its arguments.
        """

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Step:
        """Losses of a batch. `model` is the wrapped model: call it, never keep it."""

    def after_step(self, model: nn.Module) -> None:
        """Called after each optimiser step with the unwrapped model."""


class LossMethod(Method):
    """A method that is nothing but a loss of the logits.

    Args:
        loss: A [`Loss`].
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.citation = loss.citation  # type: ignore[misc]

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        logits = class_logits(outputs, batch.labels)
        return Step(self.loss(logits, batch.labels, batch.progress), outputs)


def class_logits(outputs: Any, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
    """The `[batch, classes]` logits of a model output, or a sentence that says why there are none."""
    logits = outputs.get("logits") if isinstance(outputs, dict) else getattr(outputs, "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[0] != labels.shape[0]:
        found = "no logits" if logits is None else f"logits of shape {tuple(getattr(logits, 'shape', ()))}"
        raise ValueError(
            f"model must return logits of shape [batch, classes], but its output has {found} for a batch of "
            f"{labels.shape[0]}; use a sequence or image classification model"
        )
    return logits
