"""Negative learning: a row is told which classes it does not have."""

import torch
from jaxtyping import Int
from torch import Tensor

from hf_noisy.core.types import Logits, RowLosses
from hf_noisy.losses.loss import at_least_float32


def negative_learning(logits: Logits, complementary: Int[Tensor, "rows labels"]) -> RowLosses:
    r"""Mean of $-\ln(1 - p_{\bar y})$ over complementary labels $\bar y$, exact where $p_{\bar y}$ is nearly 1."""
    logits = at_least_float32(logits)[:, None].expand(-1, complementary.shape[1], -1)
    others = logits.scatter(2, complementary[..., None], -torch.inf)
    return (logits.logsumexp(-1) - others.logsumexp(-1)).mean(1)
