"""Co-teaching+: co-teaching on the rows on which the two networks disagree."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.small_loss import SmallLossMethod
from hf_noisy.methods.two_networks import network_logits

_WARMUP_EPOCHS = 20  # of the 200 epochs of the paper
_SMALLEST_SHARE = 0.05  # of rows on which the networks disagree; fewer do not weigh more


class CoTeachingPlus(SmallLossMethod):
    r"""Cross-entropy of each network on rows that both predict differently and whose loss the other finds small.

    $$\ell = \frac{1}{D R} \left( [d]\,[\ell_2 \le q_2]\, \ell_1 + [d]\,[\ell_1 \le q_1]\, \ell_2 \right), \qquad
      d \iff \arg\max p_1 \ne \arg\max p_2$$

    `D` is the share of rows on which the networks disagree, and $q_k$ the `R`-quantile of the latest losses of these
    rows, $R(e) = 1 - \tau \min(e / E_k, 1)$. Disagreement keeps the networks from becoming one. The first epochs are
    those of [`CoTeaching`].

    Args:
        forget_rate: `tau` in `[0, 1)`, the share of wrong labels; `None` to estimate it while the ramp rises.
        ramp_epochs: `E_k`, at least 1; `None` for 10, or a third of the epochs if there are fewer than 30.
        warmup_epochs: Epochs of plain co-teaching; `None` for 20, or a third of the epochs if there are fewer than 60.

    Raises:
        ValueError: If an argument is out of range, or the model does not have two branches.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=CoTeachingPlus(forget_rate=0.2))
        ```

    Source: Yu et al. (2019), Algorithm 1; the first epochs are those of the published code.
    """

    citation: ClassVar[str] = (
        "Yu, X., Han, B., Yao, J., Niu, G., Tsang, I. W., Sugiyama, M. (2019). How does Disagreement Help "
        "Generalization against Label Corruption? ICML 2019."
    )
    rankings: ClassVar[int] = 2

    def __init__(
        self,
        forget_rate: float | None = None,
        ramp_epochs: int | None = None,
        warmup_epochs: int | None = None,
    ) -> None:
        super().__init__(forget_rate, ramp_epochs)
        if warmup_epochs is not None and not (isinstance(warmup_epochs, int) and warmup_epochs >= 0):
            raise ValueError(f"warmup_epochs must be a whole number of epochs, got {warmup_epochs}; the paper uses 20")
        self.warmup_epochs = warmup_epochs
        self._share: Float[Tensor, ""] | None = None

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = network_logits(rows)
        labels = rows.labels[:, None].expand(-1, 2)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        first, second = logits.detach().argmax(-1).unbind(1)
        disagree = first != second
        task, ranked, share = losses.detach().mean(1), losses.detach(), losses.new_ones(())
        if batch.epoch >= self._warmup(batch.num_epochs):
            share = self._disagreement()
            ranked = ranked.masked_fill(~disagree[:, None], math.nan)  # neither ranked nor kept
        kept, small, forget_rate = self.selection(ranked, task, batch, logits.shape[-1])
        metrics = {
            "cross_entropy": task,
            "disagreement": disagree.float(),
            "kept": kept.float().mean(1),
            "forget_rate": forget_rate,
        }
        return Step(torch.where(kept.flip(1), losses, 0.0).sum(1) / (small * share), outputs, metrics)

    def after_step(self, model: nn.Module) -> None:
        super().after_step(model)
        self._share = None

    def _warmup(self, num_epochs: int) -> int:
        return min(_WARMUP_EPOCHS, num_epochs // 3) if self.warmup_epochs is None else self.warmup_epochs

    @torch.no_grad()
    def _disagreement(self) -> Float[Tensor, ""]:
        """Share of rows that are ranked among those seen, computed once a step."""
        if self._share is None:
            missing = self.selection.memory.values.isnan()
            ranked, seen = (~missing[:, 0]).sum(), (~missing[:, -1]).sum()
            # Of rows not seen yet, nothing is known.
            share = torch.where(seen > 0, ranked / seen.clamp(min=1), 1.0)
            self._share = share.clamp(min=_SMALLEST_SHARE)
        return self._share
