"""Early-learning regularisation with a target for each training row."""

from typing import TYPE_CHECKING, ClassVar

from torch import nn
from torch.nn import functional as F

from hf_noisy.losses.early_learning import elr, elr_targets
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.models.heads import row_classes

if TYPE_CHECKING:
    from accelerate import Accelerator


class ELR(Method):
    r"""Cross-entropy with a penalty for leaving the early predictions.

    $$t \leftarrow \beta t + (1 - \beta)\, p, \qquad \ell = -\ln p_y + \lambda \ln(1 - \langle p, t \rangle)$$

    Each row's target `t` starts at 0 and is updated before use. The targets take
    `rows * classes * 4` bytes of memory on the device and in each checkpoint.

    Args:
        beta: Weight of the past in a target, in `[0, 1)`: 0.7 for CIFAR-10, 0.9 for CIFAR-100 in the paper.
        regularization_weight: `lambda`, at least 0: 3 for CIFAR-10, 7 for CIFAR-100 in the paper.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=ELR(beta=0.7, regularization_weight=3.0))
        ```

    Source: Liu et al. (2020), Section 4.
    """

    citation: ClassVar[str] = (
        "Liu, S., Niles-Weed, J., Razavian, N., Fernandez-Granda, C. (2020). Early-Learning Regularization Prevents "
        "Memorization of Noisy Labels. NeurIPS 2020."
    )
    needs_rows: ClassVar[bool] = True

    targets: RowMemory

    def __init__(self, beta: float = 0.7, regularization_weight: float = 3.0) -> None:
        super().__init__()
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"beta must be in [0, 1), got {beta}; the paper uses 0.7")
        if not 0.0 <= regularization_weight < float("inf"):
            raise ValueError(
                f"regularization_weight must be at least 0, got {regularization_weight}; the paper uses 3"
            )
        self.beta, self.regularization_weight = beta, regularization_weight

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        if accelerator is not None:
            self.targets = RowMemory(num_rows, (row_classes(model),), accelerator)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = at_least_float32(rows.logits)
        targets = elr_targets(self.targets.read(rows.index), logits, self.beta)
        self.targets.write(rows.index, targets)
        losses = elr(logits, rows.labels, targets, self.regularization_weight)
        task = F.cross_entropy(logits.detach(), rows.labels, reduction="none")
        metrics = {"cross_entropy": task, "regularization": losses.detach() - task}
        return Step(losses, outputs, metrics)
