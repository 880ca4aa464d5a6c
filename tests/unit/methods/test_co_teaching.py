import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_noisy.methods.co_teaching import CoTeaching
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


def single(value: float) -> float:
    """As the table keeps it."""
    return float(np.float32(value))


def quantile(losses: list[float], share: float) -> float:
    found = sorted(losses)
    return found[math.floor(np.float32(share) * np.float32(len(found) - 1))]


def slow_training(model, epochs: int, ramp: int, forget_rate: float | None) -> tuple[list[torch.Tensor], set[float]]:
    """Two networks with an optimiser each, rows one by one; the weights, and the rates that were used."""
    labels = given_labels()
    networks = [weight.detach().clone().requires_grad_() for weight in model.weights]
    last = [{}, {}]
    rate, rates = forget_rate or 0.0, set()
    for epoch in range(epochs):
        if forget_rate is None and 0 < epoch <= ramp:
            means = [(last[0][row] + last[1][row]) / 2 for row in range(ROWS)]
            rate = min(sum(mean > math.log(CLASSES) for mean in means) / ROWS, 1 - 1 / CLASSES)
        share = 1 - rate * min(epoch / ramp, 1)
        for rows in order(epoch).split(6):
            thresholds = [quantile(list(of.values()), share) if share < 1 else math.inf for of in last]
            totals = [0.0, 0.0]
            for row in rows.tolist():
                losses = [F.cross_entropy(network @ model.features[row], labels[row]) for network in networks]
                for own, peer in ((0, 1), (1, 0)):
                    if losses[peer].item() <= thresholds[peer]:
                        totals[own] = totals[own] + losses[own]
                    last[own][row] = single(losses[own].item())
            for network, total in zip(networks, totals, strict=True):
                if torch.is_tensor(total):
                    (gradient,) = torch.autograd.grad(total / (share * len(rows)), network)
                    network.data -= 0.5 * gradient
        rates.add(round(share, 4))
    return networks, rates


@pytest.mark.parametrize(("forget_rate", "ramp"), [(0.5, 2), (0.3, 1), (None, 2)])
def test_training_is_that_of_two_networks_row_by_row(forget_rate, ramp):
    model = LinearPair()
    networks, rates = slow_training(model, 5, ramp, forget_rate)
    assert len(rates) >= 2
    train(ready(CoTeaching(forget_rate, ramp), model), model, range(5), 5)
    expected = torch.cat([network.detach().flatten() for network in networks])
    torch.testing.assert_close(weights(model), expected, rtol=0, atol=1e-6)


def test_rate_zero_is_the_sum_of_two_cross_entropies():
    model, labels = LinearPair(), given_labels()
    method = ready(CoTeaching(forget_rate=0.0), model)
    for epoch in range(3):
        step = method(model, make_batch(ALL, labels, epoch))
        logits = step.outputs.branch_logits
        expected = sum(F.cross_entropy(logits[:, k], labels, reduction="none") for k in range(2))
        torch.testing.assert_close(step.losses, expected, rtol=0, atol=1e-12)
        assert step.metrics["kept"].mean() == 1.0
        method.after_step(model)


def test_each_network_learns_from_the_rows_of_the_other():
    # The first network is sure of the labels of rows 0 to 6, the second of those of rows 7 to 13.
    labels = given_labels()
    logits = torch.zeros(ROWS, 2, CLASSES)
    logits[ALL[:7], 0, labels[:7]] = 5.0
    logits[ALL[7:], 1, labels[7:]] = 5.0
    model = FixedPair(logits.requires_grad_())
    method = ready(CoTeaching(forget_rate=0.5, ramp_epochs=1), model)
    method(model, make_batch(ALL, labels, 0))
    method.after_step(model)
    step = method(model, make_batch(ALL, labels, 1))
    (gradient,) = torch.autograd.grad(step.losses.sum(), logits)
    moved = gradient.abs().sum(-1) > 0
    assert moved[:, 0].tolist() == [False] * 7 + [True] * 7
    assert moved[:, 1].tolist() == [True] * 7 + [False] * 7
    # Twice the loss for half of the rows, so that the mean is that of the rows that are kept.
    assert step.losses.mean().item() == pytest.approx(2 * math.log(CLASSES), rel=1e-6)
    assert step.metrics["kept"].mean().item() == 0.5


@pytest.mark.parametrize("forget_rate", [0.4, None])
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulation_is_one_batch(parts, forget_rate):
    models = LinearPair(), LinearPair()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(CoTeaching(forget_rate, 2), model), model, range(4), parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("forget_rate", [0.4, None])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_state_goes_on_where_it_was(stop, forget_rate):
    whole, first = LinearPair(), LinearPair()
    train(ready(CoTeaching(forget_rate, 2), whole), whole, range(4))
    method = ready(CoTeaching(forget_rate, 2), first)
    train(method, first, range(stop))
    again = ready(CoTeaching(forget_rate, 2), first)
    again.load_state_dict(method.state_dict())
    train(again, first, range(stop, 4))
    assert torch.equal(weights(whole), weights(first))


def test_gradient_is_that_of_the_kept_rows():
    labels = given_labels()
    generator = torch.Generator().manual_seed(0)
    before, logits = torch.randn(2, ROWS, 2, CLASSES, dtype=torch.float64, generator=generator)
    method = ready(CoTeaching(forget_rate=0.4, ramp_epochs=1), FixedPair(before))

    def losses(z):
        method(FixedPair(before), make_batch(ALL, labels, 0))  # puts the table back
        method.after_step(FixedPair(z))
        found = method(FixedPair(z), make_batch(ALL, labels, 1)).losses
        method.after_step(FixedPair(z))
        return found

    assert 0 < (losses(logits) == 0).sum() < ROWS
    assert torch.autograd.gradcheck(losses, (logits.clone().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(dtype):
    logits = torch.zeros(ROWS, 2, CLASSES, dtype=dtype)
    logits[..., 0], logits[..., 1] = 1e4, -1e4
    model = FixedPair(logits.requires_grad_())
    method = ready(CoTeaching(), model)
    for epoch in range(3):
        step = method(model, make_batch(ALL, given_labels(), epoch))
        (gradient,) = torch.autograd.grad(step.losses.sum(), logits)
        assert step.losses.dtype == torch.float32
        assert step.losses.isfinite().all()
        assert gradient.isfinite().all()
        method.after_step(model)


def noisy_rows(rate: float, rows: int = 2000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Overlapping Gaussian classes: features, true labels and labels of which `rate` are wrong."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, CLASSES, (rows,), generator=generator)
    centres = 3.0 * torch.eye(CLASSES, 10)
    features = centres[true] + torch.randn(rows, 10, generator=generator)
    wrong = torch.rand(rows, generator=generator) < rate
    shift = torch.randint(1, CLASSES, (rows,), generator=generator)
    return features, true, torch.where(wrong, (true + shift) % CLASSES, true)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_rate_is_roughly_found_and_wrong_labels_are_left_out(rate):
    features, true, labels = noisy_rows(rate)
    model = LinearPair()
    model.features = features.double()
    model.weights = torch.nn.ParameterList(torch.zeros(CLASSES, 10, dtype=torch.float64) for _ in range(2))
    for weight in model.weights:
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))
    method = ready(CoTeaching(), model, len(labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = torch.zeros(len(labels))
    for epoch in range(4):
        for rows in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(32):
            step = method(model, make_batch(rows, labels, epoch, 4))
            optimizer.zero_grad()
            step.losses.mean().backward()
            optimizer.step()
            method.after_step(model)
            kept[rows] = step.metrics["kept"]
    found = float(step.metrics["forget_rate"])
    assert found == pytest.approx(rate, abs=0.08)
    assert kept.mean().item() == pytest.approx(1 - found, abs=0.08)
    if rate:
        assert kept[labels != true].mean() < 0.2
        assert kept[labels == true].mean() > 0.85


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"forget_rate must be in \[0, 1\), got 1.0"):
        CoTeaching(forget_rate=1.0)
    with pytest.raises(ValueError, match="ramp_epochs must be an integer of at least 1, got 0"):
        CoTeaching(ramp_epochs=0)


def test_a_model_without_two_networks_is_refused():
    with pytest.raises(ValueError, match="method CoTeaching trains exactly 2 networks, got BertForSequence"):
        CoTeaching().setup(bert(), None)
    CoTeaching().setup(make_model("lora"), None)
