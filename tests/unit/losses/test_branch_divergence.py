import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.losses.branch_divergence import branch_divergence


def random_probabilities(seed: int, branches: int = 3, rows: int = 5, classes: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(branches, rows, classes, generator=generator, dtype=torch.float64).softmax(-1)


def test_equal_branches_cost_nothing() -> None:
    probabilities = random_probabilities(0, branches=1).expand(3, -1, -1).contiguous().requires_grad_()
    losses = branch_divergence(probabilities)
    (gradient,) = torch.autograd.grad(losses.sum(), probabilities)
    assert losses.abs().max() < 1e-15
    assert gradient.abs().max() < 1e-12


@given(st.integers(0, 1000))
def test_is_never_below_zero(seed: int) -> None:
    assert branch_divergence(random_probabilities(seed)).min() > -1e-12


def test_gradient_is_that_of_the_formula_with_a_moving_average() -> None:
    logits = random_probabilities(1).log().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: branch_divergence(x.softmax(-1)), (logits,))


def test_gradient_flows_through_the_average() -> None:
    probabilities = random_probabilities(2).requires_grad_()
    consensus = probabilities.mean(0).detach()
    ratio = (consensus + 1e-5).log() - (probabilities + 1e-5).log()
    detached = (consensus * ratio).sum(-1).mean(0)
    (ours,) = torch.autograd.grad(branch_divergence(probabilities).sum(), probabilities)
    (without,) = torch.autograd.grad(detached.sum(), probabilities)
    assert (ours - without).abs().max() > 1e-3


def test_probability_zero_stays_finite() -> None:
    probabilities = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], requires_grad=True)
    losses = branch_divergence(probabilities)
    (gradient,) = torch.autograd.grad(losses.sum(), probabilities)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    half = random_probabilities(3).to(dtype)
    assert branch_divergence(half).dtype == torch.float32
    assert torch.equal(branch_divergence(half), branch_divergence(half.float()))
