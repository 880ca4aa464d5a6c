import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn

from hf_noisy.data.views import TokenDropout
from hf_noisy.losses.jensen_shannon import jensen_shannon
from hf_noisy.methods.method import Batch, Step
from hf_noisy.methods.nrd import NRD
from tests.contract.runs import bert, distance, make_model, make_rows, parameters, run

STUDENT = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]]
TEACHER = [[0.5, 1.5, 0.0], [0.2, 0.1, 2.0]]
LABELS = [0, 2]


class Scaled(nn.Module):
    """Its logits are its input times its only weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.weight * values)


def accelerator(kind: DistributedType = DistributedType.NO, autocast: Any = nullcontext) -> Any:
    return SimpleNamespace(distributed_type=kind, autocast=autocast)


def batch(second: list[list[float]] | None = TEACHER) -> Batch:
    values, others = (None if rows is None else torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, second))
    view = None if others is None else {"values": others}
    return Batch({"values": values}, torch.tensor(LABELS), torch.arange(2), 0.0, 0, second_view=view)


def ready(**settings: Any) -> tuple[NRD, Scaled]:
    method, model = NRD(**settings), Scaled()
    method.setup(model, accelerator())
    return method, model


def by_hand(weights: tuple[float, float, float], teacher: list[list[float]]) -> list[float]:
    losses = []
    for label, *rows in zip(LABELS, STUDENT, teacher, strict=True):
        own = [[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in rows]
        parts = [[1.0 if place == label else 0.0 for place in range(3)], *own]
        mixture = [sum(w * part[place] for w, part in zip(weights, parts, strict=True)) for place in range(3)]
        losses.append(
            sum(
                w * p * math.log(p / m)
                for w, part in zip(weights, parts, strict=True)
                for p, m in zip(part, mixture, strict=True)
                if p > 0
            )
        )
    return losses


@pytest.mark.parametrize("weights", [(0.2, 0.6, 0.2), (0.4, 0.2, 0.4)])
def test_loss_of_each_row_is_the_formula(weights):
    method, model = ready(weights=weights)
    assert method(model, batch()).losses.tolist() == pytest.approx(by_hand(weights, TEACHER), rel=1e-12)


def test_scaled_loss_is_the_plain_one_over_the_constant():
    (plain, model), (scaled, _) = ready(), ready(scale=True)
    torch.testing.assert_close(
        scaled(model, batch()).losses, plain(model, batch()).losses / (-0.8 * math.log(0.8)), rtol=1e-12, atol=0
    )


def test_teacher_without_a_view_sees_what_the_student_sees():
    method, model = ready(teacher_view=None)
    assert method.second_view is None
    assert not method.needs_rows
    expected = by_hand((0.2, 0.6, 0.2), STUDENT)
    assert method(model, batch()).losses.tolist() == pytest.approx(expected, rel=1e-12)
    assert NRD().needs_rows
    assert NRD().second_view == "auto"


def test_only_the_student_learns_from_the_loss():
    method, model = ready()
    values = torch.tensor(STUDENT, dtype=torch.float64)
    method(model, batch()).losses.sum().backward()
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    logits = torch.stack([weight * values, torch.tensor(TEACHER, dtype=torch.float64)])
    jensen_shannon(logits, torch.tensor(LABELS), (0.2, 0.6, 0.2)).sum().backward()
    torch.testing.assert_close(model.weight.grad, weight.grad)
    assert all(parameter.grad is None for parameter in method.parameters())


def test_teacher_follows_after_each_step_and_speaks_for_itself():
    method, model = ready(decay=0.9)
    with torch.no_grad():
        model.weight += 1.0
    assert method(model, batch(STUDENT)).metrics["teacher_agrees_with_student"].tolist() == [1.0, 1.0]
    method.after_step(model)
    assert method.teacher.weight.item() == pytest.approx(1.1, abs=1e-12)
    method.after_step(model)
    assert method.teacher.weight.item() == pytest.approx(1.19, abs=1e-12)
    faster = [[1.19 * value for value in row] for row in TEACHER]
    with torch.no_grad():
        model.weight.fill_(1.0)
    expected = by_hand((0.2, 0.6, 0.2), faster)
    assert method(model, batch()).losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_metrics_tell_what_the_teacher_thinks():
    method, model = ready()
    step = method(model, batch())
    assert step.metrics["teacher_keeps_label"].tolist() == [0.0, 1.0]
    assert step.metrics["teacher_agrees_with_student"].tolist() == [0.0, 0.0]
    assert not any(value.requires_grad for value in step.metrics.values())


def test_teacher_runs_under_the_autocast_of_the_run():
    method, model = NRD(), bert()
    method.setup(model, accelerator(autocast=lambda: torch.autocast("cpu", torch.bfloat16)))
    seen: list[torch.dtype] = []
    method.teacher.classifier.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    step = method(
        model, Batch({"input_ids": ids}, torch.tensor(LABELS), torch.arange(2), 0.0, 0, 1, 0, {"input_ids": ids})
    )
    assert seen == [torch.bfloat16]
    assert step.losses.dtype == torch.float32


def test_what_is_missing_is_told():
    method, model = ready()
    with pytest.raises(ValueError, match="the batch has no second view for teacher_view='auto'"):
        method(model, batch(None))
    with pytest.raises(RuntimeError, match="method 'nrd' has no teacher yet"):
        NRD()(model, batch())
    fresh = NRD()
    fresh.setup(model, None)
    fresh.after_step(model)
    assert fresh.teacher is None
    assert fresh.evaluated(model) == {}
    assert fresh.state_dict() == {}


def test_both_networks_are_evaluated():
    method, model = ready()
    assert method.evaluated(model) == {"teacher": method.teacher}
    method, model = ready(evaluate="teacher")
    assert method.evaluated(model) == {"": method.teacher, "student": model}


def test_state_of_the_teacher_is_restored():
    method, model = ready(decay=0.5)
    with torch.no_grad():
        model.weight += 1.0
    method.after_step(model)
    again, _ = ready(decay=0.5)
    again.load_state_dict(method.state_dict())
    assert again.teacher.weight.item() == pytest.approx(1.5)


def test_a_second_run_begins_with_a_new_teacher():
    method, model = ready()
    first = method.teacher
    with torch.no_grad():
        model.weight += 1.0
    method.setup(model, accelerator())
    assert method.teacher is not first
    assert method.teacher.weight.item() == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": (0.5, 0.5)}, "weights must be 3 numbers, the label's first, got 2"),
        ({"weights": (0.2, 0.6, 0.3)}, "weights must be at least 0 and sum to 1, got"),
        ({"weights": (-0.2, 1.0, 0.2)}, "weights must be at least 0 and sum to 1, got"),
        ({"weights": (0.5, 0.0, 0.5)}, r"weights must give the student a weight in \(0, 1\), got 0.0"),
        ({"weights": (0.0, 1.0, 0.0)}, r"weights must give the student a weight in \(0, 1\), got 1.0"),
        ({"weights": (0.0, 0.5, 0.5), "scale": True}, r"weight of the label must be in \(0, 1\), got 0.0"),
        ({"decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
        ({"decay": -0.1}, r"decay must be in \[0, 1\), got -0.1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NRD(**settings)


def test_models_and_runs_that_have_no_average_are_refused():
    with pytest.raises(ValueError, match=r"model trains .* in torch\.bfloat16, too coarse for a moving average"):
        NRD().setup(bert().bfloat16(), None)
    with pytest.raises(ValueError, match=r"fully sharded parameters \(FSDP\); use DDP or DeepSpeed ZeRO-2, or method"):
        NRD().setup(bert(), accelerator(DistributedType.FSDP))
    zero2 = accelerator(DistributedType.DEEPSPEED)
    zero2.state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=2))
    zero2.mixed_precision = "bf16"
    with pytest.raises(ValueError, match="averages float32 weights, which DeepSpeed keeps in bf16; set"):
        NRD().setup(bert(), zero2)
    zero2.mixed_precision = "no"
    NRD().setup(bert(), zero2)


@pytest.mark.parametrize("model", ["plain", "vit", "peft", "lora", "resnet"])
def test_trainer_trains_evaluates_and_saves_a_teacher(model, tmp_path):
    rows = make_rows(model)
    trainer = run(tmp_path, NRD(decay=0.5), model, rows=rows, trainer={"eval_dataset": rows}, eval_strategy="epoch")
    teacher = trainer.method.teacher
    assert distance(teacher, make_model(model)) > 1e-3
    assert distance(teacher, trainer) > 1e-4
    metrics = trainer.evaluate()
    assert metrics["eval_teacher_loss"] != metrics["eval_loss"]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(0 <= entry["teacher_keeps_label"] <= 1 for entry in logged)
    teacher.save_pretrained(tmp_path / "teacher")
    assert list((tmp_path / "teacher").glob("*.safetensors"))


@pytest.mark.parametrize("model", ["plain", "vit"])
def test_accumulated_batches_are_one_batch(model, tmp_path):
    whole = run(tmp_path, NRD(decay=0.5), model)
    parts = run(tmp_path, NRD(decay=0.5), model, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert distance(whole, parts) < 1e-6
    assert distance(whole.method.teacher, parts.method.teacher) < 1e-6


def test_the_view_of_the_teacher_matters(tmp_path):
    auto = run(tmp_path, NRD(decay=0.5))
    heavy = run(tmp_path, NRD(decay=0.5, teacher_view=TokenDropout(0.8)))
    none = run(tmp_path, NRD(decay=0.5, teacher_view=None))
    assert distance(auto, heavy) > 1e-5
    assert distance(auto, none) > 1e-5


@pytest.mark.parametrize("model", ["plain", "lora"])
def test_resumed_teacher_is_the_teacher_of_the_whole_run(model, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 4}
    whole = run(tmp_path, NRD(decay=0.5), model, **settings)
    resumed = run(tmp_path, NRD(decay=0.5), model, resume=str(tmp_path / "checkpoint-4"), **settings)
    assert distance(whole, resumed) == 0.0
    assert distance(whole.method.teacher, resumed.method.teacher) == 0.0
    state = parameters(resumed.method)
    assert state
    if model == "lora":
        assert not any("embeddings" in name for name in state)


def test_step_keeps_the_output_of_the_student():
    method, model = ready()
    step = method(model, batch())
    assert isinstance(step, Step)
    assert step.outputs.logits.tolist() == STUDENT
