from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch.nn import functional as F

from hf_noisy.methods.cdr import CDR
from tests.contract.runs import distance, make_trainer, parameters, run
from tests.unit.methods.pairs import ROWS, LinearOne, given_labels, make_batch, ready

ALL, LABELS = torch.arange(ROWS), given_labels()


def gradient_after(method, model, epoch):
    model.zero_grad()
    step = method(model, make_batch(ALL, LABELS, epoch))
    step.losses.mean().backward()
    given = model.weights[0].grad.clone()
    method.before_step(model)
    method.after_step(model)
    return given, model.weights[0].grad


def test_only_critical_weights_keep_their_gradient():
    model = LinearOne()
    method = ready(CDR(noise_rate=0.25, ramp_epochs=1), model)
    given, kept = gradient_after(method, model, 0)
    assert torch.equal(given, kept)
    given, kept = gradient_after(method, model, 1)
    products = (model.weights[0] * given).abs().flatten()
    chosen = torch.zeros(len(products), dtype=torch.bool)
    chosen[products.topk(18).indices] = True  # of 24
    torch.testing.assert_close(kept.flatten(), torch.where(chosen, 0.75 * given.flatten(), 0.0))


def test_the_loss_is_cross_entropy_and_vectors_are_always_trained():
    model = LinearOne()
    model.bias = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    method = ready(CDR(noise_rate=0.5, ramp_epochs=1), model)
    step = method(model, make_batch(ALL, LABELS, 1))
    torch.testing.assert_close(step.losses, F.cross_entropy(model(ALL).logits, LABELS, reduction="none"))
    model.bias.grad = torch.ones_like(model.bias)
    method.before_step(model)
    assert torch.equal(model.bias.grad, torch.ones_like(model.bias))


def test_the_trainer_calls_it_before_the_optimiser(tmp_path):
    start = parameters(make_trainer(tmp_path, "cross_entropy"))
    plain = run(tmp_path, "cross_entropy", max_steps=4)
    ours = run(tmp_path, CDR(noise_rate=0.9, ramp_epochs=1), max_steps=4)
    assert distance(plain, ours) > 1e-3  # the fourth step is the first of the second epoch
    assert distance(ours, start) > 1e-3


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"noise_rate must be in \[0, 1\), got 1"):
        CDR(noise_rate=1.0)


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_weights_that_no_process_holds_are_refused(kind):
    accelerator = SimpleNamespace(distributed_type=kind)
    accelerator.state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=2))
    with pytest.raises(ValueError, match="method 'cdr' ranks the gradients of all weights"):
        CDR().setup(LinearOne(), accelerator, ROWS)
