"""Losses and weights that are not finite stop training before they are saved."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_EVERY = 100  # micro-batches that are kept at most before they are checked


class LossWatch:
    """Finds losses that are not finite, without waiting for the device at every step: they are checked together."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._unseen: list[tuple[Tensor, Tensor, int, float]] = []

    def add(self, losses: Float[Tensor, " batch"], index: Int[Tensor, " batch"], step: int, epoch: float) -> None:
        """Keep the losses of a micro-batch of step `step` (from 1); `index` is negative where rows have no numbers."""
        self._unseen.append((losses.detach(), index, step, epoch))
        if len(self._unseen) >= _EVERY:
            self.check()

    def check(self) -> None:
        """Raise `FloatingPointError` if one of the losses kept so far is not finite."""
        unseen, self._unseen = self._unseen, []
        if not unseen or bool(torch.cat([losses for losses, *_ in unseen]).isfinite().all()):
            return
        losses, index, step, epoch = next(kept for kept in unseen if not bool(kept[0].isfinite().all()))
        bad = (~losses.isfinite()).nonzero().flatten()
        row = int(index[bad[0]])
        raise FloatingPointError(
            f"loss is {float(losses[bad[0]])} in step {step} (epoch {epoch:.2f}) for {len(bad)} of {len(losses)} rows"
            f"{f', first for row {row} of train_dataset' if row >= 0 else ''}; look at what is in such a row, or "
            f"train with a learning_rate below {self.learning_rate:g}"
        )


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """Raise `FloatingPointError` if a weight is no longer finite after step `step`."""
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise FloatingPointError(
                f"weight {name} is not finite after step {step}, so nothing was saved over earlier checkpoints; train "
                "with a smaller learning_rate, or with bf16 instead of fp16"
            )
