import math

import pytest
import torch
from torch.nn import functional as F

from hf_noisy.methods.co_teaching import CoTeaching
from hf_noisy.methods.co_teaching_plus import CoTeachingPlus
from tests.unit.methods.pairs import (
    CLASSES,
    ROWS,
    FixedPair,
    LinearPair,
    given_labels,
    make_batch,
    ready,
    train,
    weights,
)

ALL, LABELS = torch.arange(ROWS), given_labels()


def test_the_first_epochs_are_those_of_co_teaching():
    models = LinearPair(), LinearPair()
    plus, plain = CoTeachingPlus(0.4, 1, warmup_epochs=3), CoTeaching(0.4, 1)
    for model, method in zip(models, (plus, plain), strict=True):
        train(ready(method, model), model, range(3))
    assert torch.equal(weights(models[0]), weights(models[1]))
    for model, method in zip(models, (plus, plain), strict=True):
        train(method, model, range(3, 4))
    assert not torch.equal(weights(models[0]), weights(models[1]))


def test_afterwards_only_rows_of_disagreement_are_learned():
    # Both networks predict class 0 for rows 0 to 6; for the others they differ, and the first one is surer each time.
    logits = torch.zeros(ROWS, 2, CLASSES)
    logits[:7, :, 0] = 3.0
    logits[7:, 0, 1] = torch.linspace(1.0, 2.0, 7)
    logits[7:, 1, 2] = torch.linspace(2.0, 1.0, 7)
    model, labels = FixedPair(logits.requires_grad_()), torch.full((ROWS,), 1)
    method = ready(CoTeachingPlus(forget_rate=0.5, ramp_epochs=1, warmup_epochs=1), model)
    for epoch in (0, 1):
        method(model, make_batch(ALL, labels, epoch))
        method.after_step(model)
    step = method(model, make_batch(ALL, labels, 2))
    losses = F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(2), reduction="none").view(ROWS, 2)
    kept = torch.zeros(ROWS, 2)
    for network in (0, 1):  # the half of the seven rows whose loss the other network finds small
        own, other = losses[7:, network], losses[7:, 1 - network]
        kept[7:, network] = (other <= other.sort().values[3]).float()
        assert own.shape == (7,)
    expected = (kept * losses).sum(1) / 0.5 / (7 / ROWS)
    torch.testing.assert_close(step.losses, expected)
    assert step.metrics["disagreement"].mean().item() == pytest.approx(0.5)


def test_networks_that_always_agree_learn_nothing_more():
    model = FixedPair(torch.zeros(ROWS, 2, CLASSES, requires_grad=True))
    method = ready(CoTeachingPlus(0.2, 1, warmup_epochs=0), model)
    for epoch in (0, 1):
        step = method(model, make_batch(ALL, LABELS, epoch))
        method.after_step(model)
        assert not step.losses.any()


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulation_is_one_batch(parts):
    models = LinearPair(), LinearPair()
    for model, count in zip(models, (1, parts), strict=True):
        train(ready(CoTeachingPlus(0.4, 2, 1), model), model, range(4), parts=count)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


def test_state_goes_on_where_it_was():
    whole, first = LinearPair(), LinearPair()
    train(ready(CoTeachingPlus(0.4, 2, 1), whole), whole, range(4))
    method = ready(CoTeachingPlus(0.4, 2, 1), first)
    train(method, first, range(2))
    again = ready(CoTeachingPlus(0.4, 2, 1), first)
    again.load_state_dict(method.state_dict())
    train(again, first, range(2, 4))
    assert torch.equal(weights(whole), weights(first))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="warmup_epochs must be a whole number of epochs, got -1"):
        CoTeachingPlus(warmup_epochs=-1)
    assert math.isclose(CoTeachingPlus(0.2).selection.forget_rate, 0.2)
