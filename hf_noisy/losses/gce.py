"""Generalised cross-entropy: from cross-entropy to mean absolute error by one exponent."""

import math
from typing import ClassVar

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, label_log_probability

# Probabilities are clamped from below, so that a row whose given label the model rules out has no gradient.
EPSILON = 1e-6


def generalised_cross_entropy(log_probability: RowLosses, q: float, epsilon: float = EPSILON) -> RowLosses:
    r"""$(1 - \max(p_y, \epsilon)^q) / q$ from $\ln p_y$; exact for small `q` too, where the power is nearly 1."""
    return (log_probability.clamp(min=math.log(epsilon)) * q).expm1() / -q


class GCE(Loss):
    r"""Generalised cross-entropy.

    $$L = \frac{1 - \tilde p_y^{\,q}}{q}, \qquad \tilde p_y = \max(p_y, \epsilon)$$

    Its gradient is that of cross-entropy weighted by $p_y^q$: rows that contradict the model count less. `q` towards 0
    is cross-entropy, `q = 1` is [`MAE`], `q > 1` puts even more weight on rows that already fit.

    Args:
        q: Exponent, above 0; the paper stays in `(0, 1]`.
        epsilon: Smallest probability, in `(0, 1)`. Rows below it have no gradient.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> round(GCE(q=0.5)(torch.zeros(1, 4), torch.tensor([2])).item(), 6)  # (1 - 0.5) / 0.5
        1.0

    Source: Zhang and Sabuncu (2018), Section 3.2 (the loss $L_q$); the smallest probability is that of the published
    codes.
    """

    citation: ClassVar[str] = (
        "Zhang, Z., Sabuncu, M. R. (2018). Generalized Cross Entropy Loss for Training Deep Neural Networks with "
        "Noisy Labels. NeurIPS 2018."
    )

    def __init__(self, q: float = 0.7, epsilon: float = EPSILON) -> None:
        super().__init__()
        if not 0.0 < q < math.inf:
            raise ValueError(f"q must be above 0, got {q}; 0.7 is the usual choice")
        if not 0.0 < epsilon < 1.0:
            raise ValueError(f"epsilon must be in (0, 1), got {epsilon}; {EPSILON} is the usual choice")
        self.q, self.epsilon = q, epsilon

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        return generalised_cross_entropy(label_log_probability(logits, labels), self.q, self.epsilon)
