import math

import pytest
import torch
from torch.nn import functional as F

from hf_noisy.losses.early_learning import elr, elr_targets

LABELS = torch.tensor([0, 2, 1, 2, 0])


def random_logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_targets(seed: int = 1) -> torch.Tensor:
    return 0.9 * random_logits(seed).softmax(-1)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_loss_is_the_formula_row_by_row(weight):
    logits, targets = random_logits(), random_targets()
    found = elr(logits, LABELS, targets, weight)
    for row, label in enumerate(LABELS.tolist()):
        p = [math.exp(z) / sum(math.exp(other) for other in logits[row].tolist()) for z in logits[row].tolist()]
        agreement = sum(a * b for a, b in zip(p, targets[row].tolist(), strict=True))
        assert found[row].item() == pytest.approx(-math.log(p[label]) + weight * math.log(1 - agreement), rel=1e-12)


def test_weight_zero_is_cross_entropy():
    logits = random_logits()
    expected = F.cross_entropy(logits, LABELS, reduction="none")
    torch.testing.assert_close(elr(logits, LABELS, random_targets(), 0.0), expected, rtol=0, atol=0)


def test_targets_zero_are_cross_entropy():
    logits = random_logits()
    expected = F.cross_entropy(logits, LABELS, reduction="none")
    torch.testing.assert_close(elr(logits, LABELS, torch.zeros(5, 3).double(), 3.0), expected, rtol=0, atol=0)


def test_gradient_is_that_of_the_formula_with_fixed_targets():
    logits, targets = random_logits().requires_grad_(), random_targets()
    assert torch.autograd.gradcheck(lambda z: elr(z, LABELS, targets, 3.0), (logits,))
    (gradient,) = torch.autograd.grad(elr(logits, LABELS, targets, 3.0).sum(), logits)
    p = logits.detach().softmax(-1)
    agreement = (p * targets).sum(-1, keepdim=True)
    # Lemma 2 of the paper: p - y + lambda g with g = p (<p, t> - t) / (1 - <p, t>).
    expected = p - F.one_hot(LABELS, 3) + 3.0 * p * (agreement - targets) / (1 - agreement)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_a_wrong_label_is_cancelled_by_a_sure_target():
    # The network and its target say class 0, the label says class 1: cross-entropy pulls up what ELR holds down.
    logits = torch.tensor([[4.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    target, label = torch.tensor([[0.97, 0.015, 0.015]], dtype=torch.float64), torch.tensor([1])
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, label), logits)
    (held,) = torch.autograd.grad(elr(logits, label, target, 3.0).sum(), logits)
    assert plain[0, 0] > 0.9
    assert held[0, 0] < 0.5 * plain[0, 0]


def test_targets_are_a_running_average_that_sums_to_one_in_the_end():
    targets, logits = torch.zeros(5, 3).double(), random_logits()
    for count in range(1, 40):
        targets = elr_targets(targets, logits, 0.7)
        torch.testing.assert_close(
            targets.sum(-1), torch.full((5,), 1 - 0.7**count, dtype=torch.float64), rtol=0, atol=1e-12
        )
    torch.testing.assert_close(targets, logits.softmax(-1), rtol=0, atol=1e-5)


def test_targets_have_no_gradient():
    logits = random_logits().requires_grad_()
    targets = elr_targets(random_targets(), logits, 0.5)
    assert not targets.requires_grad
    moving = random_targets().requires_grad_()
    assert torch.autograd.grad(elr(logits, LABELS, moving, 1.0).sum(), moving, allow_unused=True) == (None,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 5])
def test_sure_predictions_stay_finite(dtype, classes):
    logits = torch.full((2, classes), -1e4, dtype=dtype)
    logits[:, 0] = 1e4
    logits.requires_grad_()
    targets = torch.zeros(2, classes)
    for _ in range(50):
        targets = elr_targets(targets, logits, 0.7)
    losses = elr(logits, torch.tensor([0, 1]), targets, 3.0)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    assert gradient.isfinite().all()
    # ln(1 - <p, t>) is no smaller than that of the largest agreement that the clamps allow.
    assert losses[0] > 3.0 * math.log(1e-4)
