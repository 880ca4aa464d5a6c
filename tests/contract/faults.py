"""Planted faults: what each guard must catch, and correct methods with a state to compare them with."""

from typing import Any

import torch
from torch import Tensor, nn

from hf_noisy.methods import Batch, Method, Step
from hf_noisy.training.trainer import NoisyTrainer


class GlobalRandom(Method):
    """Weighs rows by a number of the global generator, one a call, instead of numbers that belong to the rows."""

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        losses = nn.functional.cross_entropy(rows.logits, rows.labels, reduction="none")
        return Step(losses * torch.rand((), device=losses.device), outputs)


class Memory(Method):
    """Weighs rows by what the model said of them the last time, and averages the model: two kinds of state."""

    persistent = True

    def __init__(self, rows: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.full((rows, classes), 1.0 / classes), persistent=self.persistent)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=self.persistent)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = rows.logits
        remembered = self.seen[rows.index]
        self.seen[rows.index] = 0.5 * remembered + 0.5 * logits.detach().softmax(-1)
        losses = nn.functional.cross_entropy(logits, rows.labels, reduction="none")
        agreement = (remembered * logits.log_softmax(-1)).sum(-1)
        return Step(losses - (0.1 * self.steps) * agreement, outputs)

    def after_step(self, model: nn.Module) -> None:
        self.steps += 1


class Forgetful(Memory):
    """Keeps its state out of `state_dict()`, so that a resume starts without it."""

    persistent = False


class MeanOfMicroBatch(NoisyTrainer):
    """Reduces by the mean of each micro-batch, and says that it was divided by the rows of the whole batch."""

    loss_is_scaled_for_ga = True

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        kwargs["num_items_in_batch"] = None
        return super().compute_loss(model, inputs, *args, **kwargs)


class DividedTwice(NoisyTrainer):
    """Says that its loss is not scaled, so that it is divided by the accumulation steps once more."""

    loss_is_scaled_for_ga = False


class PlaceInBatch(Method):
    """Weighs rows by their place in the batch, as if it were that in the data."""

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        losses = nn.functional.cross_entropy(rows.logits, rows.labels, reduction="none")
        return Step(losses * (1 + torch.arange(len(losses)) % 5), outputs)


class OwnNetwork(Method):
    """Trains a network of its own that no wrapper knows of: its gradients are never averaged over processes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.correction = nn.Linear(classes, classes)
        nn.init.eye_(self.correction.weight)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        logits: Tensor = self.correction(batch.rows(outputs).logits)
        return Step(nn.functional.cross_entropy(logits, batch.labels, reduction="none"), outputs)

    def after_step(self, model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in self.correction.parameters():
                if parameter.grad is not None:
                    parameter -= 0.5 * parameter.grad
                    parameter.grad = None
