import pytest
import torch

from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.taylor import TCE


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])


def test_order_one_is_mean_absolute_error(rows):
    torch.testing.assert_close(TCE(1)(*rows), MAE()(*rows))


def test_orders_grow_towards_cross_entropy(rows):
    cross_entropy = CrossEntropy()(*rows)
    losses = torch.stack([TCE(order)(*rows) for order in (1, 2, 4, 8, 16)])
    assert (losses.diff(dim=0) > 0).all()
    assert (losses < cross_entropy).all()
    torch.testing.assert_close(TCE(2000)(*rows), cross_entropy)


def test_each_order_adds_its_term(rows):
    logits, labels = rows
    rest = 1 - logits.softmax(-1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(TCE(3)(*rows), rest + rest**2 / 2 + rest**3 / 3)


def test_a_certain_row_has_no_gradient():
    logits = torch.tensor([[1e3, 0.0]], requires_grad=True)
    TCE(6)(logits, torch.tensor([0])).sum().backward()
    assert torch.equal(logits.grad, torch.zeros(1, 2))


@pytest.mark.parametrize("order", [0, -2])
def test_order_out_of_range_is_refused(order):
    with pytest.raises(ValueError, match="order must be a whole number of at least 1"):
        TCE(order)
