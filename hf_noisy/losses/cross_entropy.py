"""Cross-entropy, the baseline of every comparison, and label smoothing."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, at_least_float32


class CrossEntropy(Loss):
    r"""Cross-entropy with optional label smoothing.

    $$L = -\sum_k t_k \ln p_k, \qquad t = (1 - s)\, e_y + s / C$$

    Labels may also be probabilities, `[batch, classes]`, which take the place of the one-hot $e_y$.

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

    soft_labels: ClassVar[bool] = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}; 0.1 is a usual choice")
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Logits, labels: LabelTensor | Float[Tensor, "rows classes"], progress: float = 0.0
    ) -> RowLosses:
        logits = at_least_float32(logits)
        if labels.is_floating_point():
            labels = labels.to(logits.dtype)
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)


class LabelSmoothing(CrossEntropy):
    r"""Cross-entropy to a target that is part given label, part uniform.

    $$L = -\sum_k t_k \ln p_k, \qquad t = (1 - s)\, e_y + s / C$$

    Args:
        smoothing: `s`, the weight of the uniform distribution, in `[0, 1)`.

    Raises:
        ValueError: If `smoothing` is outside `[0, 1)`.

    Example:
        >>> import torch
        >>> loss = LabelSmoothing(0.2)
        >>> losses = loss(torch.tensor([[9.0, 0.1]]).log(), torch.tensor([0]))
        >>> round(losses.item(), 3)  # 0.9 ln(91 / 90) + 0.1 ln 91
        0.461

    Source: Szegedy et al. (2016), Section 7; under label noise, Lukasik et al. (2020).
    """

    citation: ClassVar[str] = (
        "Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., Wojna, Z. (2016). Rethinking the Inception Architecture "
        "for Computer Vision. CVPR 2016."
    )
    soft_labels: ClassVar[bool] = False

    def __init__(self, smoothing: float = 0.1) -> None:
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1), got {smoothing}; 0.1 is the usual choice")
        super().__init__(label_smoothing=smoothing)
