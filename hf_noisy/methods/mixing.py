"""Mixing of each row with another row of the training set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.core.rng import uniforms
from hf_noisy.core.rows import Rows
from hf_noisy.data.other_row import other_rows
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.before_training import labels_before_training
from hf_noisy.methods.method import Batch
from hf_noisy.methods.side_by_side import rows_side_by_side, side_by_side
from hf_noisy.models.branches import BranchedOutput, mean_log_probability

if TYPE_CHECKING:
    from transformers import Trainer


@dataclass(frozen=True)
class Pairs:
    """For each row of a batch the weight of its own part, and the index and label of the other row."""

    weight: Float[Tensor, " rows"]
    other: Tensor
    labels: Tensor

    def mix(self, first: Tensor, second: Tensor) -> Tensor:
        """The own part and the other one of something per row."""
        weight = self.weight.view(-1, *[1] * (first.dim() - 1)).to(first.dtype)
        return weight * first + (1 - weight) * second


class Mixing(nn.Module):
    """Draws the pairs and their weights, keyed by seed, epoch and row, and runs the model on mixed rows.

    Inputs of numbers (images) are mixed themselves. Of others (texts) the logits of both rows are mixed, which is the
    same as mixing what a linear head is given.
    """

    labels: Tensor

    def __init__(self, method: str, alpha: float, keeps_larger: bool) -> None:
        super().__init__()
        if not 0.0 < alpha < float("inf"):
            raise ValueError(f"alpha must be above 0, got {alpha}; 1 draws weights uniformly")
        self.method, self.alpha, self.keeps_larger = method, alpha, keeps_larger

    def prepare(self, trainer: "Trainer") -> None:
        """Note the label of every row."""
        self.register_buffer("labels", torch.from_numpy(labels_before_training(trainer)), persistent=False)

    def draw(self, batch: Batch) -> Pairs:
        """The pairs of a batch; each row has one other row in an epoch, whose inputs are the second view."""
        if batch.second_view is None:
            raise ValueError(f"the batch has no other rows, which method {self.method!r} mixes; use NoisyTrainer")
        from scipy.special import betaincinv

        index = batch.index.cpu().numpy()
        numbers = uniforms(batch.seed, stream="mixing", index=index, size=1, epoch=batch.epoch)[:, 0]
        weight = np.asarray(betaincinv(self.alpha, self.alpha, numbers), np.float32)
        weight = np.maximum(weight, 1 - weight) if self.keeps_larger else weight
        other = other_rows(index, len(self.labels), batch.seed, batch.epoch)
        on = batch.index.device
        drawn = torch.from_numpy(other).to(on)
        return Pairs(torch.from_numpy(weight).to(on), drawn, self.labels[drawn])

    def mixed(self, model: Callable[..., Any], batch: Batch, pairs: Pairs) -> tuple[Rows, Any]:
        """The rows of logits of the mixed rows, and the output of the model."""
        rows, outputs, _ = self._run(model, batch, pairs, needs_both=False)
        return rows, outputs

    def both_and_mixed(self, model: Callable[..., Any], batch: Batch, pairs: Pairs) -> tuple[Rows, Rows, Any]:
        """As [`mixed`], first the rows of both unmixed halves `[2 rows, ...]`, without gradient."""
        rows, outputs, both = self._run(model, batch, pairs, needs_both=True)
        assert both is not None
        return both, rows, outputs

    def _run(
        self, model: Callable[..., Any], batch: Batch, pairs: Pairs, needs_both: bool
    ) -> tuple[Rows, Any, Rows | None]:
        joined, count = side_by_side(batch, self.method), len(batch.index)
        if not all(value.is_floating_point() for value in joined.values()):
            both = rows_side_by_side(batch, model(**joined))
            rows = _mixed_logits(both, pairs)
            return rows, _output_of(rows), _detached(both)
        unmixed = None
        if needs_both:
            with torch.no_grad():
                unmixed = rows_side_by_side(batch, model(**joined))
        inputs = {name: pairs.mix(value[:count], value[count:]) for name, value in joined.items()}
        outputs = model(**inputs)
        return batch.rows(outputs), outputs, unmixed


def _mixed_logits(both: Rows, pairs: Pairs) -> Rows:
    def mixed(logits: Tensor) -> Tensor:
        return pairs.mix(*at_least_float32(logits).chunk(2))

    count = len(both.labels) // 2
    branches = None if both.branch_logits is None else mixed(both.branch_logits)
    logits = mixed(both.logits) if branches is None else mean_log_probability(branches)
    return Rows(logits, both.labels[:count], both.index[:count], branches)


def _detached(both: Rows) -> Rows:
    branches = None if both.branch_logits is None else both.branch_logits.detach()
    return replace(both, logits=both.logits.detach(), branch_logits=branches)


def _output_of(rows: Rows) -> Any:
    if rows.branch_logits is None:
        return SequenceClassifierOutput(logits=rows.logits)
    return BranchedOutput(logits=rows.logits, branch_logits=rows.branch_logits)
