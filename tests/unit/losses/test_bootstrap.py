import pytest
import torch

from hf_noisy.losses.bootstrap import Bootstrap
from hf_noisy.losses.cross_entropy import CrossEntropy


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_full_weight_of_the_label_is_cross_entropy(rows, kind):
    torch.testing.assert_close(Bootstrap(1.0, kind)(*rows), CrossEntropy()(*rows))


@pytest.mark.parametrize(("kind", "beta"), [("soft", 0.95), ("hard", 0.8)])
def test_default_weight_is_that_of_the_paper(rows, kind, beta):
    assert torch.equal(Bootstrap(kind=kind)(*rows), Bootstrap(beta, kind)(*rows))


def test_soft_target_is_a_mixture_and_has_a_gradient(rows):
    logits, labels = rows
    logits.requires_grad_()
    own = logits.softmax(-1)
    target = 0.3 * torch.nn.functional.one_hot(labels, 4) + 0.7 * own
    losses = Bootstrap(0.3)(logits, labels)
    torch.testing.assert_close(losses, CrossEntropy()(logits, target))
    (gradient,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
    (detached,) = torch.autograd.grad(CrossEntropy()(logits, target.detach()).sum(), logits, retain_graph=True)
    assert (gradient - detached).abs().max() > 1e-2
    (through,) = torch.autograd.grad(CrossEntropy()(logits, target).sum(), logits)
    torch.testing.assert_close(gradient, through)


def test_hard_target_is_the_largest_probability(rows):
    logits, labels = rows
    largest = CrossEntropy()(logits, logits.argmax(-1))
    torch.testing.assert_close(
        Bootstrap(0.3, "hard")(logits, labels), 0.3 * CrossEntropy()(logits, labels) + 0.7 * largest
    )


@pytest.mark.parametrize("beta", [0.0, 1.1, -0.5, float("nan")])
def test_weight_out_of_range_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta must be in \(0, 1\], got"):
        Bootstrap(beta)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be 'soft' or 'hard', got 'medium'"):
        Bootstrap(kind="medium")
