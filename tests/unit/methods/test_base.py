import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.losses import CrossEntropy
from hf_noisy.losses.base import Loss, at_least_float32
from hf_noisy.methods import METHODS, Batch, CoRegularization, LossMethod, Method, as_method
from hf_noisy.methods.base import class_logits

LABELS = torch.tensor([0, 2])


class Fixed(nn.Module):
    """Gives the logits that it was told."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, **inputs: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.logits)


def batch(progress: float = 0.5) -> Batch:
    return Batch({}, LABELS, torch.arange(2), progress, 0)


def test_every_name_makes_a_method():
    assert sorted(METHODS) == list(METHODS)
    assert all(isinstance(as_method(name), Method) for name in METHODS)


def test_a_method_is_kept_and_a_loss_is_lifted():
    method, loss = CoRegularization(), CrossEntropy(0.1)
    assert as_method(method) is method
    lifted = as_method(loss)
    assert isinstance(lifted, LossMethod)
    assert lifted.loss is loss


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="method 'dyngen' is not known; choose one of coregularization, cross_entropy"
    ):
        as_method("dyngen")


@pytest.mark.parametrize("value", [None, 3, nn.Linear(2, 2), nn.CrossEntropyLoss()])
def test_other_things_are_refused(value):
    with pytest.raises(TypeError, match="method"):
        as_method(value)


def test_lifted_loss_gets_logits_labels_and_progress():
    class Progress(Loss):
        citation = "A paper."

        def forward(self, logits: torch.Tensor, labels: torch.Tensor, progress: float = 0.0) -> torch.Tensor:
            return logits[torch.arange(len(labels)), labels] + progress

    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    method = as_method(Progress())
    step = method(Fixed(logits), batch(0.25))
    assert step.losses.tolist() == [1.25, 6.25]
    assert step.outputs.logits is logits
    assert step.metrics == {}
    assert method.citation == "A paper."


@pytest.mark.parametrize("form", [lambda x: SequenceClassifierOutput(logits=x), lambda x: {"logits": x}])
def test_logits_are_found_in_outputs_and_dictionaries(form):
    logits = torch.zeros(2, 3)
    assert class_logits(form(logits), LABELS) is logits


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (SequenceClassifierOutput(logits=torch.zeros(2, 5, 3)), r"logits of shape \(2, 5, 3\)"),
        (SequenceClassifierOutput(logits=torch.zeros(4, 3)), r"logits of shape \(4, 3\)"),
        (SequenceClassifierOutput(hidden_states=()), "no logits"),
        (torch.zeros(2, 3), "no logits"),
    ],
)
def test_outputs_without_class_logits_are_refused(outputs, found):
    with pytest.raises(ValueError, match=rf"model must return logits .*{found} for a batch of 2"):
        class_logits(outputs, LABELS)


def test_half_precision_becomes_single_and_double_stays():
    wide = [
        at_least_float32(torch.zeros(1, dtype=kind)).dtype for kind in (torch.bfloat16, torch.float16, torch.float64)
    ]
    assert wide == [torch.float32, torch.float32, torch.float64]
