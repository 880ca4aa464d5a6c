"""Early-learning regularisation: stay near what was learned before the wrong labels were."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.losses.loss import at_least_float32

# Keeps the logarithm finite where prediction and target both are sure of one class.
EPSILON = 1e-4


def elr(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    targets: Float[Tensor, "batch classes"],
    regularization_weight: float,
) -> Float[Tensor, " batch"]:
    r"""Cross-entropy plus a term that is smallest where the prediction agrees with the target.

    $$\ell = -\ln p_y + \lambda \ln(1 - \langle p, t \rangle)$$

    The gradient of the second term pushes towards the classes that the target favours, and so cancels that of a label
    which contradicts it.

    Args:
        logits: `[batch, classes]`, any float type; computed in float32 at least.
        labels: `[batch]`, given labels.
        targets: `[batch, classes]`, at least 0, with a sum of at most 1 a row; no gradient.
        regularization_weight: `lambda`, at least 0.

    Returns:
        `[batch]`; below 0 where the prediction agrees with both.

    Source: Liu et al. (2020), Section 4; probabilities in `[1e-4, 1 - 1e-4]` as in the published code.

    Example:
        >>> zeros, target = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
        >>> round(elr(zeros, torch.tensor([0]), target, 1.0).item(), 4)  # ln 2 + ln 0.5
        0.0
    """
    logits = at_least_float32(logits)
    agreement = (_probabilities(logits) * targets.detach()).sum(-1)
    return F.cross_entropy(logits, labels, reduction="none") + regularization_weight * torch.log1p(-agreement)


@torch.no_grad()
def elr_targets(
    targets: Float[Tensor, "batch classes"], logits: Float[Tensor, "batch classes"], beta: float
) -> Float[Tensor, "batch classes"]:
    r"""Running average of the predictions: $t \leftarrow \beta t + (1 - \beta)\, p / \sum_c p_c$.

    Args:
        targets: `[batch, classes]`, the targets so far.
        logits: `[batch, classes]`, any float type; no gradient.
        beta: Weight of the past, in `[0, 1)`.

    Returns:
        `[batch, classes]`; sums to $1 - \beta^n$ after `n` updates of targets that were 0.

    Source: Liu et al. (2020), Section 4, with probabilities in `[1e-4, 1 - 1e-4]` as in the published code.

    Example:
        >>> elr_targets(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), beta=0.5)
        tensor([[0.7500, 0.2500]])
    """
    probabilities = _probabilities(at_least_float32(logits))
    return beta * targets + (1.0 - beta) * probabilities / probabilities.sum(-1, keepdim=True)


def _probabilities(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    return logits.softmax(-1).clamp(EPSILON, 1.0 - EPSILON)
