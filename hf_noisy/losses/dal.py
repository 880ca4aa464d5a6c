"""Dynamics-aware loss: from fitting the labels to robustness to bootstrapping, as training goes on."""

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.gce import EPSILON, generalised_cross_entropy
from hf_noisy.losses.loss import Loss, at_least_float32


class DAL(Loss):
    r"""Generalised cross-entropy whose exponent grows, with bootstrapping once it is above 1.

    $$L = \frac{1 - \tilde p_y^{\,q}}{q} + \frac{\lambda B}{q \ln C}, \qquad
      q = q_s + (q_e - q_s)\,\tau, \qquad \lambda = \max\left(0, \frac{q - 1}{q_e - 1}\right)$$

    with the progress $\tau$ in whole epochs, $\tilde p_y = \max(p_y, 10^{-6})$, and $B$ the entropy
    $-\sum_k p_k \ln(p_k + 10^{-6})$ (soft) or $-\ln \max_k p_k$ (hard). The gradient flows through all of it. Both
    terms lie in $[0, 1/q]$. Where `q` never exceeds 1 there is no bootstrapping.

    Args:
        q_start: `q_s`, the exponent of the first epoch, above 0.
        q_end: `q_e`, the exponent that the schedule ends just before, at least `q_start`. The paper takes `(0.6, 1.5)`
            for CIFAR and `(0.4, 1.5)` for WebVision.
        bootstrap: `"soft"` or `"hard"`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> DAL().schedule(0.0)
        (0.6, 0.0)
        >>> q, weight = DAL().schedule(100 / 150)  # epoch 100 of 150
        >>> round(q, 3), round(weight, 3)
        (1.2, 0.4)

    Source: Li et al. (2023); the schedule and the two kinds of bootstrapping are those of the published code, which
    writes $\lambda$ as $(i - t_0) / (E - t_0)$ for epoch $i$ of $E$ with $q(t_0) = 1$: the same number.
    """

    citation: ClassVar[str] = (
        "Li, X.-C., Xia, X., Zhu, F., Liu, T., Zhang, X.-Y., Liu, C.-L. (2023). Dynamics-Aware Loss for Learning with "
        "Label Noise. Pattern Recognition."
    )
    scheduled: ClassVar[bool] = True

    def __init__(self, q_start: float = 0.6, q_end: float = 1.5, bootstrap: str = "soft") -> None:
        super().__init__()
        if not 0.0 < q_start < math.inf:
            raise ValueError(f"q_start must be above 0, got {q_start}; the paper uses 0.6")
        if not q_start <= q_end < math.inf:
            raise ValueError(f"q_end must be at least q_start={q_start}, got {q_end}; the paper uses 1.5")
        if bootstrap not in ("soft", "hard"):
            raise ValueError(f"bootstrap must be 'soft' or 'hard', got {bootstrap!r}; 'soft' is the published choice")
        self.q_start, self.q_end, self.bootstrap = q_start, q_end, bootstrap

    def schedule(self, progress: float) -> tuple[float, float]:
        """Exponent `q` and weight `lambda` of bootstrapping at a share of training."""
        q = self.q_start + (self.q_end - self.q_start) * progress
        # Only q > 1 implies q_end > 1: elsewhere the published quotient divides by 0 or exceeds 1.
        return q, (q - 1.0) / (self.q_end - 1.0) if q > 1.0 else 0.0

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        q, weight = self.schedule(progress)
        log_probabilities = at_least_float32(logits).log_softmax(-1)
        of_label = -F.nll_loss(log_probabilities, labels, reduction="none")
        losses = generalised_cross_entropy(of_label, q)
        if not weight:
            return losses
        return losses + weight / (q * math.log(logits.shape[-1])) * self._bootstrapping(log_probabilities)

    def _bootstrapping(self, log_probabilities: Float[Tensor, "rows classes"]) -> RowLosses:
        if self.bootstrap == "hard":
            return -log_probabilities.max(-1).values
        probabilities = log_probabilities.exp()
        return -(probabilities * (probabilities + EPSILON).log()).sum(-1)
