import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_noisy.core.rng import uniforms
from hf_noisy.methods.nct import NCT, mimicry, varied_labels
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


def random_logits(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(ROWS, 2, CLASSES, generator=generator, dtype=torch.float64)


def step(logits: torch.Tensor, epoch: int = 3, num_epochs: int = 4, **settings):
    model = FixedPair(logits)
    return ready(NCT(**settings), model)(model, make_batch(ALL, given_labels(), epoch, num_epochs))


def test_training_is_that_of_two_networks_with_an_optimizer_each():
    # The paper's loop: the first network is stepped before the second one's gradient is taken.
    num_epochs, settings = 7, {"r_max": 0.6, "temperature": 3.0}
    model, labels = LinearPair(), given_labels()
    networks = [weight.detach().clone().requires_grad_() for weight in model.weights]
    optimizers = [torch.optim.SGD([network], lr=0.5) for network in networks]
    changed = 0
    for epoch in range(num_epochs):
        alpha = 0.9 * math.exp(-0.65 * (1 - min(epoch, 0.9 * num_epochs) / (0.9 * num_epochs)) ** 2)
        rate = 0.6 * math.log(epoch - 1) / math.log(num_epochs - 1) if epoch > 1 else 0.0
        for rows in order(epoch).split(6):
            logits = [model.features[rows] @ network.T for network in networks]
            teachers = [F.softmax(z.detach() / 3.0, -1) for z in logits]
            for own, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
                targets = labels[rows].clone()
                for position, row in enumerate(rows.tolist()):
                    draws = uniforms(0, stream="nct/target", index=np.array([row]), size=4, epoch=epoch)[0]
                    if draws[2 * own] < rate:
                        targets[position] = (labels[row] + int(draws[2 * own + 1] * CLASSES)) % CLASSES
                        changed += 1
                student = F.log_softmax(logits[own] / 3.0, -1)
                copied = F.kl_div(student, teachers[1 - own], reduction="batchmean") * 9.0
                loss = (1 - alpha) * F.cross_entropy(logits[own], targets) + alpha * copied
                (network.grad,) = torch.autograd.grad(loss, network)
                optimizer.step()
    assert changed > 20
    train(ready(NCT(**settings), model), model, range(num_epochs), num_epochs)
    torch.testing.assert_close(weights(model), torch.cat([n.detach().flatten() for n in networks]), rtol=0, atol=1e-12)


def test_loss_of_a_row_is_the_sum_over_the_networks():
    logits, labels = random_logits(), given_labels()
    result = step(logits, alpha_max=0.0, r_max=0.0)
    expected = F.cross_entropy(logits[:, 0], labels, reduction="none")
    expected += F.cross_entropy(logits[:, 1], labels, reduction="none")
    torch.testing.assert_close(result.losses, expected, rtol=0, atol=1e-12)


def test_only_mimicry_is_left_at_weight_one_and_it_is_zero_for_equal_networks():
    logits = random_logits()
    result = step(logits, alpha_max=1.0, ramp_ratio=0.0, r_max=0.0)
    torch.testing.assert_close(result.losses, mimicry(logits, 4.0).sum(1), rtol=0, atol=1e-12)
    equal = logits[:, :1].expand(-1, 2, -1)
    assert mimicry(equal, 4.0).abs().max() < 1e-12


def test_mimicry_at_high_temperature_is_the_squared_distance_of_centred_logits():
    # tau^2 KL tends to |z1 - z2|^2 / (2 C), with the mean of each row taken off.
    logits = random_logits()
    centred = logits - logits.mean(-1, keepdim=True)
    limit = (centred[:, 0] - centred[:, 1]).square().sum(-1) / (2 * CLASSES)
    for network in mimicry(logits, 1e4).unbind(1):
        torch.testing.assert_close(network, limit, rtol=1e-3, atol=1e-6)


def test_gradient_is_that_of_the_formula_and_teachers_get_none():
    logits = random_logits().requires_grad_()
    teacher = logits.detach().flip(1)

    def with_fixed_teacher(z):
        return (4.0**2 * F.kl_div((z / 4).log_softmax(-1), (teacher / 4).softmax(-1), reduction="none")).sum((-1, -2))

    assert torch.autograd.gradcheck(with_fixed_teacher, (logits,))
    (expected,) = torch.autograd.grad(with_fixed_teacher(logits).sum(), logits)
    (actual,) = torch.autograd.grad(mimicry(logits, 4.0).sum(), logits)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    closed = 4.0 * ((logits / 4).softmax(-1) - (teacher / 4).softmax(-1))
    torch.testing.assert_close(actual, closed, rtol=0, atol=1e-12)


def test_schedules_by_hand():
    method = NCT(r_max=0.5)
    assert method.alpha(0, 200) == pytest.approx(0.9 * math.exp(-0.65))
    assert method.alpha(180, 200) == method.alpha(199, 200) == 0.9
    assert [method.rate(epoch, 200) for epoch in (0, 1, 2)] == [0.0, 0.0, 0.0]
    assert method.rate(199, 200) == pytest.approx(0.5 * math.log(198) / math.log(199))
    assert method.rate(200, 200) == 0.5
    assert NCT(ramp_ratio=0.0).alpha(0, 10) == 0.9
    assert NCT(steepness=0.0).alpha(0, 10) == 0.9
    assert NCT(warmup_epochs=0).rate(1, 3) == 0.0


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 4])
@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_a_few_epochs_have_schedules_too(num_epochs, warmup):
    method = NCT(warmup_epochs=warmup, r_min=0.1)
    for epoch in range(num_epochs + 1):
        assert 0.0 < method.alpha(epoch, num_epochs) <= 0.9
        assert 0.1 <= method.rate(epoch, num_epochs) <= 0.3


def draws(seed: int, rows: int, networks: int = 2) -> torch.Tensor:
    return torch.rand(rows, networks, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_labels_vary_at_the_rate_and_among_all_classes():
    labels = torch.full((40_000,), 2)
    varied = varied_labels(labels, draws(0, 40_000), 0.4, 5)
    assert ((varied != 2).double().mean(0) - 0.4 * 4 / 5).abs().max() < 0.01
    assert (torch.bincount(varied[:, 0], minlength=5)[[0, 1, 3, 4]] / 40_000 - 0.08).abs().max() < 0.01
    # The networks vary on their own.
    both = (varied != 2).all(1).double().mean()
    assert both == pytest.approx(0.32**2, abs=0.01)


def test_other_classes_only_where_the_label_may_not_be_drawn_again():
    labels = torch.full((40_000,), 2)
    varied = varied_labels(labels, draws(1, 40_000), 0.4, 5, redraw_self=False)
    assert ((varied != 2).double().mean(0) - 0.4).abs().max() < 0.01
    assert (varied_labels(labels, draws(2, 40_000), 1.0, 5, redraw_self=False) != 2).all()
    assert set(varied_labels(labels, draws(3, 40_000), 1.0, 3, redraw_self=False).flatten().tolist()) == {0, 1}


def test_rate_zero_keeps_all_labels():
    labels = given_labels()
    assert torch.equal(varied_labels(labels, draws(4, ROWS), 0.0, CLASSES), labels[:, None].expand(-1, 2))


def test_draws_belong_to_the_row_the_epoch_and_the_seed():
    logits, labels = random_logits(), given_labels()
    model = FixedPair(logits)
    method = ready(NCT(r_max=0.9, alpha_max=0.0), model)

    def losses(rows, epoch=3, seed=0):
        found = method(model, make_batch(rows, labels, epoch, 4, seed)).losses
        return dict(zip(rows.tolist(), found.tolist(), strict=True))

    whole = losses(ALL)
    torch.manual_seed(5)
    parts = losses(torch.tensor([9, 2, 5])) | losses(torch.tensor([2])) | losses(ALL.flip(0)[:4])
    assert parts == {row: whole[row] for row in parts}
    assert losses(ALL, seed=1) != whole
    assert losses(ALL, epoch=4) != whole


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulation_is_one_batch(parts):
    models = LinearPair(), LinearPair()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(NCT(r_max=0.6), model), model, range(5), 5, parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    logits = torch.tensor([1e4, 0.0, -1e4, 3.0]).to(dtype).expand(ROWS, 2, 4).clone()
    logits[:, 1] = logits[:, 1].flip(-1)
    logits.requires_grad_()
    result = step(logits)
    (gradient,) = torch.autograd.grad(result.losses.sum(), logits)
    assert result.losses.dtype == torch.float32
    assert result.losses.isfinite().all()
    assert gradient.isfinite().all()


def test_metrics_are_the_two_terms_and_the_schedules():
    logits = random_logits().requires_grad_()
    result = step(logits, epoch=3, num_epochs=4, r_max=0.5)
    metrics = result.metrics
    assert not any(value.requires_grad for value in metrics.values())
    method = NCT(r_max=0.5)
    assert float(metrics["alpha"]) == pytest.approx(method.alpha(3, 4))
    assert float(metrics["variability"]) == pytest.approx(method.rate(3, 4))
    assert method.rate(3, 4) > 0.3
    alpha = metrics["alpha"]
    both = 2 * ((1 - alpha) * metrics["cross_entropy"] + alpha * metrics["mimicry"])
    torch.testing.assert_close(both, result.losses.detach())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0; the paper uses 4"),
        ({"temperature": float("inf")}, "temperature must be above 0, got inf"),
        ({"alpha_max": 1.1}, r"alpha_max must be in \[0, 1\], got 1.1; 0.9 is the usual choice"),
        ({"steepness": -0.65}, "steepness must be at least 0, got -0.65; the paper uses 0.65"),
        ({"ramp_ratio": float("nan")}, r"ramp_ratio must be in \[0, 1\], got nan"),
        ({"r_max": -0.1}, r"r_max must be in \[0, 1\], got -0.1; 0.3 is the usual choice"),
        ({"r_min": 0.4}, r"r_min must be in \[0, r_max = 0.3\], got 0.4"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number of epochs, got -1; the paper uses 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NCT(**settings)


def test_a_model_without_two_networks_is_refused():
    with pytest.raises(
        ValueError, match="method NCT trains exactly 2 networks, got BertForSequenceClassification with 1"
    ):
        NCT().setup(bert(), None)
    NCT().setup(make_model("lora"), None)
