import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_noisy.losses.jensen_shannon import JS, jensen_shannon
from hf_noisy.methods.gjs import GJS
from hf_noisy.methods.method import Batch
from tests.contract.runs import distance, make_model, make_rows, run

FIRST = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]], dtype=torch.float64)
SECOND = torch.tensor([[0.5, 1.5, 0.0], [0.2, 0.1, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


class Counting(nn.Module):
    """Its logits are its input; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, values: Tensor) -> SimpleNamespace:
        self.calls += 1
        return SimpleNamespace(logits=values)


def step(first: Any = FIRST, second: Any = SECOND, model: nn.Module | None = None, **settings: Any):
    view = None if second is None else {"values": second}
    batch = Batch({"values": first}, LABELS, torch.arange(2), 0.0, 0, second_view=view)
    return GJS(**settings)(model or Counting(), batch)


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.9])
def test_loss_is_the_divergence_of_label_and_both_views(weight):
    expected = jensen_shannon(torch.stack([FIRST, SECOND]), LABELS, (weight, (1 - weight) / 2, (1 - weight) / 2))
    torch.testing.assert_close(step(label_weight=weight, scale=False).losses, expected)
    torch.testing.assert_close(step(label_weight=weight).losses, expected / (-(1 - weight) * math.log(1 - weight)))


def test_two_equal_views_are_one():
    torch.testing.assert_close(step(second=FIRST).losses, JS(0.3)(FIRST, LABELS))


def test_loss_is_js_of_the_mean_prediction_and_what_the_views_disagree():
    mean = (FIRST.softmax(-1) + SECOND.softmax(-1)) / 2
    disagreement = sum((p * (p / mean).log()).sum(-1) / 2 for p in (FIRST.softmax(-1), SECOND.softmax(-1)))
    expected = JS(0.3)(mean.log(), LABELS) + 0.7 * disagreement / (-0.7 * math.log(0.7))
    torch.testing.assert_close(step().losses, expected)


def test_both_views_take_one_pass_and_a_gradient_each():
    model, views = Counting(), [FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()]
    result = step(*views, model=model)
    assert model.calls == 1
    gradients = torch.autograd.grad(result.losses.sum(), views)
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_outputs_and_metrics_are_of_the_rows():
    result = step()
    assert torch.equal(result.outputs.logits, FIRST)
    assert result.metrics["views_agree"].tolist() == [0.0, 0.0]
    assert step(second=FIRST).metrics["views_agree"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (FIRST, None, "the batch has no second view"),
        (FIRST, SECOND[:, :2], r"needs values of both views as tensors of one shape, got \(2, 3\) and \(2, 2\)"),
        (FIRST, [1, 2], r"needs values of both views as tensors of one shape, got \(2, 3\) and list"),
    ],
)
def test_batches_that_cannot_lie_side_by_side_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        step(first, second)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_bad_weight_is_refused(weight):
    with pytest.raises(ValueError, match=r"weight of the label must be in \(0, 1\), got"):
        GJS(label_weight=weight)


@pytest.mark.parametrize("model", ["plain", "vit", "lora"])
def test_accumulated_batches_are_one_batch(model, tmp_path):
    whole = run(tmp_path, GJS(), model)
    parts = run(tmp_path, GJS(), model, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert distance(whole, parts) < 1e-6
    assert distance(whole, make_model(model)) > 1e-3


def test_rows_may_bring_their_second_view(tmp_path):
    rows = make_rows("vit")
    pixels = rows["pixel_values"][:]
    same, other = (
        rows.add_column("second_view_pixel_values", view.numpy().tolist()).with_format("torch")
        for view in (pixels, -pixels)
    )
    same_run, other_run = (run(tmp_path, GJS(), "vit", rows=data) for data in (same, other))
    plain = run(tmp_path, JS(0.3), "vit", rows=rows)
    assert distance(same_run, plain) < 1e-6
    assert distance(other_run, plain) > 1e-4
