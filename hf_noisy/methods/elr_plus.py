"""ELR+: early-learning regularisation with two networks, averaged targets and mixup."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.losses.early_learning import elr_targets
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.elr import ELR
from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.mixed_networks import MixedNetworks
from hf_noisy.methods.row_memory import RowMemory
from hf_noisy.methods.two_networks import network_logits
from hf_noisy.models.ema import EMA, check_can_be_averaged, check_decay, refuse_sharded_weights
from hf_noisy.models.heads import num_classes

if TYPE_CHECKING:
    from accelerate import Accelerator

_SMALLEST = 1e-4  # probability, as in ELR


class ELRPlus(MixedNetworks):
    r"""ELR of two networks on mixed rows, whose targets are the other network's averaged predictions.

    $$t_k \leftarrow \beta t_k + (1 - \beta)\, \bar p_{3-k}, \qquad
      \ell = \sum_k \left( -\langle \tilde y, \ln \tilde p_k \rangle +
      \lambda \ln(1 - \langle \tilde p_k, \tilde t_k \rangle) \right)$$

    $\bar p$ is predicted by averaged weights, on the row itself; a tilde means mixed with another row, as in
    [`Mixup`] with a weight of at least one half for the row itself. The targets take `rows * classes * 8` bytes.

    Args:
        beta: Weight of the past in a target, in `[0, 1)`: 0.7 for CIFAR-10, 0.9 for CIFAR-100 in the paper.
        regularization_weight: `lambda`, at least 0: 3 for CIFAR-10, 7 for CIFAR-100 in the paper.
        alpha: Of the Beta distribution of the weights of mixing, above 0.
        decay: Of the averaged weights, in `[0, 1)`, reached by a sigmoid ramp.
        ramp_ratio: Share of training in which the decay rises, in `[0, 1]`; the paper's 40,000 steps are half of it.

    Raises:
        ValueError: If an argument is out of range, the model does not have two branches or trains weights in half
            precision, or weights are sharded over processes.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=ELRPlus())
        ```

    Source: Liu et al. (2020), Section 4.3 and Appendix E; constants of the published code.
    """

    citation: ClassVar[str] = ELR.citation

    targets: RowMemory

    def __init__(
        self,
        beta: float = 0.7,
        regularization_weight: float = 3.0,
        alpha: float = 1.0,
        decay: float = 0.997,
        ramp_ratio: float = 0.5,
    ) -> None:
        super().__init__("elr_plus", alpha)
        ELR(beta, regularization_weight)  # refuses what is out of range
        check_decay(decay)
        if not 0.0 <= ramp_ratio <= 1.0:
            raise ValueError(f"ramp_ratio must be in [0, 1], got {ramp_ratio}; the paper's is 0.5")
        self.beta, self.regularization_weight = beta, regularization_weight
        self.decay, self.ramp_ratio = decay, ramp_ratio
        self.ema: EMA | None = None
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._progress = 0.0
        self._new: list[tuple[Tensor, Tensor]] = []  # targets of this step, which its other rows must not see

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        super().setup(model, accelerator, num_rows)
        check_can_be_averaged(model)
        if accelerator is None:
            return
        refuse_sharded_weights(accelerator, "elr_plus", instead="elr")
        self.ema, self._autocast, self._new = EMA(model, self.decay), accelerator.autocast, []
        self.targets = RowMemory(num_rows, (2, num_classes(model)), accelerator)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        assert self.ema is not None  # made by setup
        pairs = self.mixing.draw(batch)
        with self._autocast():
            averaged = network_logits(batch.rows(self.ema(**batch.inputs)))
        own = self._next_targets(self.targets.read(batch.index), averaged.flip(1))
        self._new.append((batch.index, own))
        self._progress = batch.progress
        rows, outputs = self.mixing.mixed(model, batch, pairs)
        log_p = network_logits(rows).log_softmax(-1)
        classes = log_p.shape[-1]
        labels = pairs.mix(*(F.one_hot(given, classes).to(log_p.dtype) for given in (batch.labels, pairs.labels)))
        targets = pairs.mix(own, self.targets.read(pairs.other))
        task = -(labels[:, None] * log_p).sum(-1)
        agreement = (log_p.exp().clamp(_SMALLEST, 1 - _SMALLEST) * targets).sum(-1)
        regularization = self.regularization_weight * torch.log1p(-agreement)
        metrics = {"cross_entropy": task.detach().mean(1), "regularization": regularization.detach().mean(1)}
        return Step((task + regularization).sum(1), outputs, metrics)

    def _next_targets(
        self, targets: Float[Tensor, "rows 2 classes"], logits: Float[Tensor, "rows 2 classes"]
    ) -> Float[Tensor, "rows 2 classes"]:
        return elr_targets(targets.flatten(0, 1), logits.flatten(0, 1), self.beta).view_as(targets)

    def after_step(self, model: nn.Module) -> None:
        assert self.ema is not None  # made by setup
        if self._new:
            index, targets = (torch.cat(parts) for parts in zip(*self._new, strict=True))
            self.targets.write(index, at_least_float32(targets))
            self._new = []
        missing = 1.0 - min(self._progress / self.ramp_ratio, 1.0) if self.ramp_ratio else 0.0
        self.ema.update(model, self.decay * math.exp(-5.0 * missing**2))
