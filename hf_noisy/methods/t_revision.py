"""T-revision: importance reweighting by a transition matrix that is itself revised."""

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits
from hf_noisy.methods.learned_parameter import LearnedParameter
from hf_noisy.methods.method import Batch
from hf_noisy.methods.noise_matrix import Corrected, Matrix, MatrixMethod
from hf_noisy.models.heads import row_classes

_SMALLEST = 1e-6  # probability of a given label


class TRevision(MatrixMethod):
    r"""Cross-entropy weighted by how probable the given label is as the true one, with a learned slack of the matrix.

    $$\ell = -\frac{p_y}{\sum_k (T + \Delta)_{ky}\, p_k} \ln p_y, \qquad
      T_{ij} = P(\text{given} = j \mid \text{true} = i)$$

    In the first half of the epochs $\Delta = 0$ and the weight has no gradient; in the second half both are learned.

    Args:
        matrix: `[true, given]`, rows sum to 1; None to estimate it, as in [`ForwardCorrection`].
        estimator: `"confident_joint"`, `"dual_t"` or `"anchor_free"`.
        warmup_ratio: Share of the epochs before the estimate, where there are no features.
        revision_learning_rate: Of Adam for $\Delta$, at least 0.

    Raises:
        ValueError: As [`ForwardCorrection`].

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=TRevision())
        ```

    Source: Xia et al. (2019), Section 3 and Algorithm 1; the learning rate is that of the published code.
    """

    citation: ClassVar[str] = (
        "Xia, X., Liu, T., Wang, N., Han, B., Gong, C., Niu, G., Sugiyama, M. (2019). Are Anchor Points Really "
        "Indispensable in Label-Noise Learning? NeurIPS 2019."
    )

    slack: LearnedParameter

    def __init__(
        self,
        matrix: Any = None,
        estimator: str = "confident_joint",
        warmup_ratio: float = 0.1,
        revision_learning_rate: float = 5e-7,
    ) -> None:
        super().__init__(matrix, estimator, warmup_ratio)
        if not 0.0 <= revision_learning_rate < float("inf"):
            raise ValueError(
                f"revision_learning_rate must be at least 0, got {revision_learning_rate}; the paper uses 5e-7"
            )
        self.revision_learning_rate = revision_learning_rate

    def setup(self, model: nn.Module, accelerator: Any, num_rows: int | None = None) -> None:
        super().setup(model, accelerator, num_rows)
        if accelerator is not None:
            start = torch.zeros((row_classes(model),) * 2)
            self.slack = LearnedParameter(start, self.revision_learning_rate, accelerator)

    def corrected(self, log_probabilities: Logits, labels: LabelTensor, matrix: Matrix, batch: Batch) -> Corrected:
        revises = 2 * batch.epoch >= batch.num_epochs
        if revises:
            matrix = matrix + self.slack.value
        task = F.nll_loss(log_probabilities, labels, reduction="none")
        of_given = (log_probabilities.exp() * matrix.T[labels]).sum(-1)
        weight = (-task).exp() / of_given.clamp(min=_SMALLEST)
        weight = weight if revises else weight.detach()
        return weight * task, {"weight": weight.detach()}

    def after_step(self, model: nn.Module) -> None:
        self.slack.after_step()
