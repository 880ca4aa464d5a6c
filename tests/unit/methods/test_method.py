import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.losses import CrossEntropy
from hf_noisy.losses.loss import Loss, at_least_float32
from hf_noisy.methods import METHODS, Batch, CoRegularization, LossMethod, Method, as_method, list_methods, make_method

LABELS = torch.tensor([0, 2])


class Fixed(nn.Module):
    """Gives the logits that it was told."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, **inputs: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.logits)


def batch(progress: float = 0.5) -> Batch:
    return Batch({}, LABELS, torch.arange(2), progress, epoch=1, num_epochs=4)


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
        ValueError, match=r"method 'dyngen' is not known \(did you mean 'dygen'\?\); choose one of annotator_layers"
    ):
        as_method("dyngen")


def test_arguments_of_a_named_method_are_checked():
    assert make_method("nrd", weights=(0.1, 0.8, 0.1)).weights == (0.1, 0.8, 0.1)
    with pytest.raises(ValueError, match="method 'gce' has no argument p; it takes q"):
        make_method("gce", p=0.7)
    with pytest.raises(ValueError, match="q must be"):
        make_method("gce", q=0.0)
    with pytest.raises(ValueError, match="method 'gce' cannot be made with q='x'"):
        make_method("gce", q="x")


def test_every_method_but_the_baseline_is_cited():
    assert sorted(name for name, citation in list_methods().items() if not citation) == ["cross_entropy"]


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
    step = method(Fixed(logits), batch(0.4))
    assert step.losses.tolist() == [1.25, 6.25]  # the second of four epochs, whatever step of it
    assert step.outputs.logits is logits
    assert step.metrics == {}
    assert method.citation == "A paper."


def test_half_precision_becomes_single_and_double_stays():
    wide = [
        at_least_float32(torch.zeros(1, dtype=kind)).dtype for kind in (torch.bfloat16, torch.float16, torch.float64)
    ]
    assert wide == [torch.float32, torch.float32, torch.float64]
