"""Early-learning regularisation: stay near the predictions made before wrong labels were memorised."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import at_least_float32

# Keeps the logarithm finite where prediction and target both have all probability on one class.
EPSILON = 1e-4


def elr(
    logits: Logits, labels: LabelTensor, targets: Float[Tensor, "rows classes"], regularization_weight: float
) -> RowLosses:
    r"""Cross-entropy plus $\lambda \ln(1 - \langle p, t \rangle)$, lowest where prediction and target agree."""
    logits = at_least_float32(logits)
    agreement = (_probabilities(logits) * targets.detach()).sum(-1)
    return F.cross_entropy(logits, labels, reduction="none") + regularization_weight * torch.log1p(-agreement)


@torch.no_grad()
def elr_targets(targets: Float[Tensor, "rows classes"], logits: Logits, beta: float) -> Float[Tensor, "rows classes"]:
    r"""Running average of the predictions, $t \leftarrow \beta t + (1 - \beta)\, p / \sum_c p_c$, without gradient."""
    probabilities = _probabilities(at_least_float32(logits))
    return beta * targets + (1.0 - beta) * probabilities / probabilities.sum(-1, keepdim=True)


def _probabilities(logits: Logits) -> Float[Tensor, "rows classes"]:
    return logits.softmax(-1).clamp(EPSILON, 1.0 - EPSILON)
