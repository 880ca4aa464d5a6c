"""Lower layers that all branches share: the first branch computes them, the others reuse the output."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


class SharedLayer(nn.Module):
    """A frozen layer of the first branch, run without gradients, whose output the other branches reuse."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
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


def share_lower_layers(branches: list[PreTrainedModel], depth: int) -> list[PreTrainedModel]:
    """Compute the first `depth` layers, whose parameters all branches share, only once; in place."""
    if not depth:
        return branches
    _, first = find_layers(branches[0])
    shared = [SharedLayer(layer) for layer in first[:depth]]
    for branch in branches:
        _, layers = find_layers(branch)
        for index, layer in enumerate(shared):
            layers[index] = layer if branch is branches[0] else TakenLayer(layer)
    return branches


def forget_outputs(branches: nn.ModuleList) -> None:
    """Free the outputs of the last batch that the shared layers hold."""
    for module in branches[0].modules():
        if isinstance(module, SharedLayer):
            module.output = None


def own_layers(branch: PreTrainedModel) -> PreTrainedModel:
    """Restore the lower layers of an extracted branch, in place."""
    for name, module in list(branch.named_modules()):
        if isinstance(module, (SharedLayer, TakenLayer)):
            source = module._source[0] if isinstance(module, TakenLayer) else module
            branch.set_submodule(name, source.layer)
    return branch
