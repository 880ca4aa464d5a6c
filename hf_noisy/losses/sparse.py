"""Sparse regularisation: sharp predictions on a sphere of logits, which make any loss robust."""

import math
from typing import ClassVar

from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32

_EPSILON = 1e-6
_SMALLEST_NORM = 1e-3  # of logits: the gradient of a row of zeros would be infinite


class SR(Loss):
    r"""Cross-entropy of normalised logits plus an $\ell_p$ norm of the probabilities whose weight grows.

    $$L = -\ln \tilde p_y + \lambda\, g^{\tau} \sum_k \tilde p_k^{\,p}, \qquad
      \tilde p = \mathrm{softmax}\left(\frac{z}{T \lVert z \rVert_2}\right)$$

    with the progress $\tau$ in whole epochs. A loss whose predictions are all permutations of one vector is robust to
    symmetric noise; normalisation and the norm bring predictions near that.

    Args:
        temperature: `T`, above 0.
        p: Exponent of the norm, in `(0, 1)`.
        norm_weight: `lambda`, at least 0, weight of the norm at the start.
        growth: `g`, at least 1, by how much the weight has grown at the end. The published settings
            `(T, p, lambda)` are `(0.5, 0.1, 1.2)` for CIFAR-10, with a growth of 1.03 in each of 120 epochs, and
            `(0.5, 0.01, 10)` for CIFAR-100, with 1.02 in each of 200.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> loss = SR(norm_weight=0.0)(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
        >>> round(loss.item(), 4)  # cross-entropy of the logits (2, 0)
        0.1269

    Source: Zhou et al. (2021, "Learning with Noisy Labels via Sparse Regularization"), Eq. 10; settings of the
    published code.
    """

    citation: ClassVar[str] = (
        "Zhou, X., Liu, X., Wang, C., Zhai, D., Jiang, J., Ji, X. (2021). Learning with Noisy Labels via Sparse "
        "Regularization. ICCV 2021."
    )
    scheduled: ClassVar[bool] = True
    normalised: ClassVar[bool] = True

    def __init__(
        self, temperature: float = 0.5, p: float = 0.1, norm_weight: float = 1.2, growth: float = 1.03**120
    ) -> None:
        super().__init__()
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {temperature}; 0.5 is the published choice")
        if not 0.0 < p < 1.0:
            raise ValueError(f"p must be in (0, 1), got {p}; 0.1 is the published choice for 10 classes")
        if not 0.0 <= norm_weight < math.inf:
            raise ValueError(f"norm_weight must be at least 0, got {norm_weight}; 1.2 is the published choice")
        if not 1.0 <= growth < math.inf:
            raise ValueError(f"growth must be at least 1, got {growth}; 1 keeps the weight as it is")
        self.temperature, self.p, self.norm_weight, self.growth = temperature, p, norm_weight, growth

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        scaled = F.normalize(at_least_float32(logits), dim=-1, eps=_SMALLEST_NORM) / self.temperature
        norm = scaled.softmax(-1).clamp(min=_EPSILON).pow(self.p).sum(-1)
        weight = float(self.norm_weight * self.growth**progress)
        return F.cross_entropy(scaled, labels, reduction="none") + weight * norm
