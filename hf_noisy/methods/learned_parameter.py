"""A parameter of a method that is learned beside the model."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class LearnedParameter(nn.Module):
    """A tensor trained by Adam, with the gradient summed over processes: no wrapper of the model knows of it."""

    steps: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, start: Tensor, learning_rate: float, accelerator: "Accelerator") -> None:
        super().__init__()
        self.learning_rate, self._accelerator = learning_rate, accelerator
        self.value = nn.Parameter(start.to(accelerator.device))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=accelerator.device))
        self.register_buffer("mean", torch.zeros_like(self.value))
        self.register_buffer("square", torch.zeros_like(self.value))

    @torch.no_grad()
    def after_step(self) -> None:
        """Adam's update, after the optimiser step of the model."""
        gradient, self.value.grad = self.value.grad, None
        if gradient is None:
            return
        gradient = self._accelerator.reduce(gradient, "sum")
        if self._accelerator.scaler is not None:  # fp16 scales the loss
            gradient = gradient / self._accelerator.scaler.get_scale()
        if not bool(gradient.isfinite().all()):  # the model's step was skipped too
            return
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.lerp_(gradient**2, 1 - _BETAS[1])
        corrected = (self.square / (1 - _BETAS[1] ** self.steps)).sqrt() + _EPSILON
        self.value.sub_(self.learning_rate * self.mean / (1 - _BETAS[0] ** self.steps) / corrected)
