"""Lower layers that all branches share are computed once: the first branch runs them, the others take the output."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


class SharedLayer(nn.Module):
    """A frozen layer of the first branch, whose output the other branches take.

    Args:
        layer: The layer. It runs without gradients: nothing below it is trained.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            self.output = self.layer(*args, **kwargs)
        return self.output

    def __getattr__(self, name: str) -> Any:
        # Some encoders ask their layers what kind of attention they have.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


class TakenLayer(nn.Module):
    """In the place of a layer of a further branch: hands out what the first branch's layer made of the same batch.

    Args:
        source: The layer of the first branch.
    """

    def __init__(self, source: SharedLayer) -> None:
        super().__init__()
        self._source = (source,)  # in a tuple, it is not a submodule: its parameters belong to the first branch

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
    """The stack of layers of an encoder, and its name in the model.

    Args:
        model: A classifier whose backbone is a stack of layers of one kind.

    Returns:
        The dotted name and the longest list of modules of one class.

    Raises:
        ValueError: If the backbone has no such list.
    """
    backbone = model.base_model
    prefix = next((f"{name}." for name, module in model.named_modules() if module is backbone and name), "")
    lists = [
        (prefix + name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(layer) for layer in module}) == 1
    ]
    if not lists:
        raise ValueError(
            f"shared_layers needs a backbone that is a stack of layers of one kind, but {type(model).__name__} is "
            "none; leave shared_layers at 0"
        )
    return max(lists, key=lambda found: len(found[1]))


def lower_modules(model: PreTrainedModel, depth: int) -> set[str]:
    """Names of all modules up to and including the first `depth` layers: what carries no adapter.

    Args:
        model: A classifier.
        depth: How many layers are shared.

    Returns:
        Dotted names.

    Raises:
        ValueError: If no layer would be left above the shared ones.
    """
    name, layers = find_layers(model)
    if not 0 <= depth < len(layers):
        raise ValueError(
            f"shared_layers must be in [0, {len(layers)}), got {depth}; {type(model).__name__} has {len(layers)} "
            "layers and at least the last must be a branch's own"
        )
    names = [found for found, _ in model.named_modules()]
    return set(names[: names.index(f"{name}.{depth}")])


def share_lower_layers(branches: list[PreTrainedModel], depth: int) -> list[PreTrainedModel]:
    """Have the first `depth` layers of all branches computed once, in place.

    Args:
        branches: Networks of one architecture whose first layers hold the same frozen parameters.
        depth: How many layers; with 0 nothing is changed.

    Returns:
        The branches.
    """
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
    """Drop what the shared layers of the first branch hold of the last batch."""
    for module in branches[0].modules():
        if isinstance(module, SharedLayer):
            module.output = None


def own_layers(branch: PreTrainedModel) -> PreTrainedModel:
    """Give a branch that was taken out its lower layers back, in place.

    Args:
        branch: A copy that shares nothing with the model that it was taken from.

    Returns:
        The same branch, an ordinary model.
    """
    for name, module in list(branch.named_modules()):
        if isinstance(module, (SharedLayer, TakenLayer)):
            source = module._source[0] if isinstance(module, TakenLayer) else module
            branch.set_submodule(name, source.layer)
    return branch
