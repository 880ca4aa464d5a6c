"""Taylor cross-entropy: cross-entropy cut off after a few terms."""

import math
from typing import ClassVar

import torch

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.gce import EPSILON
from hf_noisy.losses.loss import Loss, label_log_probability


class TCE(Loss):
    r"""Cross-entropy as a Taylor series in $1 - p_y$, up to a given order.

    $$L = \sum_{k=1}^{t} \frac{(1 - \tilde p_y)^k}{k}, \qquad \tilde p_y = \max(p_y, 10^{-6})$$

    Order 1 is [`MAE`]; with growing order it becomes cross-entropy.

    Args:
        order: `t`, at least 1; the paper chooses among 2 to 6.

    Raises:
        ValueError: If `order` is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> TCE(order=2)(torch.zeros(1, 2), torch.tensor([0])).item()  # 0.5 + 0.25 / 2
        0.625

    Source: Feng et al. (2020), the loss t-CE; the smallest probability is that of the published code of DAL.
    """

    citation: ClassVar[str] = (
        "Feng, L., Shu, S., Lin, Z., Lv, F., Li, L., An, B. (2020). Can Cross Entropy Loss Be Robust to Label Noise? "
        "IJCAI 2020."
    )

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        if order < 1 or order != int(order):
            raise ValueError(f"order must be a whole number of at least 1, got {order}; the paper uses 2 to 6")
        self.order = order

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        log_probability = label_log_probability(logits, labels)
        rest = -log_probability.clamp(min=math.log(EPSILON)).expm1()
        orders = torch.arange(1, self.order + 1, device=rest.device, dtype=rest.dtype)
        return (rest.unsqueeze(-1) ** orders / orders).sum(-1)
