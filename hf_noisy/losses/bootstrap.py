"""Bootstrapping: part of the target is the model's own prediction."""

import math
from typing import ClassVar

from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32

PAPER_BETA = {"soft": 0.95, "hard": 0.8}
# The smallest probability inside the logarithm; a given label below it adds no gradient.
EPSILON = 1e-7


class Bootstrap(Loss):
    r"""Cross-entropy to a mixture of the given label and the prediction.

    $$L = -\sum_k t_k \ln \max(p_k, 10^{-7}), \qquad t = \beta\, e_y + (1 - \beta)\, \hat t$$

    with $\hat t = p$ (soft; the gradient flows through it, so that the term is the entropy of the prediction) or
    $\hat t$ the one-hot of the largest $p_k$ (hard).

    Args:
        beta: Weight of the given label, in `(0, 1]`; 1 is cross-entropy. `None` means the paper's: 0.95 soft, 0.8
            hard.
        kind: `"soft"` or `"hard"`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([1])
        >>> round(Bootstrap(beta=0.5, kind="hard")(logits, labels).item(), 3)  # (ln 4 + ln 4/3) / 2
        0.837

    Source: Reed et al. (2015), soft and hard bootstrapping; the smallest probability is that of the code of Englesson
    and Azizpour (2021).
    """

    citation: ClassVar[str] = (
        "Reed, S., Lee, H., Anguelov, D., Szegedy, C., Erhan, D., Rabinovich, A. (2015). Training Deep Neural "
        "Networks on Noisy Labels with Bootstrapping. ICLR 2015 Workshop."
    )

    def __init__(self, beta: float | None = None, kind: str = "soft") -> None:
        super().__init__()
        if kind not in PAPER_BETA:
            raise ValueError(f"kind must be 'soft' or 'hard', got {kind!r}; 'soft' is the usual choice")
        beta = PAPER_BETA[kind] if beta is None else beta
        if not 0.0 < beta <= 1.0:
            raise ValueError(f"beta must be in (0, 1], got {beta}; the paper uses 0.95 (soft) and 0.8 (hard)")
        self.beta, self.kind = beta, kind

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        log_probabilities = at_least_float32(logits).log_softmax(-1)
        bounded = log_probabilities.clamp(min=math.log(EPSILON))
        task = F.nll_loss(bounded, labels, reduction="none")
        own = -(log_probabilities.exp() * bounded).sum(-1) if self.kind == "soft" else -bounded.max(-1).values
        return self.beta * task + (1.0 - self.beta) * own
