import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.losses.dal import DAL
from hf_noisy.losses.gce import GCE


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])


def test_schedule_has_the_ends_that_are_given():
    assert DAL(0.4, 1.5).schedule(0.0) == (0.4, 0.0)
    assert DAL(0.4, 1.5).schedule(1.0) == pytest.approx((1.5, 1.0))


@settings(max_examples=30)
@given(st.floats(0.1, 0.99), st.floats(1.01, 3.0), st.integers(1, 300))
def test_bootstrapping_starts_where_the_exponent_passes_one(q_start, q_end, epochs):
    passes = (1 - q_start) * epochs / (q_end - q_start)
    for epoch in range(epochs):
        q, weight = DAL(q_start, q_end).schedule(epoch / epochs)
        assert weight == pytest.approx(max(0.0, (epoch - passes) / (epochs - passes)), abs=1e-9)
        assert 0.0 <= weight < 1.0
        assert q_start <= q < q_end


@settings(max_examples=50)
@given(st.floats(0.1, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 0.999))
def test_an_exponent_that_stays_below_one_never_bootstraps(q_start, share, progress):
    q_end = min(1.0, q_start + share * (1.0 - q_start))
    assert DAL(q_start, q_end).schedule(progress)[1] == 0.0


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_constant_exponent_above_one_bootstraps_all_the_time(kind):
    assert DAL(1.2, 1.2, kind).schedule(0.0) == DAL(1.2, 1.2, kind).schedule(0.9) == (1.2, 1.0)


def test_begins_as_generalised_cross_entropy(rows):
    assert torch.equal(DAL(0.6)(*rows), GCE(0.6)(*rows))
    torch.testing.assert_close(DAL(0.6, 1.5)(*rows, 0.4), GCE(0.96)(*rows))


def test_number_of_classes_scales_the_entropy():
    for classes in (2, 10, 100):
        logits, labels = torch.zeros(1, classes, dtype=torch.float64), torch.tensor([0])
        # A prediction without any preference has the largest entropy, which counts as 1 / q whatever the classes.
        bootstrapping = DAL(1.5, 1.5)(logits, labels) - GCE(1.5)(logits, labels)
        assert bootstrapping.item() == pytest.approx(1 / 1.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_bootstrapping_sharpens_the_prediction_and_ignores_the_label(kind):
    logits = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    bootstrapping = [
        DAL(1.5, 1.5, kind)(logits, torch.tensor([y])) - GCE(1.5)(logits, torch.tensor([y])) for y in range(3)
    ]
    torch.testing.assert_close(bootstrapping[0], bootstrapping[1])
    torch.testing.assert_close(bootstrapping[0], bootstrapping[2])
    (gradient,) = torch.autograd.grad(bootstrapping[0].sum(), logits)
    assert gradient[0, 0] < 0 < gradient[0, 2]
    probabilities = logits.detach().softmax(-1)
    if kind == "soft":
        entropy = -(probabilities * probabilities.log()).sum()
        expected = -probabilities * (probabilities.log() + entropy) / (1.5 * math.log(3))
    else:
        expected = (probabilities - torch.tensor([[1.0, 0.0, 0.0]])) / (1.5 * math.log(3))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_a_row_that_the_model_rules_out_is_moved_by_the_entropy_alone():
    logits, labels = torch.tensor([[8.0, -9.0, 2.0]], dtype=torch.float64, requires_grad=True), torch.tensor([1])
    (early,) = torch.autograd.grad(DAL()(logits, labels, 0.0).sum(), logits)
    (late,) = torch.autograd.grad(DAL()(logits, labels, 0.9).sum(), logits)
    assert early.abs().max() == 0.0
    assert late.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q_start": 0.0}, "q_start must be above 0, got 0.0"),
        ({"q_start": float("nan")}, "q_start must be above 0, got nan"),
        ({"q_start": 0.6, "q_end": 0.5}, "q_end must be at least q_start=0.6, got 0.5"),
        ({"q_end": float("inf")}, "q_end must be at least q_start=0.6, got inf"),
        ({"bootstrap": "none"}, "bootstrap must be 'soft' or 'hard', got 'none'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DAL(**arguments)
