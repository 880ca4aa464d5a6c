"""CDR: only the weights that matter for the given batch are trained."""

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.methods.small_loss import SmallLoss
from hf_noisy.models.sharded import sharded_by

if TYPE_CHECKING:
    from accelerate import Accelerator

_MOST_SORTED = 2**24  # weights whose products are ranked; of more, evenly spaced ones


class CDR(Method):
    r"""Cross-entropy whose gradient reaches only the critical weights of each step.

    $$g_w \leftarrow R\, [\lvert w\, g_w \rvert \ge q]\, g_w, \qquad R(e) = 1 - \tau \min(e / E_k, 1)$$

    `q` is such that the share `R` of all weights (of matrices and convolutions) is critical. Weight decay makes the
    others fade: set `weight_decay` in the training arguments.

    Args:
        noise_rate: `tau` in `[0, 1)`, the share of wrong labels; `None` to estimate it while the ramp rises.
        ramp_epochs: `E_k`, at least 1; `None` for 10, or a third of the epochs if there are fewer than 30.

    Raises:
        ValueError: If an argument is out of range, or weights are sharded over processes (FSDP, DeepSpeed).

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=CDR(noise_rate=0.4))
        ```

    Source: Xia et al. (2021), Section 2.3 and Algorithm 1; which weights take part is that of the published code.
    """

    citation: ClassVar[str] = (
        "Xia, X., Liu, T., Han, B., Gong, C., Wang, N., Ge, Z., Chang, Y. (2021). Robust Early-learning: Hindering "
        "the Memorization of Noisy Labels. ICLR 2021."
    )
    needs_rows: ClassVar[bool] = True

    def __init__(self, noise_rate: float | None = None, ramp_epochs: int | None = None) -> None:
        super().__init__()
        if noise_rate is not None and not 0.0 <= noise_rate < 1.0:
            raise ValueError(f"noise_rate must be in [0, 1), got {noise_rate}; pass None to have it estimated")
        self.selection = SmallLoss(noise_rate, ramp_epochs)
        self._share: Tensor | None = None

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        if accelerator is None:
            return
        if (kind := sharded_by(accelerator)) is not None or accelerator.distributed_type.value == "DEEPSPEED":
            raise ValueError(
                f"method 'cdr' ranks the gradients of all weights, which no process holds under {kind or 'DeepSpeed'};"
                " use DDP"
            )
        self.selection.setup(1, num_rows, accelerator)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = at_least_float32(rows.logits)
        losses = F.cross_entropy(logits, rows.labels, reduction="none")
        task = losses.detach()
        _, self._share, noise_rate = self.selection(task[:, None], task, batch, logits.shape[-1])
        return Step(losses, outputs, {"noise_rate": noise_rate, "critical": self._share})

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        trained = [(weight, weight.grad) for weight in model.parameters() if weight.grad is not None]
        trained = [(weight, gradient) for weight, gradient in trained if weight.dim() >= 2]
        if self._share is None or not trained:
            return
        share = float(self._share)
        if share >= 1.0:
            return
        products = torch.cat([(weight * gradient).abs().flatten() for weight, gradient in trained])
        products = products[:: -(-len(products) // _MOST_SORTED)]
        threshold = products.kthvalue(max(len(products) - int(share * len(products)) + 1, 1)).values
        for weight, gradient in trained:
            gradient.mul_(share * ((weight * gradient).abs() >= threshold))

    def after_step(self, model: nn.Module) -> None:
        self.selection.after_step()
