"""Cross-entropy, the baseline of every comparison."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.losses.base import Loss, at_least_float32


class CrossEntropy(Loss):
    r"""Cross-entropy with optional label smoothing.

    $$L = -\sum_k t_k \ln p_k, \qquad t = (1 - s)\, e_y + s / C$$

    Args:
        label_smoothing: `s`, the weight of the uniform distribution, in `[0, 1)`.

    Raises:
        ValueError: If `label_smoothing` is outside `[0, 1)`.

    Example:
        >>> import torch
        >>> loss = CrossEntropy()
        >>> losses = loss(torch.zeros(2, 4), torch.tensor([0, 3]))
        >>> bool(torch.allclose(losses, torch.log(torch.tensor([4.0, 4.0]))))
        True
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}; 0.1 is a usual choice")
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], progress: float = 0.0
    ) -> Float[Tensor, " batch"]:
        logits = at_least_float32(logits)
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
