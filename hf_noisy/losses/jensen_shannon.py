"""Jensen-Shannon divergence between a given label and one or more predictions."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32

EPSILON = 1e-7  # the smallest probability inside a logarithm


def jensen_shannon(
    logits: Float[Tensor, "predictions rows classes"],
    labels: LabelTensor,
    weights: Sequence[float],
    epsilon: float = EPSILON,  # published implementations differ in it
) -> RowLosses:
    r"""Weighted divergence $\sum_k \pi_k \mathrm{KL}(p_k \| \sum_j \pi_j p_j)$ of label (first) and predictions."""
    # Between 0 and the entropy of the weights. The gradient flows into every prediction; detach a teacher's logits.
    check_mixture_weights(weights, len(logits) + 1)
    log_probabilities = at_least_float32(logits).log_softmax(-1)
    probabilities = log_probabilities.exp()
    label_weight, *others = weights
    prediction_weights = log_probabilities.new_tensor(others)[:, None, None]
    label = labels[:, None]
    # The one-hot label is added only where it is 1, so that no logarithm of 0 is taken.
    mixture = (prediction_weights * probabilities).sum(0)
    mixture = mixture.scatter_add(-1, label, torch.full_like(label, 1, dtype=mixture.dtype) * label_weight)
    log_mixture = mixture.clamp(min=epsilon).log()
    ratio = log_probabilities.clamp(min=math.log(epsilon)) - log_mixture
    divergences = (prediction_weights * probabilities * ratio).sum((0, -1))
    return divergences - label_weight * log_mixture.gather(-1, label).squeeze(-1)


def check_mixture_weights(weights: Sequence[float], count: int) -> None:
    """Refuse weights that are not a distribution over the label and the predictions."""
    if len(weights) != count:
        raise ValueError(f"weights must be {count} numbers, the label's first, got {len(weights)}: {tuple(weights)}")
    if not all(weight >= 0 for weight in weights) or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise ValueError(f"weights must be at least 0 and sum to 1, got {tuple(weights)} with sum {sum(weights)}")


def jensen_shannon_scale(label_weight: float) -> float:
    r"""Divisor $-(1 - \pi_1) \ln(1 - \pi_1)$: the loss is then like cross-entropy for small, MAE for large `pi_1`."""
    if not 0.0 < label_weight < 1.0:
        raise ValueError(
            f"weight of the label must be in (0, 1), got {label_weight}; 0.5 treats label and prediction alike"
        )
    return -(1 - label_weight) * math.log1p(-label_weight)


class JS(Loss):
    r"""Jensen-Shannon divergence of label and prediction.

    $$L = \frac{\pi_1 \mathrm{KL}(e_y \,\|\, m) + (1 - \pi_1) \mathrm{KL}(p \,\|\, m)}{Z}, \qquad
      m = \pi_1 e_y + (1 - \pi_1) p, \quad Z = -(1 - \pi_1) \ln(1 - \pi_1)$$

    Args:
        label_weight: `pi_1`, the weight of the given label, in `(0, 1)`: near 0 the loss is cross-entropy, near 1 the
            mean absolute error, which learns more slowly and trusts the labels less.
        scale: Whether to divide by `Z`.

    Raises:
        ValueError: If `label_weight` is outside `(0, 1)`.

    Example:
        >>> losses = JS(label_weight=0.5)(torch.zeros(2, 4), torch.tensor([0, 3]))
        >>> tuple(losses.shape)
        (2,)

    Source: Englesson and Azizpour (2021), the scaled loss L_JS.
    """

    citation: ClassVar[str] = (
        "Englesson, E., Azizpour, H. (2021). Generalized Jensen-Shannon Divergence Loss for Learning with Noisy "
        "Labels. NeurIPS 2021."
    )

    def __init__(self, label_weight: float = 0.5, scale: bool = True) -> None:
        super().__init__()
        divisor = jensen_shannon_scale(label_weight)  # also checks the weight
        self.label_weight, self.divisor = label_weight, divisor if scale else 1.0

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        return jensen_shannon(logits[None], labels, (self.label_weight, 1 - self.label_weight)) / self.divisor
