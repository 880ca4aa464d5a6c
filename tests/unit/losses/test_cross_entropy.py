import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.losses import CrossEntropy


def by_hand(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    losses = []
    for row, label in zip(logits.double(), labels, strict=True):
        probabilities = row.exp() / row.exp().sum()
        target = torch.full_like(probabilities, smoothing / len(row))
        target[label] += 1 - smoothing
        losses.append(-(target * probabilities.log()).sum())
    return torch.stack(losses)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.0, 0.9), st.integers(0, 1000))
def test_loss_of_each_row_is_the_formula(rows, classes, smoothing, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (rows,), generator=generator)
    torch.testing.assert_close(CrossEntropy(smoothing)(logits, labels), by_hand(logits, labels, smoothing))


@pytest.mark.parametrize(("given_type", "computed"), [("bfloat16", "float32"), ("float64", "float64")])
def test_half_precision_is_widened_and_double_kept(given_type, computed):
    logits = torch.tensor([[1.0, -2.0, 0.5]], dtype=getattr(torch, given_type))
    losses = CrossEntropy()(logits, torch.tensor([1]))
    assert losses.dtype == getattr(torch, computed)
    torch.testing.assert_close(losses.double(), by_hand(logits, torch.tensor([1]), 0.0), rtol=1e-6, atol=0)


def test_extreme_logits_stay_finite():
    losses = CrossEntropy()(torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), torch.tensor([0, 0]))
    torch.testing.assert_close(losses, torch.tensor([0.0, 2e4]))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\)"):
        CrossEntropy(smoothing)


def test_progress_changes_nothing():
    logits, labels = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    assert torch.equal(CrossEntropy()(logits, labels, 0.0), CrossEntropy()(logits, labels, 0.99))
