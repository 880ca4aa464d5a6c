"""Symmetric cross-entropy: cross-entropy in both directions."""

import math
from typing import ClassVar

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, check_weights, label_log_probability

# The probability that stands for the 0 of a one-hot label inside the logarithm.
LABEL_FLOOR = 1e-4


def reverse_cross_entropy(log_probability: RowLosses) -> RowLosses:
    r"""$-\sum_k p_k \ln \max(e_{yk}, 10^{-4}) = -\ln(10^{-4})\,(1 - p_y)$ from $\ln p_y$."""
    return math.log(LABEL_FLOOR) * log_probability.expm1()


class SCE(Loss):
    r"""Symmetric cross-entropy: cross-entropy, and cross-entropy with label and prediction exchanged.

    $$L = -\alpha \ln p_y - \beta \sum_k p_k \ln \max(e_{yk}, 10^{-4}) = -\alpha \ln p_y + 9.21\, \beta\, (1 - p_y)$$

    Args:
        alpha: Weight of cross-entropy, at least 0; it fits.
        beta: Weight of reverse cross-entropy, at least 0; it is robust. The paper takes `(0.1, 1)` for 10 classes and
            `(6, 0.1)` for 100.

    Raises:
        ValueError: If a weight is negative or both are 0.

    Example:
        >>> import torch
        >>> round(SCE(alpha=1.0, beta=1.0)(torch.zeros(1, 2), torch.tensor([0])).item(), 3)  # ln 2 + 9.21 / 2
        5.298

    Source: Wang et al. (2019), the loss SL; the floor of `1e-4` is that of the published code (`A = ln 1e-4`).
    """

    citation: ClassVar[str] = (
        "Wang, Y., Ma, X., Chen, Z., Luo, Y., Yi, J., Bailey, J. (2019). Symmetric Cross Entropy for Robust Learning "
        "with Noisy Labels. ICCV 2019."
    )

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__()
        check_weights(alpha=alpha, beta=beta)
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        log_probability = label_log_probability(logits, labels)
        return self.beta * reverse_cross_entropy(log_probability) - self.alpha * log_probability
