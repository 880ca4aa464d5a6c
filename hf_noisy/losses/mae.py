"""Mean absolute error: robust to symmetric noise by construction, slow to fit."""

from typing import ClassVar

from hf_noisy.core.types import LabelTensor, Logits, RowLosses
from hf_noisy.losses.loss import Loss, label_log_probability


class MAE(Loss):
    r"""Mean absolute error between the prediction and the given label.

    $$L = 1 - p_y = \tfrac12 \lVert e_y - p \rVert_1$$

    Summed over all labels it is the constant $C - 1$: under symmetric noise below $1 - 1/C$ the best classifier is the
    one of the true labels.

    Example:
        >>> import torch
        >>> MAE()(torch.zeros(1, 4), torch.tensor([2])).item()
        0.75

    Source: Ghosh et al. (2017); half of their l1 distance.
    """

    citation: ClassVar[str] = (
        "Ghosh, A., Kumar, H., Sastry, P. S. (2017). Robust Loss Functions under Label Noise for Deep Neural "
        "Networks. AAAI 2017."
    )

    def forward(self, logits: Logits, labels: LabelTensor, progress: float = 0.0) -> RowLosses:
        return -label_log_probability(logits, labels).expm1()
