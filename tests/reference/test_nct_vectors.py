"""Noisy concurrent training against numbers of the published code."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from hf_noisy.methods.nct import NCT, mimicry, varied_labels
from hf_noisy.models.branches import mean_log_probability
from tests.unit.methods.pairs import FixedPair, make_batch

VALUE, GRADIENT = 1e-9, 1e-6


def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads((Path(__file__).parent / "fixtures" / f"nct_{name}.json").read_text())
    return content["inputs"], content["outputs"]


def real(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pair(inputs: dict[str, Any]) -> torch.Tensor:
    return torch.stack([real(inputs["z1"]), real(inputs["z2"])], 1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_losses_and_gradients(temperature, number, monkeypatch):
    inputs, outputs = vector("losses")
    alpha = inputs["alphas"][number]
    expected = outputs[f"tau={temperature},alpha={alpha:.6f}"]
    logits = pair(inputs).requires_grad_()
    # Labels that vary as they did there.
    targets = torch.tensor([inputs["target1"], inputs["target2"]]).T
    monkeypatch.setattr("hf_noisy.methods.nct.varied_labels", lambda *given: targets)
    method = NCT(temperature, alpha_max=alpha, ramp_ratio=0.0)
    rows = torch.arange(len(targets))
    step = method(FixedPair(logits), make_batch(rows, targets[:, 0]))
    mean = step.losses.mean()
    mean.backward()
    assert mean.item() == pytest.approx(expected["loss1"] + expected["loss2"], abs=VALUE)
    assert step.metrics["cross_entropy"].mean() * 2 == pytest.approx(expected["ce1"] + expected["ce2"], abs=VALUE)
    kl = [value for name, value in expected.items() if name.startswith("kl")]
    torch.testing.assert_close(mimicry(logits, temperature).detach().mean(0), real(kl), rtol=0, atol=VALUE)
    # Each network gets the gradient of its own loss alone.
    for network, gradient in enumerate(logits.grad.unbind(1)):
        torch.testing.assert_close(gradient, real(expected[f"grad_z{network + 1}"]), rtol=0, atol=GRADIENT)


def test_schedule_of_the_balance():
    inputs, outputs = vector("schedules")
    epochs = inputs["epochs"]
    for steepness, name in ((0.65, "alpha_d (phase_shift -0.65)"), (5.0, "alpha_d (phase_shift -5, code default)")):
        method = NCT(alpha_max=inputs["alpha_max"], steepness=steepness, ramp_ratio=inputs["e_r (0.9*200)"] / epochs)
        assert [method.alpha(epoch, epochs) for epoch in range(epochs)] == pytest.approx(outputs[name], abs=VALUE)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        *[({"r_max": r_max}, f"rmax={r_max}, e_w=1, rmin=0") for r_max in (0.1, 0.3, 0.5, 0.7)],
        ({"r_max": 0.7, "r_min": 0.2, "warmup_epochs": 3}, "code defaults rmax=0.7,rmin=0.2,e_w=3"),
    ],
)
def test_schedule_of_the_variability(settings, name):
    inputs, outputs = vector("schedules")
    epochs, method = inputs["epochs"], NCT(**settings)
    found = [method.rate(epoch, epochs) for epoch in range(epochs)]
    assert found == pytest.approx(outputs["r_d"][name], abs=VALUE)


def test_edges_of_the_schedules():
    inputs, outputs = vector("schedules")
    epochs, edges, method = inputs["epochs"], outputs["edge_cases"], NCT(r_max=0.5)
    assert method.rate(epochs, epochs) == edges["log_rampup(e==e_max)"]
    assert method.rate(3, epochs) == pytest.approx(edges["log_rampup(e=3)"], abs=VALUE)
    assert NCT(alpha_max=1.0, ramp_ratio=0.0).alpha(0, epochs) == edges["sigmoid_rampup(len 0)"]
    assert NCT(alpha_max=1.0).alpha(epochs, epochs) == edges["sigmoid_rampup(e>len)"]


def test_target_variability():
    inputs, outputs = vector("target_variability")
    classes = inputs["num_classes"]
    # Any number in the middle of a class's share stands for its draw.
    shares = (real(inputs["randint_0_to_C-1"]) + 0.5) / classes
    draws = torch.stack([real(inputs["u_uniform01"]), shares], -1)[:, None]
    varied = varied_labels(torch.tensor(inputs["targets"]), draws, inputs["rate"], classes)
    assert varied[:, 0].tolist() == outputs["new_targets_official"]


def test_ensemble():
    inputs, outputs = vector("ensemble")
    logits = pair(inputs)
    torch.testing.assert_close(logits.mean(1).softmax(-1), real(outputs["p_paper"]), rtol=0, atol=VALUE)
    # Ours is the mean of the probabilities: another distribution, here with the same class on top.
    found = mean_log_probability(logits)
    torch.testing.assert_close(found.exp(), logits.softmax(-1).mean(1), rtol=0, atol=VALUE)
    assert found.argmax(-1).tolist() == outputs["argmax"]


def test_setup_needs_nothing_of_the_rows():
    method = NCT()
    method.setup(FixedPair(torch.zeros(2, 2, 3)), Accelerator(cpu=True), 2)
    assert not method.state_dict()
