"""What every loss of the package is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """A pure loss: one number a row from logits, given labels and the progress of training.

    A loss knows no model, draws no random numbers and does not reduce: the trainer alone divides, which is what makes
    the gradient exact under accumulation, ragged batches and several processes.
    """

    citation: ClassVar[str] = ""

    @abstractmethod
    def forward(
        self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], progress: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """Loss of each row.

        Args:
            logits: `[batch, classes]`, any float type; computed in float32 at least.
            labels: `[batch]`, given labels in `[0, classes)`.
            progress: Optimiser steps done over all steps, in `[0, 1)`.

        Returns:
            `[batch]`.
        """


def at_least_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return values if values.dtype == torch.float64 else values.float()
