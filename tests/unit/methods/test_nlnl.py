import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_noisy.core.rng import uniforms
from hf_noisy.losses.negative_learning import negative_learning
from hf_noisy.methods.nlnl import NLNL, other_labels
from tests.unit.methods.pairs import CLASSES, ROWS, LinearOne, given_labels, make_batch, train, weights

ALL = torch.arange(ROWS)


def test_negative_learning_is_the_logarithm_of_the_rest():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1], [2, 2], [3, 0], [1, 3], [2, 1]])
    expected = -(1 - logits.softmax(1).gather(1, labels)).log().mean(1)
    torch.testing.assert_close(negative_learning(logits, labels), expected)
    assert torch.autograd.gradcheck(lambda z: negative_learning(z, labels), (logits.requires_grad_(),))
    sure = negative_learning(torch.tensor([[200.0, 0.0]]), torch.tensor([[0]]))
    assert sure.item() == pytest.approx(200.0)  # where p rounds to 1


def test_complementary_labels_are_uniform_over_the_other_classes():
    labels = torch.full((6000,), 2)
    draws = torch.from_numpy(uniforms(0, stream="nlnl", index=np.arange(6000), size=1))
    counts = torch.bincount(other_labels(labels, draws, 4)[:, 0], minlength=4)
    assert counts[2] == 0
    assert (counts[[0, 1, 3]] - 2000).abs().max() < 150


def test_the_three_phases_are_those_of_the_paper():
    model, labels, method = LinearOne(), given_labels(), NLNL(complementary_labels=2, confidence=0.4)
    with torch.no_grad():
        logits = model(ALL).logits
    likelihood = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    assert 0 < (likelihood > 1 / CLASSES).sum() < ROWS
    for epoch in range(6):
        step = method(model, make_batch(ALL, labels, epoch, 6))
        draws = torch.from_numpy(uniforms(0, stream="nlnl", index=ALL.numpy(), size=2, epoch=epoch))
        negative = negative_learning(logits, other_labels(labels, draws, CLASSES))
        expected = [
            negative,
            torch.where(likelihood > 1 / CLASSES, negative, 0.0),
            torch.where(likelihood > 0.4, F.cross_entropy(logits, labels, reduction="none"), 0.0),
        ][epoch // 2]
        torch.testing.assert_close(step.losses, expected)


def test_by_default_there_are_as_many_complementary_labels_as_other_classes():
    model, labels = LinearOne(), given_labels()
    steps = [NLNL(number)(model, make_batch(ALL, labels, 0, 6)) for number in (None, CLASSES - 1, 1)]
    assert torch.equal(steps[0].losses, steps[1].losses)
    assert not torch.equal(steps[0].losses, steps[2].losses)


def test_draws_change_with_the_epoch_and_not_with_the_batch():
    model, labels, method = LinearOne(), given_labels(), NLNL()
    whole = method(model, make_batch(ALL, labels, 0, 30)).losses
    parts = torch.cat([method(model, make_batch(part, labels, 0, 30)).losses for part in ALL.split(4)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, method(model, make_batch(ALL, labels, 1, 30)).losses)


def test_accumulation_is_one_batch():
    models = LinearOne(), LinearOne()
    for model, parts in zip(models, (1, 3), strict=True):
        train(NLNL(), model, range(6), 6, parts=parts)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=0, atol=1e-12)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="complementary_labels must be an integer of at least 1, got 0"):
        NLNL(complementary_labels=0)
    with pytest.raises(ValueError, match=r"confidence must be in \[0, 1\), got 1.0"):
        NLNL(confidence=1.0)
