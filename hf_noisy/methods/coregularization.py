"""Co-regularisation, stage I of DyGEN: branches are trained to agree, which delays memorisation."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from hf_noisy.losses.branch_divergence import branch_divergence
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step


class CoRegularization(Method):
    r"""Cross-entropy of every branch plus its divergence from the consensus.

    $$\ell = \frac1M \sum_m \mathrm{CE}(p^{(m)}, \hat y) +
      \lambda \frac1M \sum_m \mathrm{KL}(r \,\|\, p^{(m)}), \qquad r = \frac1M \sum_m p^{(m)}$$

    Args:
        agreement_weight: `lambda`, at least 0 (the paper's `lambda_1` is 5).
        warmup_ratio: Share of the optimiser steps in which `lambda` is 0, in `[0, 1]`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        model = BranchedModel.from_model(model, num_branches=2)
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method=CoRegularization(agreement_weight=5.0))
        ```

    Source: DyGEN (Zhuang et al., 2023), Eq. 16, 17, 19, 20; the agreement term is that of Zhou and Chen (2021).
    """

    citation: ClassVar[str] = (
        "Zhuang, Y., Yu, Y., Kong, L., Chen, X., Zhang, C. (2023). DyGen: Learning from Noisy Labels via "
        "Dynamics-Enhanced Generative Modeling. KDD 2023."
    )

    num_branches: ClassVar[int] = 2

    def __init__(self, agreement_weight: float = 5.0, warmup_ratio: float = 0.1) -> None:
        super().__init__()
        if not agreement_weight >= 0:
            raise ValueError(f"agreement_weight must be at least 0, got {agreement_weight}; the paper uses 5")
        if not 0.0 <= warmup_ratio <= 1.0:
            raise ValueError(f"warmup_ratio must be in [0, 1], got {warmup_ratio}; the paper uses 0.1")
        self.agreement_weight, self.warmup_ratio = agreement_weight, warmup_ratio

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        assert rows.branch_logits is not None  # the trainer creates the branches
        log_probabilities = at_least_float32(rows.branch_logits).log_softmax(-1).transpose(0, 1)
        labels = rows.labels.expand(len(log_probabilities), -1)
        task = F.nll_loss(log_probabilities.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(0)
        disagreement = branch_divergence(log_probabilities.exp())
        weight = 0.0 if batch.progress < self.warmup_ratio else self.agreement_weight
        metrics = {"cross_entropy": task.detach(), "disagreement": disagreement.detach()}
        return Step(torch.add(task, disagreement, alpha=weight), outputs, metrics)
