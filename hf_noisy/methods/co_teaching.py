"""Co-teaching: each network is trained on the rows for which the other has a small loss."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.small_loss import SmallLossMethod
from hf_noisy.methods.two_networks import network_logits


class CoTeaching(SmallLossMethod):
    r"""Cross-entropy of each network on the rows in which the other network's loss is small.

    $$\ell = \frac{1}{R} \left( [\ell_2 \le q_2]\, \ell_1 + [\ell_1 \le q_1]\, \ell_2 \right), \qquad
      \ell_k = \mathrm{CE}(z_k, \hat y), \qquad R(e) = 1 - \tau \min(e / E_k, 1)$$

    $q_k$ is the `R`-quantile of the latest losses of all training rows, see [`SmallLoss`]. Divided by `R`, the mean
    over all rows is the paper's mean over the rows that are kept.

    Args:
        forget_rate: `tau` in `[0, 1)`, the share of wrong labels; `None` to estimate it while the ramp rises.
        ramp_epochs: `E_k`, at least 1; `None` for 10, or a third of the epochs if there are fewer than 30.

    Raises:
        ValueError: If an argument is out of range, or the model does not have two branches.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=CoTeaching(forget_rate=0.2))
        ```

    Source: Han et al. (2018), Algorithm 1.
    """

    citation: ClassVar[str] = (
        "Han, B., Yao, Q., Yu, X., Niu, G., Xu, M., Hu, W., Tsang, I. W., Sugiyama, M. (2018). Co-teaching: Robust "
        "Training of Deep Neural Networks with Extremely Noisy Labels. NeurIPS 2018."
    )
    rankings: ClassVar[int] = 2

    def __init__(self, forget_rate: float | None = None, ramp_epochs: int | None = None) -> None:
        super().__init__(forget_rate, ramp_epochs)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = network_logits(rows)
        labels = rows.labels[:, None].expand(-1, 2)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        task = losses.detach().mean(1)
        kept, share, forget_rate = self.selection(losses.detach(), task, batch, logits.shape[-1])
        metrics = {"cross_entropy": task, "kept": kept.float().mean(1), "forget_rate": forget_rate}
        return Step(torch.where(kept.flip(1), losses, 0.0).sum(1) / share, outputs, metrics)
