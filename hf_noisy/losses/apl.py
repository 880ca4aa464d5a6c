"""Active and passive losses: normalised cross-entropy with a second robust loss."""

import math
from typing import ClassVar

from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32, check_weights
from hf_noisy.losses.sce import reverse_cross_entropy


def normalised_cross_entropy(logits: Logits, labels: LabelTensor) -> tuple[RowLosses, RowLosses]:
    r"""Normalised cross-entropy $\ln p_y / \sum_k \ln p_k$, in `(0, 1)`, and $\ln p_y$ for the second loss."""
    log_probabilities = at_least_float32(logits).log_softmax(-1)
    of_label = -F.nll_loss(log_probabilities, labels, reduction="none")
    return of_label / log_probabilities.sum(-1), of_label


class NCEandRCE(Loss):
    r"""Normalised cross-entropy and reverse cross-entropy.

    $$L = \alpha \frac{\ln p_y}{\sum_k \ln p_k} + 9.21\, \beta\, (1 - p_y)$$

    Both terms sum to a constant over all labels, which makes each of them robust to symmetric noise: the first
    (active) raises the given label, the second (passive) lowers the others.

    Args:
        alpha: Weight of the active term, at least 0.
        beta: Weight of the passive term, at least 0. The published settings are `(1, 1)` for 10 classes and
            `(10, 0.1)` for 100.

    Raises:
        ValueError: If a weight is negative or both are 0.

    Example:
        >>> import torch
        >>> round(NCEandRCE()(torch.zeros(1, 2), torch.tensor([0])).item(), 3)  # 1/2 + 9.21 / 2
        5.105

    Source: Ma et al. (2020), NCE + RCE; reverse cross-entropy as in [`SCE`].
    """

    citation: ClassVar[str] = (
        "Ma, X., Huang, H., Wang, Y., Romano, S., Erfani, S., Bailey, J. (2020). Normalized Loss Functions for Deep "
        "Learning with Noisy Labels. ICML 2020."
    )

    def __init__(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        check_weights(alpha=alpha, beta=beta)
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        active, log_probability = normalised_cross_entropy(logits, labels)
        return self.alpha * active + self.beta * reverse_cross_entropy(log_probability)


class NCEandAGCE(Loss):
    r"""Normalised cross-entropy and asymmetric generalised cross-entropy.

    $$L = \alpha \frac{\ln p_y}{\sum_k \ln p_k} + \beta\, \frac{(a + 1)^q - (a + p_y)^q}{q}$$

    Args:
        alpha: Weight of normalised cross-entropy, at least 0.
        beta: Weight of the asymmetric term, at least 0.
        a: Shift, above 0: the larger, the closer to a multiple of [`MAE`].
        q: Exponent, above 0. The published settings `(alpha, beta, a, q)` are `(1, 4, 6, 1.5)` for 10 classes and
            `(10, 0.1, 1.8, 3)` for 100.

    Raises:
        ValueError: If a weight is negative or both are 0, or if `a` or `q` is not above 0.

    Example:
        >>> import torch
        >>> round(NCEandAGCE(a=1.0, q=1.0)(torch.zeros(1, 2), torch.tensor([0])).item(), 3)  # 1/2 + 4 / 2
        2.5

    Source: Zhou et al. (2021), NCE + AGCE; the settings are those of the published code.
    """

    citation: ClassVar[str] = (
        "Zhou, X., Liu, X., Jiang, J., Gao, X., Ji, X. (2021). Asymmetric Loss Functions for Learning with Noisy "
        "Labels. ICML 2021."
    )

    def __init__(self, alpha: float = 1.0, beta: float = 4.0, a: float = 6.0, q: float = 1.5) -> None:
        super().__init__()
        check_weights(alpha=alpha, beta=beta)
        if not 0.0 < a < math.inf:
            raise ValueError(f"a must be above 0, got {a}; 6 is the published choice for 10 classes")
        if not 0.0 < q < math.inf:
            raise ValueError(f"q must be above 0, got {q}; 1.5 is the published choice for 10 classes")
        self.alpha, self.beta, self.a, self.q = alpha, beta, a, q

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        active, log_probability = normalised_cross_entropy(logits, labels)
        asymmetric = (math.pow(self.a + 1.0, self.q) - (log_probability.exp() + self.a).pow(self.q)) / self.q
        return self.alpha * active + self.beta * asymmetric
