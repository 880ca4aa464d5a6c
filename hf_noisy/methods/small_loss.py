"""Selection of rows whose loss is small among all training rows, not only those of the batch."""

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hf_noisy.core.types import RowLosses
from hf_noisy.methods.method import Batch
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.methods.two_networks import TwoNetworks

if TYPE_CHECKING:
    from accelerate import Accelerator

_RAMP_EPOCHS = 10  # of the 200 epochs of the papers
_MOST_RANKED = 1 << 17  # rows, of which every second, third, ... is ranked where there are more, as of tokens


class Selection(NamedTuple):
    """Rows that are kept, the share of rows to keep, and the forget rate at the end of the ramp."""

    kept: Bool[Tensor, "rows rankings"]
    share: Float[Tensor, ""]
    forget_rate: Float[Tensor, ""]


class SmallLoss(nn.Module):
    r"""Keeps the rows whose loss is at most a quantile of the last losses of all rows.

    In epoch $e = 0, 1, \dots$ the share that is kept is $1 - \tau \min(e / E_k, 1)$ with `forget_rate` $\tau$ and
    `ramp_epochs` $E_k$. The papers rank within a batch, which depends on the batch size. Here the threshold is a
    quantile of the latest losses of all rows, computed once per optimiser step. In the first epoch all rows are kept.

    If no rate is given, it is the share of rows with $p_y < 1 / C$, estimated at the start of each epoch until the
    ramp ends: before wrong labels are memorised, few correct ones are below it.
    """

    memory: RowMemory
    estimate: Tensor
    estimated_in: Tensor

    def __init__(self, forget_rate: float | None, ramp_epochs: int | None) -> None:
        super().__init__()
        if forget_rate is not None and not 0.0 <= forget_rate < 1.0:
            raise ValueError(f"forget_rate must be in [0, 1), got {forget_rate}; pass None to have it estimated")
        if ramp_epochs is not None and not (isinstance(ramp_epochs, int) and ramp_epochs >= 1):
            raise ValueError(f"ramp_epochs must be an integer of at least 1, got {ramp_epochs}; the paper uses 10")
        self.forget_rate, self.ramp_epochs = forget_rate, ramp_epochs

    def setup(self, rankings: int, num_rows: int | None, accelerator: "Accelerator") -> None:
        """Allocate the losses of all rows, for `rankings` independent rankings."""
        # The last entry is the networks' mean cross-entropy, from which the forget rate is estimated.
        self.memory = RowMemory(num_rows, (rankings + 1,), accelerator, fill=math.nan)
        self.register_buffer("estimate", torch.zeros((), device=accelerator.device))
        self.register_buffer("estimated_in", torch.zeros((), dtype=torch.int64, device=accelerator.device))
        self._last_epoch = 0
        self._threshold: Tensor | None = None

    @torch.no_grad()
    def forward(
        self, losses: Float[Tensor, "rows rankings"], cross_entropy: RowLosses, batch: Batch, num_classes: int
    ) -> Selection:
        """Select rows of a batch by `losses` and store these; `cross_entropy` is the mean over networks."""
        ramp = min(batch.epoch / self._ramp(batch.num_epochs), 1.0)
        if self.forget_rate is None and batch.epoch != self._last_epoch:
            self._update_estimate(batch, num_classes)
        rate = self.estimate.clone() if self.forget_rate is None else torch.full_like(self.estimate, self.forget_rate)
        share = 1.0 - rate * ramp
        if self._threshold is None:
            self._threshold = self._quantile(share)
        kept = losses <= self._threshold
        self.memory.write(batch.row_index, torch.cat([losses, cross_entropy[:, None]], 1))
        return Selection(kept, share, rate)

    def after_step(self) -> None:
        """Discard the threshold, so that the next micro-batch computes a new one."""
        self._threshold = None

    def _ramp(self, num_epochs: int) -> int:
        return self.ramp_epochs or min(_RAMP_EPOCHS, math.ceil(num_epochs / 3))

    def _quantile(self, share: Float[Tensor, ""]) -> Float[Tensor, " rankings"]:
        ranked = self.memory.values[:, :-1]
        ranked = ranked[:: -(-len(ranked) // _MOST_RANKED)]
        # "lower" gives one of the losses themselves: with a value in between, rounding could decide.
        quantile = torch.nanquantile(ranked, share, dim=0, interpolation="lower")
        # All rows are kept if none is to be dropped or none has a loss yet; computed on the device, without a sync.
        return quantile.masked_fill((share >= 1.0) | quantile.isnan(), math.inf)

    def _update_estimate(self, batch: Batch, num_classes: int) -> None:
        # A resumed run keeps the estimate from the start of this epoch.
        self._last_epoch = batch.epoch
        if int(self.estimated_in) >= batch.epoch or batch.epoch > self._ramp(batch.num_epochs):
            return
        recorded = self.memory.values[:, -1]
        below_chance = (recorded > math.log(num_classes)).sum() / (~recorded.isnan()).sum().clamp(min=1)
        # At a higher noise rate, labels would be anti-informative.
        self.estimate.copy_(below_chance.clamp(max=1.0 - 1.0 / num_classes))
        self.estimated_in.fill_(batch.epoch)


class SmallLossMethod(TwoNetworks):
    """Base class of the methods of two networks that train on rows with a small loss."""

    rankings: ClassVar[int]  # independent rankings of the rows

    def __init__(self, forget_rate: float | None, ramp_epochs: int | None) -> None:
        super().__init__()
        self.selection = SmallLoss(forget_rate, ramp_epochs)

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        super().setup(model, accelerator, num_rows)
        if accelerator is not None:
            self.selection.setup(self.rankings, num_rows, accelerator)

    def after_step(self, model: nn.Module) -> None:
        self.selection.after_step()
