"""A network whose weights are a moving average of another's."""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hf_noisy.models.sharded import sharded_by

if TYPE_CHECKING:
    from accelerate import Accelerator

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class EMA(nn.Module):
    r"""Exponential moving average of a network: the teacher of a student in training.

    $$\bar\theta \leftarrow \beta \bar\theta + (1 - \beta) \theta$$

    Floating-point buffers (BatchNorm statistics) are averaged too, integer ones are copied. Frozen weights are shared
    with the student and not in `state_dict()`. The teacher, `model`, stays in evaluation mode and has no gradients.

    Source: mean teacher (Tarvainen and Valpola, 2017), Eq. 3, without bias correction.
    """

    def __init__(self, model: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        check_decay(decay)
        check_can_be_averaged(model)
        self.decay = decay
        self.model = _copy_for_teaching(model)
        self._average = get_ema_multi_avg_fn(decay)
        self._own = own = {name for name, weight in model.named_parameters() if weight.requires_grad}
        # Of the names of a tied weight, `named_parameters` yields only the first.
        everything = self.model.state_dict(keep_vars=True).items()
        self._left_out = [name for name, value in everything if isinstance(value, nn.Parameter) and name not in own]
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_back)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "EMA":
        """Always evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, **inputs: Any) -> Any:
        """The teacher's output, without gradient."""
        return self.model(**inputs)

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float | None = None) -> None:
        """Average in the student's weights, after its optimizer step; `decay` is that of this step alone."""
        values = dict(self._state(student))
        averaged: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, value in self._state(self.model):
            if value.is_floating_point():
                averaged[0].append(value)
                averaged[1].append(values[name])
            else:
                value.copy_(values[name])
        average = self._average if decay is None else get_ema_multi_avg_fn(decay)
        average(*averaged, 0)

    def _state(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """What the teacher does not share: trained weights, and all buffers."""
        yield from ((name, weight) for name, weight in model.named_parameters() if name in self._own)
        yield from model.named_buffers()


def check_decay(decay: float) -> None:
    """Refuse a decay outside [0, 1)."""
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay must be in [0, 1), got {decay}; 0.99 is the usual choice, 0 copies the student")


def check_can_be_averaged(model: nn.Module) -> None:
    """Refuse a network that trains weights in half precision, too coarse for a moving average."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.is_floating_point() and torch.finfo(weight.dtype).bits < 32:
            raise ValueError(
                f"model trains {name} in {weight.dtype}, too coarse for a moving average; load it with "
                "dtype=torch.float32 and set bf16=True for mixed precision"
            )


def refuse_sharded_weights(accelerator: "Accelerator", method: str, instead: str) -> None:
    """Refuse to average weights that no process holds in whole and in float32."""
    if (kind := sharded_by(accelerator)) is not None:
        raise ValueError(
            f"method {method!r} averages whole weights, which no process holds under fully sharded parameters "
            f"({kind}); use DDP or DeepSpeed ZeRO-2, or method={instead!r}"
        )
    # DeepSpeed casts the model itself to half precision; other launchers cast only its computations.
    if accelerator.distributed_type.value == "DEEPSPEED" and accelerator.mixed_precision != "no":
        raise ValueError(
            f"method {method!r} averages float32 weights, which DeepSpeed keeps in {accelerator.mixed_precision}; set "
            f"mixed_precision to 'no', use DDP, or method={instead!r}"
        )


def _copy_for_teaching(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    # The object that a hook belongs to (such as a recorder) must not be copied with it.
    hooks = [hook for module in model.modules() for name in _HOOKS for hook in getattr(module, name).values()]
    memo |= {id(hook): hook for hook in hooks}
    teacher = copy.deepcopy(model, memo)
    for module in teacher.modules():
        for name in _HOOKS:
            kept = getattr(module, name)
            for key, hook in list(kept.items()):
                # transformers and peft need their own hooks, to collect hidden states and select adapters.
                if not getattr(hook, "__module__", "").startswith(("transformers.", "peft.")):
                    del kept[key]
    return teacher.requires_grad_(False).eval()


def _leave_out(ema: EMA, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    for name in ema._left_out:
        del state_dict[f"{prefix}model.{name}"]


def _put_back(ema: EMA, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    present = ema.model.state_dict()
    for name in ema._left_out:
        state_dict.setdefault(f"{prefix}model.{name}", present[name])
