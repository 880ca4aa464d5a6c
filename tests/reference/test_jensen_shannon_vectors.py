"""JS, GJS, the divergence of NRD and its teacher against numbers of published code."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_noisy.losses.jensen_shannon import JS, jensen_shannon, jensen_shannon_scale
from hf_noisy.methods.gjs import GJS
from hf_noisy.methods.method import Batch
from hf_noisy.models.ema import EMA

VALUE, GRADIENT = 1e-9, 1e-6


def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text())
    return content["inputs"], content["outputs"]


def real(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_near(actual: Tensor, expected: Any, tolerance: float = VALUE) -> None:
    torch.testing.assert_close(actual.detach(), real(expected), rtol=0, atol=tolerance)


def numbers_of(key: str) -> list[float]:
    return [float(number) for number in key.split("[")[-1].strip("]").split()]


NRD_KEYS = list(vector("nrd_jsd")[1]["per_pi[y,student,teacher]"])
JS_KEYS = [key for key in vector("gjs_losses")[1] if key.startswith("JSW")]
GJS_KEYS = [key for key in vector("gjs_losses")[1] if key.startswith("GJS")]


@pytest.mark.parametrize("key", NRD_KEYS)
def test_divergence_of_label_student_and_teacher(key: str) -> None:
    inputs, outputs = vector("nrd_jsd")
    expected, weights = outputs["per_pi[y,student,teacher]"][key], numbers_of(key)
    student = real(inputs["student_logits"]).requires_grad_()
    logits = torch.stack([student, real(inputs["teacher_logits"])])
    losses = jensen_shannon(logits, torch.tensor(inputs["labels"]), weights, inputs["log_clamp_eps"])
    assert_near(losses, expected["loss_per_sample"])
    assert_near(losses.mean(), expected["loss_mean"])
    (gradient,) = torch.autograd.grad(losses.mean(), student)
    assert_near(gradient, expected["grad_student_logits"], GRADIENT)
    assert 1 / jensen_shannon_scale(weights[0]) == pytest.approx(expected["GJS_scale_if_it_were_used_1/Z"], abs=VALUE)


@pytest.mark.parametrize("key", JS_KEYS)
def test_js_as_its_authors_compute_it(key: str) -> None:
    inputs, outputs = vector("gjs_losses")
    logits = real(inputs["logits"]).requires_grad_()
    losses = JS(numbers_of(key)[0], scale="(scaled)" in key)(logits, torch.tensor(inputs["labels"]))
    assert_near(losses, outputs[key]["loss_per_sample"])
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    assert_near(gradient, outputs[key]["grad_logits_of_mean"], GRADIENT)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_js_as_a_baseline_of_another_paper(weight: float) -> None:
    inputs, outputs = vector("dal_and_baseline_losses")
    expected = outputs[f"js_scaled_pi{weight}"]
    logits = real(inputs["logits"]).requires_grad_()
    # That code cuts its logarithms at another probability.
    losses = jensen_shannon(
        logits[None], torch.tensor(inputs["labels"]), (weight, 1 - weight), inputs["eps_clamp_DAL_repo"]
    ) / jensen_shannon_scale(weight)
    assert_near(losses, expected["loss_per_sample"])
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    assert_near(gradient, expected["grad_logits_of_mean"], GRADIENT)


class Echo(nn.Module):
    """Its logits are its input."""

    def forward(self, values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=values)


@pytest.mark.parametrize("key", GJS_KEYS)
def test_gjs_through_the_method(key: str) -> None:
    inputs, outputs = vector("gjs_losses")
    views = [real(inputs[name]).requires_grad_() for name in ("logits", "logits_view2")]
    labels = torch.tensor(inputs["labels"])
    batch = Batch({"values": views[0]}, labels, torch.arange(len(labels)), 0.0, 0, second_view={"values": views[1]})
    step = GJS(numbers_of(key)[0], scale=" scaled" in key)(Echo(), batch)
    assert_near(step.losses, outputs[key]["loss_per_sample"])
    gradients = torch.autograd.grad(step.losses.mean(), views)
    for gradient, name in zip(gradients, ("grad_logits1", "grad_logits2"), strict=True):
        assert_near(gradient, outputs[key][name], GRADIENT)


def test_teacher_follows_the_student() -> None:
    inputs, outputs = vector("nrd_jsd")
    student = nn.ParameterList([real(inputs["ema_init"])])
    teacher = EMA(student, decay=inputs["beta"])
    for values, expected in zip(inputs["student_params_per_step"], outputs["ema_after_each_step"], strict=True):
        student[0].data = real(values)
        teacher.update(student)
        assert_near(teacher.model[0], expected)
