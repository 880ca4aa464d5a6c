"""The settings of a run that must not change when it resumes, and the learning rate, which may."""

import hashlib
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from hf_noisy.methods import LossMethod, Method
from hf_noisy.training.checkpoints import RATE, identity, noted_identity
from hf_noisy.training.train_loader import needed_columns

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer

logger = logging.get_logger(__name__)

_FIXED: tuple[str, ...] = (
    "seed",
    "data_seed",
    "optim",
    "optim_args",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "weight_decay",
)
_FIXED += ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_grad_norm", "label_smoothing_factor")
# Of a scheduler of the user: what a checkpoint restores, and training does not change.
_SCHEDULE = ("gamma", "milestones", "step_size", "T_max", "eta_min", "total_iters", "total_steps", "power")
_SIMPLE = (bool, int, float, str, type(None))


def method_settings(method: Method) -> dict[str, Any]:
    """The arguments of a method and its loss, as their attributes hold them before training."""
    found = {}
    for place, module in method.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, _SIMPLE) and not name.startswith("_") and name != "training":
                found[f"{f'{place}.{name}'.removeprefix('loss.').lstrip('.')} of the method"] = value
    return found


def run_identity(trainer: "NoisyTrainer") -> dict[str, Any]:
    """What must not change when a run resumes: the data, the method and its arguments, and these settings."""
    method = trainer.method
    name = type(method.loss if isinstance(method, LossMethod) else method).__name__
    known = identity(trainer.train_dataset, needed_columns(trainer), trainer._num_classes, name)
    known |= {**trainer._checked.identity, **trainer._weights.identity, **trainer._rows.identity}
    known |= trainer._method_settings
    return known | _settings(trainer.args, trainer.model) | _own_settings(trainer)


def _settings(args: TrainingArguments, model: nn.Module | None) -> dict[str, Any]:
    """What the state of the optimizer and the order of the rows depend on, and the trained weights."""
    settings = {name: _plain(getattr(args, name)) for name in _FIXED}
    if not args.auto_find_batch_size:
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        settings["rows per step"] = rows
    if model is not None:  # it is made later, in a search of hyperparameters
        settings |= {"trained weights": _weights(model), **_adapters(model)}
    return {**settings, RATE: args.learning_rate}


def _own_settings(trainer: Trainer) -> dict[str, str]:
    """The settings of an optimizer and a scheduler of the user, which those of a checkpoint would replace."""
    optimizer = {} if trainer.optimizer is None else trainer.optimizer.defaults
    found = {f"{name} of the optimizer": str(value) for name, value in optimizer.items() if name != "lr"}
    schedule = {name: getattr(trainer.lr_scheduler, name, None) for name in _SCHEDULE}
    return found | {f"{name} of the schedule": str(value) for name, value in schedule.items() if value is not None}


def _plain(value: Any) -> Any:
    return str(getattr(value, "value", value)) if not isinstance(value, _SIMPLE) else getattr(value, "value", value)


def _weights(model: nn.Module) -> str:
    """The sizes of the trained weights, and a digest of their names and shapes."""
    shapes = [(name, tuple(weight.shape)) for name, weight in model.named_parameters() if weight.requires_grad]
    numbers = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:8]
    return f"{numbers:,} numbers in {len(shapes):,} tensors ({digest})"


def _adapters(model: nn.Module) -> dict[str, str]:
    """By what the output of low-rank adapters is multiplied, which their shapes do not show."""
    scales = [scale for module in model.modules() if isinstance(scale := getattr(module, "scaling", None), dict)]
    factors = sorted({float(factor) for scale in scales for factor in scale.values()})
    return (
        {"factors of the adapters (from lora_alpha)": ", ".join(f"{factor:g}" for factor in factors)}
        if factors
        else {}
    )


def optimizer_rates(trainer: Trainer) -> list[float] | None:
    """The learning rates of an optimizer that the user made, before a checkpoint replaces them; None without one."""
    optimizer = trainer.optimizer
    return None if optimizer is None else [float(_initial(group)) for group in optimizer.param_groups]


def apply_learning_rate(trainer: Trainer, checkpoint: str, rates: list[float] | None) -> None:
    """Let a resumed run use the learning rate and the number of epochs that it was given."""
    # The restored states of optimizer and scheduler hold the old rate, and that of the next step in the old schedule.
    if trainer.optimizer is None or trainer.is_deepspeed_enabled:
        return
    groups: list[dict[str, Any]] = trainer.optimizer.param_groups
    scheduler: Any = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    old = [float(_initial(group)) for group in groups]
    before = noted_identity(checkpoint).get(RATE, old[0])
    # Groups that a subclass of the trainer made may have rates of their own: all change by the same factor.
    wanted = [rate * trainer.args.learning_rate / (before or 1.0) for rate in old] if rates is None else rates
    if rates is None and before == trainer.args.learning_rate:
        wanted = old
    if len(wanted) != len(groups) or not all(old):
        return
    if old != wanted:
        for group, before, now in zip(groups, old, wanted, strict=True):
            group["lr"], group["initial_lr"] = group["lr"] * now / before, now
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = list(wanted)
        logger.warning(f"resumed with a learning rate of {wanted[0]:g}, which was {old[0]:g} before")
    if isinstance(scheduler, LambdaLR):
        for group, rate, share in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = rate * share(scheduler.last_epoch)
    if hasattr(scheduler, "_last_lr"):
        scheduler._last_lr = [group["lr"] for group in groups]


def _initial(group: dict[str, Any]) -> Any:
    """The learning rate at the start of the schedule."""
    return group.get("initial_lr", group["lr"])
