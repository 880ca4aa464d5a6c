import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from hf_noisy.losses.jensen_shannon import JS, jensen_shannon, jensen_shannon_scale

PAPER = (0.2, 0.6, 0.2)


def random_logits(seed: int, predictions: int = 2, rows: int = 5, classes: int = 4, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(predictions, rows, classes, generator=generator, dtype=torch.float64)


def random_labels(seed: int, rows: int = 5, classes: int = 4) -> Tensor:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.floats(0.1, 20.0), st.sampled_from([PAPER, (0.4, 0.2, 0.4), (0.1, 0.8, 0.1)]))
def test_lies_between_zero_and_the_entropy_of_the_weights(
    seed: int, spread: float, weights: tuple[float, ...]
) -> None:
    losses = jensen_shannon(random_logits(seed, spread=spread), random_labels(seed), weights)
    assert losses.min() > -1e-5
    assert losses.max() < -sum(weight * math.log(weight) for weight in weights) + 1e-5


def test_bounds_are_reached() -> None:
    label = torch.tensor([0])
    agree = torch.tensor([[[60.0, 0.0, 0.0]], [[60.0, 0.0, 0.0]]], dtype=torch.float64)
    apart = torch.tensor([[[0.0, 60.0, 0.0]], [[0.0, 0.0, 60.0]]], dtype=torch.float64)
    assert jensen_shannon(agree, label, PAPER).abs().item() < 1e-9
    entropy = -sum(weight * math.log(weight) for weight in PAPER)
    assert jensen_shannon(apart, label, PAPER).item() == pytest.approx(entropy, abs=1e-9)


def test_is_the_entropy_of_the_mixture_less_that_of_the_parts() -> None:
    logits, labels = random_logits(3), random_labels(3)
    probabilities = logits.softmax(-1)
    mixture = 0.2 * F.one_hot(labels, 4).double() + 0.6 * probabilities[0] + 0.2 * probabilities[1]
    expected = torch.special.entr(mixture).sum(-1)
    for weight, own in zip(PAPER[1:], probabilities, strict=True):
        expected = expected - weight * torch.special.entr(own).sum(-1)
    torch.testing.assert_close(jensen_shannon(logits, labels, PAPER), expected, rtol=0, atol=1e-12)


def test_student_rests_between_label_and_teacher() -> None:
    labels, teacher = random_labels(4), random_logits(4, predictions=1)[0]
    target = (0.3 * F.one_hot(labels, 4).double() + 0.1 * teacher.softmax(-1)) / 0.4
    student = target.log().requires_grad_()
    losses = jensen_shannon(torch.stack([student, teacher]), labels, (0.3, 0.6, 0.1))
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert gradient.abs().max() < 1e-12
    (elsewhere,) = torch.autograd.grad(
        jensen_shannon(torch.stack([teacher.requires_grad_(), teacher.detach()]), labels, (0.3, 0.6, 0.1)).sum(),
        teacher,
    )
    assert elsewhere.abs().max() > 1e-3


@pytest.mark.parametrize("weights", [(0.5, 0.0, 0.5), (1.0, 0.0, 0.0)])
def test_a_student_without_weight_learns_nothing(weights: tuple[float, ...]) -> None:
    student = random_logits(5, predictions=1)[0].requires_grad_()
    losses = jensen_shannon(torch.stack([student, random_logits(6, predictions=1)[0]]), random_labels(5), weights)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert gradient.abs().max() == 0.0


def test_gradient_tends_to_that_of_cross_entropy_for_a_heavy_student() -> None:
    labels, teacher = random_labels(7), random_logits(7, predictions=1)[0]
    student = random_logits(8, predictions=1)[0].requires_grad_()
    share = 1e-6
    losses = jensen_shannon(torch.stack([student, teacher]), labels, (share / 2, 1 - share, share / 2))
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    target = (F.one_hot(labels, 4).double() + teacher.softmax(-1)) / 2
    torch.testing.assert_close(gradient / share, student.softmax(-1) - target, rtol=0, atol=1e-4)


def test_swapping_predictions_with_their_weights_changes_nothing() -> None:
    logits, labels = random_logits(9), random_labels(9)
    torch.testing.assert_close(
        jensen_shannon(logits, labels, (0.2, 0.5, 0.3)), jensen_shannon(logits.flip(0), labels, (0.2, 0.3, 0.5))
    )


def test_shifting_logits_or_renaming_classes_changes_nothing() -> None:
    logits, labels = random_logits(10), random_labels(10)
    losses = jensen_shannon(logits, labels, PAPER)
    torch.testing.assert_close(jensen_shannon(logits + 7.0, labels, PAPER), losses)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(jensen_shannon(logits[..., order], order.argsort()[labels], PAPER), losses)


def test_gradient_flows_into_every_prediction() -> None:
    logits, labels = random_logits(11).requires_grad_(), random_labels(11)
    assert torch.autograd.gradcheck(lambda values: jensen_shannon(values, labels, PAPER), (logits,))


@pytest.mark.parametrize("size", [1e2, 1e4, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(size: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[[0.0, -size, 1.0]], [[-size, 0.0, 1.0]]], dtype=dtype, requires_grad=True)
    for label in range(3):
        losses = jensen_shannon(logits, torch.tensor([label]), PAPER)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.dtype == torch.float32
        assert losses.isfinite().all()
        assert gradient.isfinite().all()


def test_js_is_between_cross_entropy_and_the_mean_absolute_error() -> None:
    logits, labels = random_logits(12, predictions=1, spread=0.5)[0], random_labels(12)
    own = logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    torch.testing.assert_close(JS(1e-6)(logits, labels), -own.log(), rtol=0, atol=1e-4)
    # What is left of the scaled loss beside its limit shrinks as a logarithm.
    near, nearer = (JS(1 - share)(logits, labels) - (1 - own) for share in (1e-2, 1e-5))
    torch.testing.assert_close(nearer, near * math.log(1e-2) / math.log(1e-5), rtol=0.05, atol=0)


def test_scale_divides_by_the_constant() -> None:
    logits, labels = random_logits(13, predictions=1)[0], random_labels(13)
    scaled, plain = JS(0.3)(logits, labels), JS(0.3, scale=False)(logits, labels)
    torch.testing.assert_close(scaled, plain / (-0.7 * math.log(0.7)))
    assert jensen_shannon_scale(0.3) == pytest.approx(-0.7 * math.log(0.7))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.5, 0.5), r"weights must be 3 numbers, the label's first, got 2"),
        ((0.5, 0.6, -0.1), r"weights must be at least 0 and sum to 1"),
        ((0.5, 0.5, 0.5), r"weights must be at least 0 and sum to 1, got \(0.5, 0.5, 0.5\) with sum 1.5"),
        ((math.nan, 0.5, 0.5), r"weights must be at least 0"),
    ],
)
def test_bad_weights_are_refused(weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jensen_shannon(random_logits(0), random_labels(0), weights)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.1, math.nan])
@pytest.mark.parametrize("scale", [True, False])
def test_bad_weight_of_the_label_is_refused(weight: float, scale: bool) -> None:
    with pytest.raises(ValueError, match=r"weight of the label must be in \(0, 1\), got"):
        JS(weight, scale=scale)
