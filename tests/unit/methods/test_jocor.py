import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_noisy.methods.jocor import JoCoR, symmetric_kl
from tests.contract.runs import bert, make_model
from tests.unit.methods.pairs import (
    CLASSES,
    ROWS,
    FixedPair,
    LinearPair,
    given_labels,
    make_batch,
    order,
    ready,
    train,
    weights,
)

ALL = torch.arange(ROWS)


def joint_loss(logits: list[torch.Tensor], label: torch.Tensor, weight: float) -> torch.Tensor:
    first, second = (z.softmax(-1) for z in logits)
    divergence = sum(p * (p / q).log() + q * (q / p).log() for p, q in zip(first, second, strict=True))
    return (1 - weight) * (-first[label].log() - second[label].log()) + weight * divergence


def slow_training(model, epochs: int, ramp: int, forget_rate: float, weight: float) -> list[torch.Tensor]:
    labels = given_labels()
    networks = [each.detach().clone().requires_grad_() for each in model.weights]
    last: dict[int, float] = {}
    for epoch in range(epochs):
        share = 1 - forget_rate * min(epoch / ramp, 1)
        for rows in order(epoch).split(6):
            threshold = math.inf
            if share < 1:
                threshold = sorted(last.values())[math.floor(np.float32(share) * np.float32(len(last) - 1))]
            total = torch.zeros((), dtype=torch.float64)
            for row in rows.tolist():
                loss = joint_loss([network @ model.features[row] for network in networks], labels[row], weight)
                total = total + (loss if loss.item() <= threshold else 0.0 * loss)
                last[row] = float(np.float32(loss.item()))
            gradients = torch.autograd.grad(total / (share * len(rows)), networks)
            for network, gradient in zip(networks, gradients, strict=True):
                network.data -= 0.5 * gradient
    return networks


@pytest.mark.parametrize(("forget_rate", "ramp", "weight"), [(0.5, 2, 0.9), (0.3, 1, 0.5)])
def test_training_is_that_of_the_paper_row_by_row(forget_rate, ramp, weight):
    model = LinearPair()
    networks = slow_training(model, 5, ramp, forget_rate, weight)
    train(ready(JoCoR(forget_rate, weight, ramp), model), model, range(5), 5)
    expected = torch.cat([network.detach().flatten() for network in networks])
    torch.testing.assert_close(weights(model), expected, rtol=0, atol=1e-6)


def test_divergence_is_symmetric_and_moves_both_networks():
    logits = torch.randn(ROWS, 2, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(symmetric_kl(logits), symmetric_kl(logits.flip(1)), rtol=0, atol=1e-12)
    assert symmetric_kl(logits).min() > 0
    assert symmetric_kl(logits[:, :1].expand(-1, 2, -1)).abs().max() == 0
    logits.requires_grad_()
    assert torch.autograd.gradcheck(symmetric_kl, (logits,))
    (gradient,) = torch.autograd.grad(symmetric_kl(logits).sum(), logits)
    assert (gradient.abs().sum(-1) > 0).all()


def test_weight_zero_without_forgetting_is_the_sum_of_two_cross_entropies():
    model, labels = LinearPair(), given_labels()
    step = ready(JoCoR(forget_rate=0.0, agreement_weight=0.0), model)(model, make_batch(ALL, labels, 2))
    logits = step.outputs.branch_logits
    expected = sum(F.cross_entropy(logits[:, k], labels, reduction="none") for k in range(2))
    torch.testing.assert_close(step.losses, expected, rtol=0, atol=1e-12)


def test_rows_are_dropped_for_both_networks_at_once():
    labels = given_labels()
    logits = torch.zeros(ROWS, 2, CLASSES)
    logits[ALL[:7], :, labels[:7]] = 5.0
    model = FixedPair(logits.requires_grad_())
    method = ready(JoCoR(forget_rate=0.5, ramp_epochs=1), model)
    method(model, make_batch(ALL, labels, 0))
    method.after_step(model)
    step = method(model, make_batch(ALL, labels, 1))
    (gradient,) = torch.autograd.grad(step.losses.sum(), logits)
    assert ((gradient.abs().sum(-1) > 0).tolist()) == [[True, True]] * 7 + [[False, False]] * 7
    assert step.metrics["kept"].tolist() == [1.0] * 7 + [0.0] * 7


@pytest.mark.parametrize("forget_rate", [0.4, None])
@pytest.mark.parametrize("parts", [2, 6])
def test_accumulation_is_one_batch(parts, forget_rate):
    models = LinearPair(), LinearPair()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(JoCoR(forget_rate, 0.5, 2), model), model, range(4), parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("forget_rate", [0.4, None])
def test_state_goes_on_where_it_was(forget_rate):
    whole, first = LinearPair(), LinearPair()
    train(ready(JoCoR(forget_rate), whole), whole, range(4))
    method = ready(JoCoR(forget_rate), first)
    train(method, first, range(2))
    again = ready(JoCoR(forget_rate), first)
    again.load_state_dict(method.state_dict())
    train(again, first, range(2, 4))
    assert torch.equal(weights(whole), weights(first))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    logits = torch.zeros(ROWS, 2, CLASSES, dtype=dtype)
    logits[:, 0, 0], logits[:, 1, 1] = 1e4, 1e4
    model = FixedPair(logits.requires_grad_())
    method = ready(JoCoR(), model)
    for epoch in range(3):
        step = method(model, make_batch(ALL, given_labels(), epoch))
        (gradient,) = torch.autograd.grad(step.losses.sum(), logits)
        assert step.losses.dtype == torch.float32
        assert step.losses.isfinite().all()
        assert gradient.isfinite().all()
        method.after_step(model)


def test_metrics_are_the_terms_of_the_loss():
    model, labels = LinearPair(), given_labels()
    step = ready(JoCoR(agreement_weight=0.7), model)(model, make_batch(ALL, labels))
    metrics = step.metrics
    assert not any(value.requires_grad for value in metrics.values())
    joint = 0.3 * 2 * metrics["cross_entropy"] + 0.7 * metrics["disagreement"]
    torch.testing.assert_close(joint, step.losses.detach())
    assert metrics["kept"].mean() == 1.0
    assert metrics["forget_rate"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agreement_weight": 1.0}, r"agreement_weight must be in \[0, 1\), got 1.0; the paper uses 0.9 for CIFAR-10"),
        ({"agreement_weight": -0.1}, r"agreement_weight must be in \[0, 1\), got -0.1"),
        ({"forget_rate": -0.2}, r"forget_rate must be in \[0, 1\), got -0.2; pass None to have it estimated"),
        ({"ramp_epochs": 0}, "ramp_epochs must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        JoCoR(**settings)


def test_a_model_without_two_networks_is_refused():
    with pytest.raises(ValueError, match="method JoCoR trains exactly 2 networks, got BertForSequence"):
        JoCoR().setup(bert(), None)
    JoCoR().setup(make_model("branches"), None)
