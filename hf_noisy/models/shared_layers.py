"""Lower layers that all branches share: the first branch computes them, the others reuse the output.

They are frozen and run without dropout, so that their output for a row does not change in training.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_noisy.models.heads import find_heads

_FROZEN = "_frozen_modules"  # attribute of a branch; in a list, so that they are not registered twice


class SharedLayer(nn.Module):
    """A frozen layer of the first branch, run without gradients, whose output the other branches reuse."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.output: Any = None
        self.is_known = False  # whether `output` was put there, so that nothing is computed

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.is_known:
            with torch.no_grad():
                self.output = self.layer(*args, **kwargs)
        return self.output

    def __getattr__(self, name: str) -> Any:
        # Some encoders read attributes of their layers, such as the attention type.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


class TakenLayer(nn.Module):
    """Stands in for the layer in other branches: returns the output of the first branch for the same batch."""

    def __init__(self, source: SharedLayer) -> None:
        super().__init__()
        self._source = (source,)  # in a tuple, so that it is not registered as a submodule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self._source[0].output
        if output is None:
            raise RuntimeError("a branch with shared layers cannot run alone; call the model, or unbranch it first")
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_source"][0], name)


def find_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The stack of layers of an encoder (its longest list of modules of one class) and its dotted name."""
    backbone = model.base_model
    prefix = next((f"{name}." for name, module in model.named_modules() if module is backbone and name), "")
    lists = [
        (prefix + name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(layer) for layer in module}) == 1
    ]
    if not lists:
        raise ValueError(
            f"shared_layers needs a backbone with a stack of layers of one class, which {type(model).__name__} "
            "does not have; leave shared_layers at 0"
        )
    return max(lists, key=lambda found: len(found[1]))


def lower_modules(model: PreTrainedModel, depth: int) -> set[str]:
    """Names of all modules up to and including the first `depth` layers, which carry no adapter."""
    name, layers = find_layers(model)
    if not 0 <= depth < len(layers):
        raise ValueError(
            f"shared_layers must be in [0, {len(layers)}), got {depth}; {type(model).__name__} has {len(layers)} "
            "layers and at least the last must be a branch's own"
        )
    names = [found for found, _ in model.named_modules()]
    return set(names[: names.index(f"{name}.{depth}")])


def _frozen_modules(model: PreTrainedModel, depth: int) -> list[nn.Module]:
    """The modules up to the first `depth` layers, without those that hold further layers too, such as the encoder."""
    stack = find_layers(model)[0]
    lower = [name for name in lower_modules(model, depth) if name and not f"{stack}.".startswith(f"{name}.")]
    return [model.get_submodule(name) for name in lower]


def copy_upper_layers(model: PreTrainedModel, depth: int) -> PreTrainedModel:
    """One branch: a copy of a model that shares the parameters up to the first `depth` layers, frozen in place."""
    shared = {id(p): p for module in _frozen_modules(model, depth) for p in module.parameters(recurse=False)}
    if any(id(parameter) in shared for head in find_heads(model) for parameter in head.parameters()):
        raise ValueError(
            f"the head of {type(model).__name__} comes before its layers, so shared_layers={depth} would share it; "
            "leave shared_layers at 0"
        )
    for parameter in shared.values():
        parameter.requires_grad_(False)
    return copy.deepcopy(model, memo=dict(shared))


def share_lower_layers(branches: list[PreTrainedModel], depth: int) -> list[PreTrainedModel]:
    """Compute the first `depth` layers, whose parameters all branches share, only once; in place."""
    if not depth:
        return branches
    _, first = find_layers(branches[0])
    shared = [SharedLayer(layer) for layer in first[:depth]]
    for branch in branches:
        setattr(branch, _FROZEN, _frozen_modules(branch, depth))
        _, layers = find_layers(branch)
        for index, layer in enumerate(shared):
            layers[index] = layer if branch is branches[0] else TakenLayer(layer)
    return branches


def without_dropout(branches: nn.ModuleList) -> None:
    """Put what the branches share into evaluation mode."""
    for branch in branches:
        for module in getattr(branch, _FROZEN, ()):
            module.training = False


def shared_layers_of(branches: nn.ModuleList) -> list[SharedLayer]:
    """The layers that are computed once, from the lowest."""
    return [module for module in branches[0].modules() if isinstance(module, SharedLayer)]


def frozen_parameters(branches: nn.ModuleList) -> list[nn.Parameter]:
    """The parameters on which the output of the shared layers depends."""
    frozen = [p for module in getattr(branches[0], _FROZEN) for p in module.parameters(recurse=False)]
    return [*{id(parameter): parameter for parameter in frozen}.values()]


def own_layers(branch: PreTrainedModel) -> PreTrainedModel:
    """Restore the lower layers of an extracted branch, in place."""
    for name, module in list(branch.named_modules()):
        if isinstance(module, (SharedLayer, TakenLayer)):
            source = module._source[0] if isinstance(module, TakenLayer) else module
            branch.set_submodule(name, source.layer)
    if hasattr(branch, _FROZEN):
        delattr(branch, _FROZEN)
        for parameter in branch.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
    branch.train(branch.training)
    return branch
