"""JoCoR: two networks are trained to agree, on the rows on which they already agree most."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.types import RowLosses
from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.small_loss import SmallLossMethod
from hf_noisy.methods.two_networks import network_logits


class JoCoR(SmallLossMethod):
    r"""One joint loss of both networks, on the rows in which it is small.

    $$\ell = \frac{1}{R} [j \le q]\, j, \qquad
      j = (1 - \lambda) (\mathrm{CE}(p_1, \hat y) + \mathrm{CE}(p_2, \hat y)) +
      \lambda (\mathrm{KL}(p_1 \| p_2) + \mathrm{KL}(p_2 \| p_1))$$

    `q` is the `R`-quantile of the latest joint losses of all training rows and $R(e) = 1 - \tau \min(e / E_k, 1)$, see
    [`SmallLoss`]. Divided by `R`, the mean over all rows is the paper's mean over the rows that are kept.

    Args:
        forget_rate: `tau` in `[0, 1)`, the share of wrong labels; `None` to estimate it while the ramp rises.
        agreement_weight: `lambda` in `[0, 1)`: 0.9 for CIFAR-10, 0.85 for CIFAR-100; less where noise is strong.
        ramp_epochs: `E_k`, at least 1; `None` for 10, or a third of the epochs if there are fewer than 30.

    Raises:
        ValueError: If an argument is out of range, or the model does not have two branches.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=JoCoR(forget_rate=0.2))
        ```

    Source: Wei et al. (2020), Section 3 and Algorithm 1.
    """

    citation: ClassVar[str] = (
        "Wei, H., Feng, L., Chen, X., An, B. (2020). Combating Noisy Labels by Agreement: A Joint Training Method "
        "with Co-Regularization. CVPR 2020."
    )
    rankings: ClassVar[int] = 1

    def __init__(
        self, forget_rate: float | None = None, agreement_weight: float = 0.9, ramp_epochs: int | None = None
    ) -> None:
        super().__init__(forget_rate, ramp_epochs)
        if not 0.0 <= agreement_weight < 1.0:
            raise ValueError(
                f"agreement_weight must be in [0, 1), got {agreement_weight}; the paper uses 0.9 for CIFAR-10"
            )
        self.agreement_weight = agreement_weight

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = network_logits(rows)
        labels = rows.labels[:, None].expand(-1, 2)
        task = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        apart = symmetric_kl(logits)
        joint = torch.lerp(task.sum(1), apart, self.agreement_weight)
        mean = task.detach().mean(1)
        kept, share, forget_rate = self.selection(joint.detach()[:, None], mean, batch, logits.shape[-1])
        metrics = {
            "cross_entropy": mean,
            "disagreement": apart.detach(),
            "kept": kept[:, 0].float(),
            "forget_rate": forget_rate,
        }
        return Step(torch.where(kept[:, 0], joint, 0.0) / share, outputs, metrics)


def symmetric_kl(logits: Float[Tensor, "rows 2 classes"]) -> RowLosses:
    r"""$\mathrm{KL}(p_1 \| p_2) + \mathrm{KL}(p_2 \| p_1)$, with a gradient for both networks."""
    first, second = logits.log_softmax(-1).unbind(1)
    return ((first.exp() - second.exp()) * (first - second)).sum(-1)
