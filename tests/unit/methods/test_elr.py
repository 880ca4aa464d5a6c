import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from hf_noisy.methods.elr import ELR
from tests.contract.runs import make_model
from tests.unit.methods.pairs import (
    CLASSES,
    ROWS,
    LinearPair,
    given_labels,
    make_batch,
    order,
    ready,
    train,
    weights,
)


class Linear(LinearPair):
    """One network, whose classes can be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([self.weights[0]])
        self.config = type("Config", (), {"num_labels": CLASSES})()


def test_training_is_that_of_the_paper_row_by_row():
    model, labels = Linear(), given_labels()
    weight = model.weights[0].detach().clone().requires_grad_()
    targets = [torch.zeros(CLASSES) for _ in range(ROWS)]
    for epoch in range(4):
        for rows in order(epoch).split(6):
            total = torch.zeros((), dtype=torch.float64)
            for row in rows.tolist():
                logits = weight @ model.features[row]
                p = logits.softmax(-1).clamp(1e-4, 1 - 1e-4)
                target = 0.6 * targets[row] + 0.4 * p.detach() / p.detach().sum()
                targets[row] = target.float()
                total = total + F.cross_entropy(logits, labels[row]) + 2.0 * (1 - target @ p).log()
            (gradient,) = torch.autograd.grad(total / len(rows), weight)
            weight.data -= 0.5 * gradient
    method = ready(ELR(beta=0.6, regularization_weight=2.0), model)
    train(method, model, range(4))
    torch.testing.assert_close(weights(model), weight.detach().flatten(), rtol=0, atol=1e-12)
    torch.testing.assert_close(method.targets.values, torch.stack(targets), rtol=0, atol=1e-7)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulation_is_one_batch(parts):
    models = Linear(), Linear()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(ELR(), model), model, range(3), parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


def test_state_goes_on_where_it_was():
    whole, first = Linear(), Linear()
    train(ready(ELR(), whole), whole, range(4))
    method = ready(ELR(), first)
    train(method, first, range(2))
    again = ready(ELR(), first)
    assert list(again.state_dict()) == ["targets.values"]
    again.load_state_dict(method.state_dict())
    train(again, first, range(2, 4))
    assert torch.equal(weights(whole), weights(first))


def test_setup_begins_anew():
    model = Linear()
    method = ready(ELR(), model)
    train(method, model, range(1))
    assert method.targets.values.any()
    assert not ready(method, model).targets.values.any()


def test_metrics_are_the_two_terms():
    model, labels = Linear(), given_labels()
    step = ready(ELR(), model)(model, make_batch(torch.arange(ROWS), labels))
    assert not any(value.requires_grad for value in step.metrics.values())
    torch.testing.assert_close(step.metrics["cross_entropy"] + step.metrics["regularization"], step.losses.detach())
    assert step.metrics["regularization"].max() < 0


@pytest.mark.parametrize("kind", ["plain", "branches"])
def test_model_of_transformers_has_a_target_for_each_class(kind):
    model = make_model(kind)
    method = ELR()
    method.setup(model, None)
    assert not method.state_dict()
    method.setup(model, Accelerator(cpu=True), 7)
    assert method.targets.values.shape == (7, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 1.0}, r"beta must be in \[0, 1\), got 1.0; the paper uses 0.7"),
        ({"beta": -0.1}, r"beta must be in \[0, 1\), got -0.1"),
        ({"regularization_weight": -1.0}, "regularization_weight must be at least 0, got -1.0; the paper uses 3"),
        ({"regularization_weight": float("nan")}, "regularization_weight must be at least 0, got nan"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ELR(**settings)
