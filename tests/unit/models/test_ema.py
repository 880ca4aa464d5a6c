import copy
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_noisy.models.ema import EMA
from tests.contract.runs import make_model


def step(model: nn.Module, seed: int) -> None:
    """Move everything that training would move."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=generator)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer += torch.rand(buffer.shape, generator=generator)


def slow_average(decay: float, values: list[Tensor]) -> Tensor:
    average = values[0].double()
    for value in values[1:]:
        average = decay * average + (1 - decay) * value.double()
    return average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["plain", "resnet", "peft", "lora"])
def test_weights_and_buffers_are_the_average_of_all_steps(kind: str, decay: float) -> None:
    student = make_model(kind)
    teacher = EMA(student, decay)
    history: dict[str, list[Tensor]] = {name: [value.clone()] for name, value in student.state_dict().items()}
    for seed in range(4):
        step(student, seed)
        teacher.update(student)
        for name, value in student.state_dict().items():
            history[name].append(value.clone())
    averaged = teacher.model.state_dict()
    assert averaged.keys() == history.keys()
    for name, values in history.items():
        if values[0].is_floating_point():
            expected = slow_average(decay, values)
            torch.testing.assert_close(averaged[name].double(), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_statistics_are_averaged_and_counters_copied() -> None:
    student = make_model("resnet").train()
    teacher = EMA(student, decay=0.9)
    before = {name: buffer.clone() for name, buffer in student.named_buffers()}
    student(pixel_values=torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    teacher.update(student)
    counters = 0
    for name, buffer in teacher.model.named_buffers():
        after = student.get_buffer(name)
        assert not torch.equal(after, before[name])
        if buffer.is_floating_point():
            torch.testing.assert_close(buffer, 0.9 * before[name] + 0.1 * after)
        else:
            counters += 1
            assert torch.equal(buffer, after)
    assert counters > 0


def test_begins_as_a_copy_and_never_moves_the_student() -> None:
    student = make_model("plain")
    teacher = EMA(student)
    for (name, ours), (other, theirs) in zip(
        teacher.model.named_parameters(), student.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()
        assert theirs.requires_grad
        assert not ours.requires_grad
    step(student, 0)
    before = copy.deepcopy(student.state_dict())
    teacher.update(student)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@pytest.mark.parametrize("kind", ["peft", "lora"])
def test_frozen_weights_are_shared_and_not_saved(kind: str) -> None:
    student = make_model(kind)
    teacher = EMA(student)
    frozen = {name for name, weight in student.named_parameters() if not weight.requires_grad}
    assert frozen
    ours = dict(teacher.model.named_parameters(remove_duplicate=False))
    for name, weight in student.named_parameters(remove_duplicate=False):
        assert (ours[name] is weight) is not weight.requires_grad
    saved = {name.removeprefix("model.") for name in teacher.state_dict()}
    trained = {name for name, weight in student.named_parameters() if weight.requires_grad}
    persistent = student.state_dict().keys() & {name for name, _ in student.named_buffers()}
    assert saved == trained | persistent


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


class Holder(nn.Module):
    """A method that holds a teacher beside something of its own."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(1))
        self.ema = EMA(student, decay=0.5)


@pytest.mark.parametrize("kind", ["plain", "resnet", "peft", "lora", "tied"])
def test_state_survives_a_file(kind: str, tmp_path) -> None:
    student = Tied() if kind == "tied" else make_model(kind)
    holder = Holder(student)
    step(student, 1)
    holder.ema.update(student)
    save_model(holder, str(tmp_path / "state.safetensors"))
    again = Holder(Tied() if kind == "tied" else make_model(kind))
    changed = [name for name, value in again.state_dict().items() if not value.equal(holder.state_dict()[name])]
    assert changed
    load_model(again, tmp_path / "state.safetensors")
    assert all(torch.equal(value, holder.state_dict()[name]) for name, value in again.state_dict().items())
    assert all(
        torch.equal(value, holder.ema.model.state_dict()[name]) for name, value in again.ema.model.state_dict().items()
    )


def test_a_state_of_another_network_is_refused() -> None:
    state = EMA(nn.Linear(2, 2)).state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        EMA(Tied()).load_state_dict(state)


def test_stays_in_evaluation_mode_without_gradient() -> None:
    student = make_model("plain", dropout=0.5).train()
    holder = Holder(student).train()
    assert student.training
    assert not any(module.training for module in holder.ema.modules())
    inputs = {"input_ids": torch.tensor([[3, 4, 5]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    state = torch.get_rng_state()
    one, two = holder.ema(**inputs).logits, holder.ema(**inputs).logits
    assert torch.equal(one, two)
    assert not one.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert not [weight for weight in holder.ema.parameters() if weight.requires_grad]


class Recorder:
    """A hook with a memory that cannot be copied."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, *_: object) -> None:
        self.seen += 1

    def __deepcopy__(self, memo: object) -> "Recorder":
        raise AssertionError("copied")


def test_hooks_of_the_student_stay_with_the_student() -> None:
    student, recorder = make_model("plain"), Recorder()
    inputs = {"input_ids": torch.tensor([[3, 4, 5]])}
    student(**inputs, output_hidden_states=True)  # transformers hangs in hooks of its own here
    student.classifier.register_forward_hook(recorder)
    student.classifier.register_forward_pre_hook(recorder.__call__)
    teacher = EMA(student)
    assert len(teacher(**inputs, output_hidden_states=True).hidden_states) == 2
    assert recorder.seen == 0
    student(**inputs)
    assert recorder.seen == 2


def test_teacher_is_a_model_that_can_be_saved(network: Callable[..., PreTrainedModel], inputs, kind, tmp_path) -> None:
    student = network(kind)
    teacher = EMA(student, decay=0.5)
    step(student, 2)
    teacher.update(student)
    teacher.model.save_pretrained(tmp_path)
    loaded = type(student).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs(kind)).logits, teacher(**inputs(kind)).logits)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got"):
        EMA(nn.Linear(2, 2), decay)


def test_weights_too_coarse_for_an_average_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model trains weight in torch\.bfloat16, too coarse for a moving average"):
        EMA(nn.Linear(2, 2).bfloat16())
    frozen = nn.Sequential(nn.Linear(2, 2).bfloat16().requires_grad_(False), nn.Linear(2, 2))
    EMA(frozen)
