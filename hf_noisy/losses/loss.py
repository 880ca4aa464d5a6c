"""The base class of losses, and helpers."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses


class Loss(nn.Module, ABC):
    """A pure loss: one number per row from logits, given labels and the progress of training.

    A loss has no model and no random numbers, and does not reduce; only the trainer does, so that the gradient is
    exact under accumulation, ragged batches and several processes.
    """

    citation: ClassVar[str] = ""
    scheduled: ClassVar[bool] = False  # whether `progress` changes the loss
    soft_labels: ClassVar[bool] = False  # whether labels may also be probabilities, `[batch, classes]`
    normalised: ClassVar[bool] = False  # whether logits are normalised, which leaves nothing to learn of (0, z)

    @abstractmethod
    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        """Loss of each row.

        Args:
            logits: `[batch, classes]`, any float type; computed in float32 at least.
            labels: `[batch]`, given labels in `[0, classes)`.
            progress: Share of training done, in `[0, 1)`; `NoisyTrainer` rounds it down to whole epochs.

        Returns:
            `[batch]`.
        """


def at_least_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return values if values.dtype == torch.float64 else values.float()


def label_log_probability(logits: Logits, labels: LabelTensor) -> RowLosses:
    """`ln p_y` of the given label, at least float32; `p_y` itself would underflow for confident models."""
    return -F.cross_entropy(at_least_float32(logits), labels, reduction="none")


def check_weights(**weights: float) -> None:
    """Refuse weights of the terms of a loss that are negative, not finite or all 0."""
    for name, weight in weights.items():
        if not 0.0 <= weight < math.inf:
            raise ValueError(f"{name} must be a weight of at least 0, got {weight}; 1 is a usual choice")
    if not any(weights.values()):
        raise ValueError(f"{' and '.join(weights)} are all 0, so there is no loss; 1 is a usual choice")
