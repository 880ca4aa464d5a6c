"""How far branches are from their consensus."""

from jaxtyping import Float
from torch import Tensor

from hf_noisy.core.types import RowLosses
from hf_noisy.losses.loss import at_least_float32


def branch_divergence(probabilities: Float[Tensor, "branch rows classes"], epsilon: float = 1e-5) -> RowLosses:
    r"""Mean divergence of the branches from their average, one number per row.

    $$\ell_i = \frac1M \sum_m \sum_j r_{ij} \ln\frac{r_{ij} + \epsilon}{p^{(m)}_{ij} + \epsilon}, \qquad
      r = \frac1M \sum_m p^{(m)}$$

    The gradient flows through the average too: a branch moves towards the others and the others towards it.

    Args:
        probabilities: `[branch, batch, classes]`, each row sums to 1; computed in float32 at least.
        epsilon: Added inside both logarithms, so that a class of probability 0 stays finite.

    Returns:
        `[batch]`, 0 where all branches agree.

    Source: DyGEN (Zhuang et al., 2023), Eq. 16.

    Example:
        >>> import torch
        >>> agree = torch.tensor([[0.9, 0.1]]).expand(2, 1, 2)
        >>> branch_divergence(agree).item()
        0.0
    """
    probabilities = at_least_float32(probabilities)
    consensus = probabilities.mean(0)
    ratio = (consensus + epsilon).log() - (probabilities + epsilon).log()
    return (consensus * ratio).sum(-1).mean(0)
