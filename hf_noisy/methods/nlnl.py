"""NLNL: negative learning from random complementary labels, then positive learning of confident rows."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.rng import uniforms
from hf_noisy.core.types import LabelTensor
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.losses.negative_learning import negative_learning
from hf_noisy.methods.method import Batch, Method, Step


class NLNL(Method):
    r"""Negative learning, selective negative learning and selective positive learning, a third of the epochs each.

    $$\ell_1 = -\frac1n \sum_{j=1}^n \ln(1 - p_{\bar y_j}), \qquad \ell_2 = [p_y > 1 / C]\, \ell_1, \qquad
      \ell_3 = -[p_y > \gamma] \ln p_y$$

    The complementary labels $\bar y_j$ are random classes other than the given label, drawn for each epoch and row. A
    random other class is rarely the true one, so they are wrong far less often than given labels.

    Args:
        complementary_labels: `n`, at least 1; None for as many as there are other classes. The paper takes 1 for
            CIFAR-10, over 720 epochs, and 110 for CIFAR-100.
        confidence: `gamma` in `[0, 1)`, the probability of the given label above which a row is learned at the end.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=NLNL())
        ```

    Source: Kim et al. (2019), Eq. 2 and Algorithms 1 to 4.
    """

    citation: ClassVar[str] = (
        "Kim, Y., Yim, J., Yun, J., Kim, J. (2019). NLNL: Negative Learning for Noisy Labels. ICCV 2019."
    )
    needs_rows: ClassVar[bool] = True

    def __init__(self, complementary_labels: int | None = None, confidence: float = 0.5) -> None:
        super().__init__()
        if complementary_labels is not None and not (
            isinstance(complementary_labels, int) and complementary_labels >= 1
        ):
            raise ValueError(
                f"complementary_labels must be an integer of at least 1, got {complementary_labels}; None chooses it"
            )
        if not 0.0 <= confidence < 1.0:
            raise ValueError(f"confidence must be in [0, 1), got {confidence}; the paper uses 0.5")
        self.complementary_labels, self.confidence = complementary_labels, confidence

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        logits = at_least_float32(rows.logits)
        index, size = batch.row_index.cpu().numpy(), self.complementary_labels or max(logits.shape[1] - 1, 1)
        draws = torch.from_numpy(uniforms(batch.seed, stream="nlnl", index=index, size=size, epoch=batch.epoch))
        task = F.cross_entropy(logits, rows.labels, reduction="none")
        phase = min(3 * batch.epoch // max(batch.num_epochs, 1), 2)
        least = (0.0, 1.0 / logits.shape[1], self.confidence)[phase]
        kept = task.detach() < (-math.log(least) if least else math.inf)
        losses = task if phase == 2 else negative_learning(logits, other_labels(rows.labels, draws, logits.shape[1]))
        metrics = {"cross_entropy": task.detach(), "kept": kept.float()}
        return Step(torch.where(kept, losses, 0.0), outputs, metrics)


def other_labels(
    labels: LabelTensor, draws: Float[Tensor, "rows labels"], num_classes: int
) -> Int[Tensor, "rows labels"]:
    """Uniform classes other than the labels, from uniform numbers."""
    shift = 1 + (draws * (num_classes - 1)).long()
    return (labels[:, None] + shift.to(labels.device)) % num_classes
