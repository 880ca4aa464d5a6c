"""Mixup: training on rows mixed in pairs, with any loss."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hf_noisy.data.other_row import OtherRow
from hf_noisy.losses import LOSSES
from hf_noisy.losses.loss import Loss
from hf_noisy.methods.method import Batch, LossMethod, Method, Step
from hf_noisy.methods.mixing import Mixing

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import Trainer


class Mixup(Method):
    r"""Any method without a state per row, on rows that are mixed with other rows.

    $$\tilde x = \mu x_i + (1 - \mu) x_j, \qquad
      \ell = \mu\, L(\tilde x, y_i) + (1 - \mu)\, L(\tilde x, y_j), \qquad \mu \sim \mathrm{Beta}(\alpha, \alpha)$$

    The other row `j` is any row of the training set, drawn with $\mu$ for each row and epoch. Images (and other inputs
    of real numbers) are mixed themselves; of texts, the vectors that the linear head gets, which takes two passes.

    Args:
        method: Name of a loss, a [`Loss`], or a [`Method`] that does not need rows.
        alpha: Of the Beta distribution, above 0. The paper takes 1 for CIFAR-10, and 8 or 32 with many wrong labels.

    Raises:
        ValueError: If an argument is out of range, the method has a state per row or a second view of its own, or
            rows have columns of a second view.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=Mixup("gce", alpha=1.0))
        ```

    Source: Zhang et al. (2018), Eq. 1; of sentence vectors Guo, Mao and Zhang (2019), senMixup.
    """

    citation: ClassVar[str] = (
        "Zhang, H., Cisse, M., Dauphin, Y. N., Lopez-Paz, D. (2018). mixup: Beyond Empirical Risk Minimization. "
        "ICLR 2018."
    )
    needs_rows: ClassVar[bool] = True

    one_label_only: ClassVar[bool] = True

    def __init__(self, method: str | Loss | Method = "cross_entropy", alpha: float = 1.0) -> None:
        super().__init__()
        if isinstance(method, str):
            if method not in LOSSES:
                raise ValueError(f"method must be the name of a loss, got {method!r}; or pass a Loss or a Method")
            method = LOSSES[method]()
        base = LossMethod(method) if isinstance(method, Loss) else method
        if base.needs_rows or base.second_view is not None or not base.row_losses:
            raise ValueError(
                f"method {type(base).__name__} keeps something per row or has views of its own, which mixed rows have "
                "not; take a loss"
            )
        self.base, self.mixing = base, Mixing("mixup", alpha, keeps_larger=False)
        self.num_branches, self.soft_labels = base.num_branches, base.soft_labels  # type: ignore[misc]
        self.second_view = OtherRow()

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        self.base.setup(model, accelerator, num_rows)

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        self.base.prepare(trainer, resumes=resumes)
        self.mixing.prepare(trainer)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        pairs = self.mixing.draw(batch)
        _, outputs = self.mixing.mixed(model, batch, pairs)
        known = _Known(outputs)
        own = self.base(known, batch)
        other = self.base(known, replace(batch, labels=pairs.labels))
        metrics = {
            name: pairs.mix(*torch.broadcast_tensors(value, other.metrics[name])) if value.dim() else value
            for name, value in own.metrics.items()
        }
        return Step(pairs.mix(own.losses, other.losses), outputs, metrics)

    def before_step(self, model: nn.Module) -> None:
        self.base.before_step(model)

    def after_step(self, model: nn.Module) -> None:
        self.base.after_step(model)


class _Known(nn.Module):
    """Stands for the model, whose output is known already."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, **inputs: Any) -> Any:
        return self.outputs
