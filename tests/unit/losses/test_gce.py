import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.mae import MAE


def make_rows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (6,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_exponent_is_cross_entropy(dtype):
    logits, labels = make_rows()
    logits = logits.to(dtype)
    torch.testing.assert_close(GCE(1e-7)(logits, labels), CrossEntropy()(logits, labels), rtol=2e-6, atol=0)


def test_exponent_one_is_mean_absolute_error():
    logits, labels = make_rows()
    torch.testing.assert_close(GCE(1.0)(logits, labels), MAE()(logits, labels))


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.05, 3.0))
def test_gradient_is_that_of_cross_entropy_weighted(seed, q):
    logits, labels = make_rows(seed)
    logits.requires_grad_()
    (ours,) = torch.autograd.grad(GCE(q)(logits, labels).sum(), logits)
    (cross_entropy,) = torch.autograd.grad(CrossEntropy()(logits, labels).sum(), logits)
    weight = logits.softmax(-1).gather(1, labels[:, None]) ** q
    torch.testing.assert_close(ours, weight * cross_entropy)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.05, 3.0), st.floats(0.05, 3.0))
def test_larger_exponent_costs_less(seed, one, other):
    rows = make_rows(seed)
    assert (GCE(max(one, other))(*rows) <= GCE(min(one, other))(*rows) + 1e-12).all()


def test_rows_below_the_smallest_probability_have_no_gradient():
    logits, labels = torch.tensor([[20.0, 0.0], [2.0, 0.0]], requires_grad=True), torch.tensor([1, 1])
    losses = GCE(0.5, epsilon=1e-4)(logits, labels)
    losses.sum().backward()
    torch.testing.assert_close(losses[0].detach(), torch.tensor((1 - 1e-2) / 0.5))
    assert logits.grad[0].abs().max() == 0.0
    assert logits.grad[1].abs().max() > 0.0


@pytest.mark.parametrize("q", [0.0, -0.7, float("nan"), float("inf")])
def test_exponent_out_of_range_is_refused(q):
    with pytest.raises(ValueError, match=r"q must be above 0, got .*; 0\.7 is the usual choice"):
        GCE(q)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, float("nan")])
def test_smallest_probability_out_of_range_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must be in \(0, 1\)"):
        GCE(epsilon=epsilon)
