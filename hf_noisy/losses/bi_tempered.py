"""Bi-tempered logistic loss: a bounded loss of probabilities with heavy tails."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32

_NEWTON_STEPS = 20  # enough for 1,000 classes and t2 = 4


class BiTempered(Loss):
    r"""Cross-entropy with one temperature in the logarithm and another in the softmax.

    $$L = -\ln_{t_1} p_y - \frac{1 - \sum_k p_k^{\,2 - t_1}}{2 - t_1}, \qquad
      p_k = \exp_{t_2}(z_k - \lambda(z)),$$

    $$\ln_t x = \frac{x^{1 - t} - 1}{1 - t}, \quad \exp_t x = [1 + (1 - t)\,x]_+^{1 / (1 - t)}$$

    where $\lambda(z)$ makes the probabilities sum to 1. Below 1, `t1` bounds the loss of a row far from its label;
    above 1, `t2` gives the softmax a heavy tail, so that rows near the boundary weigh less. With `t1 = t2 = 1` it is
    cross-entropy.

    Args:
        t1: Temperature of the logarithm, in `[0, 1]`.
        t2: Temperature of the softmax, at least 1. The paper takes `(0.8, 1.2)` for CIFAR-100 with noise.

    Raises:
        ValueError: If a temperature is out of range.

    Example:
        >>> import torch
        >>> round(BiTempered(1.0, 1.0)(torch.zeros(1, 4), torch.tensor([2])).item(), 3)  # ln 4
        1.386

    Source: Amid et al. (2019), Section 2. Evaluation uses the ordinary softmax; the most probable class is the same.
    """

    citation: ClassVar[str] = (
        "Amid, E., Warmuth, M. K., Anil, R., Koren, T. (2019). Robust Bi-Tempered Logistic Loss Based on Bregman "
        "Divergences. NeurIPS 2019."
    )

    def __init__(self, t1: float = 0.8, t2: float = 1.2) -> None:
        super().__init__()
        if not 0.0 <= t1 <= 1.0:
            raise ValueError(f"t1 must be in [0, 1], got {t1}; 0.8 is the usual choice")
        if not 1.0 <= t2 < float("inf"):
            raise ValueError(f"t2 must be at least 1, got {t2}; 1.2 is the usual choice")
        self.t1, self.t2 = t1, t2

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        log_probabilities = tempered_log_softmax(at_least_float32(logits), self.t2)
        of_label = log_probabilities.gather(1, labels[:, None])[:, 0]
        bounded = of_label if self.t1 == 1.0 else ((1.0 - self.t1) * of_label).expm1() / (1.0 - self.t1)
        return -bounded - (1.0 - ((2.0 - self.t1) * log_probabilities).exp().sum(-1)) / (2.0 - self.t1)


def tempered_log_softmax(logits: Logits, t: float) -> Float[Tensor, "rows classes"]:
    r"""$\ln \exp_t(z - \lambda(z))$, exact in value and gradient."""
    if t == 1.0:
        return logits.log_softmax(-1)

    def log_exp(shift: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows classes"]:
        return -((t - 1.0) * (shift - logits)).log1p() / (t - 1.0)

    def newton(shift: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows 1"]:
        # The sum of the probabilities falls with the shift and is convex: from the left, no step overshoots.
        log_p = log_exp(shift)
        slope = (t * log_p.detach()).exp().sum(-1, keepdim=True)
        return shift + (log_p.exp().sum(-1, keepdim=True) - 1.0) / slope

    with torch.no_grad():
        shift = logits.max(-1, keepdim=True).values
        for _ in range(_NEWTON_STEPS):
            shift = newton(shift)
    # One more step with a gradient gives that of the implicit function.
    return log_exp(newton(shift))
