import pytest
import torch

from hf_noisy.losses.bi_tempered import BiTempered, tempered_log_softmax
from hf_noisy.losses.cross_entropy import CrossEntropy


def make_rows(classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(8, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (8,), generator=generator)


def test_temperatures_of_one_are_cross_entropy():
    logits, labels = make_rows()
    torch.testing.assert_close(BiTempered(1.0, 1.0)(logits, labels), CrossEntropy()(logits, labels))
    torch.testing.assert_close(
        BiTempered(1 - 1e-7, 1 + 1e-7)(logits, labels), CrossEntropy()(logits, labels), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("t", [1.05, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("classes", [2, 1000])
def test_probabilities_sum_to_one(t, classes):
    logits, _ = make_rows(classes)
    total = tempered_log_softmax(logits, t).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones(8, dtype=torch.float64))


def test_loss_is_bounded_below_a_first_temperature_of_one():
    # -ln_t1(0) = 1 / (1 - t1), and the other term is 0 where a wrong class has all probability.
    loss = BiTempered(0.5, 1.0)(torch.tensor([[1e3, 0.0]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(2.0)
    assert CrossEntropy()(torch.tensor([[1e3, 0.0]]), torch.tensor([1])).item() == 1e3


def test_gradient_is_that_of_the_paper():
    logits, labels = make_rows()
    logits.requires_grad_()
    (ours,) = torch.autograd.grad(BiTempered(0.8, 1.4)(logits, labels).sum(), logits)
    p = tempered_log_softmax(logits.detach(), 1.4).exp()
    away = (p - torch.nn.functional.one_hot(labels, 5)) * p ** (1.4 - 0.8)
    escort = p**1.4 / (p**1.4).sum(-1, keepdim=True)
    torch.testing.assert_close(ours, away - escort * away.sum(-1, keepdim=True))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"t1 must be in \[0, 1\], got 1\.5"):
        BiTempered(1.5)
    with pytest.raises(ValueError, match=r"t2 must be at least 1, got 0\.5"):
        BiTempered(0.8, 0.5)
