"""PENCIL: a distribution of the true label for each row, learned with the network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.types import LabelTensor, Logits
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.models.heads import row_classes

if TYPE_CHECKING:
    from accelerate import Accelerator

_PAPER_EPOCHS = 130  # in which the paper learns labels


class PENCIL(Method):
    r"""Cross-entropy, then labels and network together, then the network on the learned labels.

    $$\ell_2 = \tfrac1C \mathrm{KL}(p \,\|\, d) + \alpha\, \ell_o + \tfrac\beta C H(p), \qquad
      \ell_3 = \tfrac1C \mathrm{KL}(p \,\|\, d), \qquad d = \mathrm{softmax}(u)$$

    Each row has label logits `u`, at first `K` for its given class and 0 for the others. In the second phase
    $u \leftarrow u - \eta\, \partial \ell_2 / \partial u$ after each use; $\ell_o$ keeps `d` near the given label.
    The label logits take `rows * classes * 4` bytes.

    Args:
        compatibility_weight: `alpha`, at least 0.
        entropy_weight: `beta`, at least 0.
        label_learning_rate: `eta` of a row in runs with 130 epochs of the second phase; scaled such that labels move
            as far in other runs. The paper's 600 is that of a mean over batches of 128.
        label_scale: `K`, above 0: how sure given labels are at first.
        phases: Shares of the epochs at which the second and third phase begin.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=PENCIL())
        ```

    Source: Yi and Wu (2019), Eq. 2 to 9; weights, `K` and $\ell_o$ of the published code, which takes the softmax
    twice: $\ell_o = -\ln \mathrm{softmax}(d)_y$.
    """

    citation: ClassVar[str] = (
        "Yi, K., Wu, J. (2019). Probabilistic End-to-end Noise Correction for Learning with Noisy Labels. CVPR 2019."
    )
    needs_rows: ClassVar[bool] = True

    label_logits: RowMemory

    def __init__(
        self,
        compatibility_weight: float = 0.4,
        entropy_weight: float = 0.1,
        label_learning_rate: float = 600 / 128,
        label_scale: float = 10.0,
        phases: Sequence[float] = (70 / 320, 200 / 320),
    ) -> None:
        super().__init__()
        weights = {
            "compatibility_weight": (compatibility_weight, 0.4),
            "entropy_weight": (entropy_weight, 0.1),
            "label_learning_rate": (label_learning_rate, 600 / 128),
        }
        for name, (value, usual) in weights.items():
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {value}; the paper uses {usual}")
        if not 0.0 < label_scale < float("inf"):
            raise ValueError(f"label_scale must be above 0, got {label_scale}; the paper uses 10")
        if not 0.0 <= phases[0] <= phases[1] <= 1.0:
            raise ValueError(f"phases must be two rising shares in [0, 1], got {phases}; the paper uses 7/32 and 5/8")
        self.compatibility_weight, self.entropy_weight = compatibility_weight, entropy_weight
        self.label_learning_rate, self.label_scale = label_learning_rate, label_scale
        self.phases = (float(phases[0]), float(phases[1]))

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        if accelerator is not None:
            self.label_logits = RowMemory(num_rows, (row_classes(model),), accelerator, fill=torch.nan)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = at_least_float32(rows.logits)
        task = F.cross_entropy(logits, rows.labels, reduction="none")
        begin, end = (round(share * batch.num_epochs) for share in self.phases)
        if batch.epoch < begin:
            return Step(task, outputs, {"cross_entropy": task.detach()})
        stored = self.label_logits.read(rows.index)
        given = self.label_scale * F.one_hot(rows.labels, logits.shape[1]).to(stored.dtype)
        label_logits = torch.where(stored.isnan(), given, stored)
        losses = self._losses(logits, label_logits, rows.labels, is_joint=batch.epoch < end)
        if batch.epoch < end:
            rate = self.label_learning_rate * _PAPER_EPOCHS / (end - begin)
            self.label_logits.write(
                rows.index, label_logits - rate * self._gradient(logits, label_logits, rows.labels)
            )
        kept = (label_logits.argmax(-1) == rows.labels).float()
        return Step(losses, outputs, {"cross_entropy": task.detach(), "kept": kept})

    def _losses(
        self, logits: Logits, label_logits: Float[Tensor, "rows classes"], labels: LabelTensor, is_joint: bool
    ) -> Float[Tensor, " rows"]:
        log_p, log_d = logits.log_softmax(-1), label_logits.log_softmax(-1)
        classes = logits.shape[1]
        losses = (log_p.exp() * (log_p - log_d)).sum(-1) / classes
        if not is_joint:
            return losses
        compatibility = F.cross_entropy(log_d.exp(), labels, reduction="none")
        entropy = -(log_p.exp() * log_p).sum(-1) / classes
        return losses + self.compatibility_weight * compatibility + self.entropy_weight * entropy

    def _gradient(
        self, logits: Logits, label_logits: Float[Tensor, "rows classes"], labels: LabelTensor
    ) -> Float[Tensor, "rows classes"]:
        with torch.enable_grad():
            leaf = label_logits.detach().requires_grad_()
            losses = self._losses(logits.detach(), leaf, labels, is_joint=True)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return gradient
