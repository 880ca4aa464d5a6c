import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.losses.cross_entropy import CrossEntropy, LabelSmoothing


def by_hand(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    losses = []
    for row, label in zip(logits.double(), labels, strict=True):
        probabilities = row.exp() / row.exp().sum()
        target = torch.full_like(probabilities, smoothing / len(row))
        target[label] += 1 - smoothing
        losses.append(-(target * probabilities.log()).sum())
    return torch.stack(losses)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.0, 0.9), st.integers(0, 1000))
def test_loss_of_each_row_is_the_formula(rows, classes, smoothing, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (rows,), generator=generator)
    torch.testing.assert_close(CrossEntropy(smoothing)(logits, labels), by_hand(logits, labels, smoothing))


def test_extreme_logits_stay_finite():
    losses = CrossEntropy()(torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), torch.tensor([0, 0]))
    torch.testing.assert_close(losses, torch.tensor([0.0, 2e4]))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\)"):
        CrossEntropy(smoothing)


def make_rows(rows: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, classes, generator=generator), torch.randint(0, classes, (rows,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_soft_labels_of_one_class_are_the_labels(smoothing):
    logits, labels = make_rows()
    one_hot = torch.nn.functional.one_hot(labels, 3).float()
    loss = CrossEntropy(smoothing)
    torch.testing.assert_close(loss(logits, one_hot), loss(logits, labels))


@pytest.mark.parametrize("logits_type", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("labels_type", [torch.float16, torch.float32, torch.float64])
def test_soft_labels_of_any_type_weigh_the_classes(logits_type, labels_type):
    logits, _ = make_rows(rows=2)
    target = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.125, 0.875]], dtype=labels_type)
    logits = logits.to(logits_type)
    expected = -(target.double() * logits.double().log_softmax(-1)).sum(-1)
    losses = CrossEntropy()(logits, target)
    assert losses.shape == (2,)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=1e-6)


def test_label_smoothing_is_cross_entropy_to_a_smoothed_target():
    logits, labels = make_rows()
    assert torch.equal(LabelSmoothing()(logits, labels), CrossEntropy(0.1)(logits, labels))
    assert not torch.allclose(LabelSmoothing()(logits, labels), CrossEntropy()(logits, labels))


def test_only_cross_entropy_itself_says_that_it_takes_soft_labels():
    assert CrossEntropy.soft_labels
    assert not LabelSmoothing.soft_labels


def test_smoothing_of_label_smoothing_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"^smoothing must be in \[0, 1\), got 1.5; 0.1 is the usual choice"):
        LabelSmoothing(1.5)
