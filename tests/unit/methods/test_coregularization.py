import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_noisy.methods import Batch, CoRegularization
from tests.contract.runs import make_model

PROBABILITIES = [[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [[0.5, 0.25, 0.25], [0.3, 0.3, 0.4]]]  # [branch, row, class]
LABELS = [0, 2]
EPSILON = 1e-5


class Branched(nn.Module):
    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        # Any shift of a row's logits leaves its probabilities, and so the loss, as they are.
        logits = torch.tensor(PROBABILITIES, dtype=torch.float64).log().transpose(0, 1) + 3.0
        return SimpleNamespace(branch_logits=logits, logits=logits.mean(1))


def step(progress: float, **settings: float):
    batch = Batch({}, torch.tensor(LABELS), torch.arange(2), progress, 0)
    return CoRegularization(**settings)(Branched(), batch)


def by_hand(weight: float) -> list[float]:
    losses = []
    for row, label in enumerate(LABELS):
        branches = [branch[row] for branch in PROBABILITIES]
        consensus = [sum(values) / 2 for values in zip(*branches, strict=True)]
        task = sum(-math.log(branch[label]) for branch in branches) / 2
        disagreement = sum(
            r * math.log((r + EPSILON) / (p + EPSILON))
            for branch in branches
            for r, p in zip(consensus, branch, strict=True)
        )
        losses.append(task + weight * disagreement / 2)
    return losses


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_loss_of_each_row_is_the_formula(weight):
    assert step(0.5, agreement_weight=weight).losses.tolist() == pytest.approx(by_hand(weight), rel=1e-12)


def test_agreement_counts_only_after_the_warmup():
    assert step(0.09).losses.tolist() == pytest.approx(by_hand(0.0))
    assert step(0.1).losses.tolist() == pytest.approx(by_hand(5.0))
    assert step(0.0, warmup_ratio=0.0).losses.tolist() == pytest.approx(by_hand(5.0))


def test_metrics_are_the_two_terms_detached():
    model = make_model("branches")
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    result = CoRegularization(agreement_weight=2.0)(
        model, Batch({"input_ids": ids}, torch.tensor([0, 1]), ids[:, 0], 0.5, 0)
    )
    assert result.losses.requires_grad
    assert not any(value.requires_grad for value in result.metrics.values())
    torch.testing.assert_close(
        result.metrics["cross_entropy"] + 2.0 * result.metrics["disagreement"], result.losses.detach()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agreement_weight": -1.0}, "agreement_weight must be at least 0, got -1.0"),
        ({"agreement_weight": float("nan")}, "agreement_weight must be at least 0"),
        ({"warmup_ratio": 1.5}, r"warmup_ratio must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CoRegularization(**settings)
