"""Branches that are LoRA adapters on one frozen backbone.

Each branch copies the module tree, with its own adapter and head, but shares the frozen parameters. So no adapter is
switched during a forward pass, and DDP, `torch.compile` and the optimizer see plain modules.
"""

import copy
import enum
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from hf_noisy.models.heads import find_heads
from hf_noisy.models.shared_layers import lower_modules

if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

logger = logging.get_logger(__name__)

DEFAULTS: dict[str, Any] = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": "all-linear"}

# Other values would change the weights that the branches share.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None,),
}


def lora_to_dict(lora: "LoraConfig | dict[str, Any]") -> dict[str, Any]:
    """LoRA settings that differ from `peft.LoraConfig()`, as JSON values, with our defaults filled in."""
    from peft import LoraConfig

    if isinstance(lora, dict):
        lora = LoraConfig(**{**DEFAULTS, **lora})
    if not isinstance(lora, LoraConfig):
        raise TypeError(
            f"lora must be a peft.LoraConfig or a dict of its arguments, got {type(lora).__name__}; pass lora={{}} "
            "for the defaults"
        )
    for key, allowed in _ALLOWED.items():
        if getattr(lora, key) not in allowed:
            raise ValueError(
                f"lora {key} must be one of {list(allowed)}, got {getattr(lora, key)!r}; the backbone is shared "
                "by all branches"
            )
    plain = LoraConfig()
    settings = {field.name: getattr(lora, field.name) for field in fields(LoraConfig) if field.init}
    if settings["target_modules"] is None:
        settings["target_modules"] = DEFAULTS["target_modules"]
    return {key: _json(value) for key, value in settings.items() if value != getattr(plain, key)}


def share_backbone(model: PreTrainedModel, lora: dict[str, Any], shared_layers: int = 0) -> PreTrainedModel:
    """One branch: a copy of a model with its own adapter and head, on the shared parameters of the backbone."""
    # Shared, and frozen in place, are the parameters of `model.base_model` except those of `modules_to_save`. A branch
    # has its own adapter, head (all that is not backbone), `modules_to_save` and buffers.
    from peft import LoraConfig, inject_adapter_in_model

    own = set(lora.get("modules_to_save") or [])
    shared = _backbone_parameters(model, own)
    branch = copy.deepcopy(model, memo=dict(shared))
    settings = {key: copy.deepcopy(value) for key, value in lora.items() if key != "modules_to_save"}
    lower = lower_modules(branch, shared_layers) if shared_layers else set()
    settings["target_modules"], settings["exclude_modules"] = _targets(branch, settings, shared, lower)
    try:
        inject_adapter_in_model(LoraConfig(**settings), branch)
    except ValueError as error:
        if "lora_dropout" not in str(error) or lora.get("lora_dropout") != DEFAULTS["lora_dropout"]:
            raise
        logger.warning_once(
            f"{type(model).__name__}: lora_dropout is 0, as PEFT cannot drop inputs of grouped weights"
        )
        return share_backbone(model, {**lora, "lora_dropout": 0.0}, shared_layers)
    # Left by PEFT; with it, transformers would not treat the branch as an ordinary model.
    del branch.peft_config
    for module in branch.modules():
        if _is_adapter(module):
            if isinstance(layer := module.get_base_layer(), nn.Conv2d):
                if type(layer).forward is not nn.Conv2d.forward:
                    raise ValueError(
                        f"an adapter of a {type(layer).__name__} of {type(model).__name__} cannot be merged; name "
                        "other layers, for instance lora={'target_modules': ['projection']}, or pass lora=None"
                    )
                for name in ("stride", "kernel_size", "dilation"):  # from which MobileNets compute their padding
                    setattr(module, name, getattr(layer, name))
            # transformers must not reinitialise what PEFT has initialised.
            for part in cast(nn.Module, module).modules():
                setattr(part, "_is_hf_initialized", True)  # noqa: B010  (a plain flag, not a parameter or a module)
    for parameter in branch.parameters():
        parameter.requires_grad_(id(parameter) not in shared and parameter.is_floating_point())
    trained = [name for name, parameter in branch.named_parameters() if parameter.requires_grad]
    if stuck := [name for name in trained if name.rpartition(".")[0] in lower]:
        raise ValueError(
            f"shared_layers={shared_layers} computes {stuck[0]} once for all branches, but lora trains it in "
            "each; share fewer layers or do not train it"
        )
    return branch


def merge_adapter(branch: PreTrainedModel) -> PreTrainedModel:
    """Merge the adapter of a branch into its weights, in place; the result is an ordinary trainable model."""
    # Inner ones first, as PEFT nests the adapters of several weights of one layer of experts.
    for name, module in reversed(list(branch.named_modules())):
        if _is_adapter(module):
            module.merge()
            branch.set_submodule(name, module.get_base_layer())
    for parameter in branch.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return branch


def _is_adapter(module: nn.Module) -> "TypeGuard[BaseTunerLayer]":
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer)


def _backbone_parameters(model: PreTrainedModel, own_modules: set[str]) -> dict[int, nn.Parameter]:
    backbone = {id(parameter): parameter for parameter in model.base_model.parameters()}
    heads = find_heads(model)
    for name, module in model.named_modules():
        own = any(name == suffix or name.endswith(f".{suffix}") for suffix in own_modules)
        if own or module in heads:
            for parameter in module.parameters():
                backbone.pop(id(parameter), None)
    return backbone


def _targets(
    branch: PreTrainedModel, settings: dict[str, Any], shared: dict[int, nn.Parameter], lower: set[str]
) -> tuple[Any, list[str] | str]:
    """Layers to adapt, and layers to exclude: heads, which are trained in full, and layers computed once for all."""
    linears, convolutions, left = [], [], []
    for name, module in branch.named_modules():
        if name in lower:
            left += [name] if isinstance(module, (nn.Linear, nn.Conv2d, Conv1D)) else []
            continue
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and id(weight) not in shared:
            left.append(name)
        elif isinstance(module, (nn.Linear, Conv1D)) and id(weight) in shared and not _is_router(module):
            linears.append(name)
        elif _is_plain_convolution(module) and id(weight) in shared:
            convolutions.append(name)
    targets = settings.get("target_modules")
    if targets == "all-linear":
        if not linears and not convolutions:
            raise ValueError(
                f"the backbone of {type(branch).__name__} has no linear or convolutional layer of an ordinary kind "
                "for target_modules='all-linear'; name its layers, as in lora={'target_modules': ['projection']}"
            )
        targets = linears or convolutions
    excluded = settings.get("exclude_modules")
    if lower and isinstance(excluded, str):
        raise ValueError(f"lora exclude_modules must be a list of names if shared_layers is set, got {excluded!r}")
    return targets, [*excluded, *left] if lower and excluded else excluded or left


def _is_plain_convolution(module: nn.Module) -> bool:
    """Whether an adapter of a layer can be merged: not of grouped weights, or of standardised ones (BiT)."""
    return isinstance(module, nn.Conv2d) and module.groups == 1 and type(module).forward is nn.Conv2d.forward


def _is_router(module: nn.Module) -> bool:
    """Whether a layer is a linear one that returns more than its product, as PhiMoE's choice of experts."""
    return isinstance(module, nn.Linear) and type(module).__name__.endswith("Router")


def _json(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, enum.Enum):
        return value.value
    return value
