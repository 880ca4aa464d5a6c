"""The classification head of a model, found by its shape, and its inputs."""

import contextlib
import inspect
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, cast

import torch
from accelerate.utils import extract_model_from_parallel
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_noisy.core.columns import LABEL, LABELS
from hf_noisy.core.rows import logits_of
from hf_noisy.core.task import AUTO_CLASS_NAMES, task_of

_BRANCHED = "branched"  # model_type of BranchedModel, compared by name because that module imports this one


def num_classes(model: nn.Module) -> int:
    """Number of classes: `config.num_labels`, else the outputs of the last linear layer."""
    model = unwrapped(model)
    count = getattr(getattr(model, "config", None), "num_labels", None)
    if isinstance(count, int):
        return count
    linears = list(_linears(model))
    if not linears:
        raise ValueError(
            f"{type(model).__name__} has no config.num_labels and no linear layer, so its classes cannot be counted; "
            f"pass a classifier, such as one from {AUTO_CLASS_NAMES}"
        )
    return linears[-1].out_features


def row_classes(model: nn.Module) -> int:
    """Number of classes of a row of logits: 2 where a model says of each class whether it is present."""
    return task_of(unwrapped(model)).row_classes(num_classes(model))


def find_heads(model: nn.Module) -> list[nn.Linear]:
    """The final linear layer of a classifier, one for each branch; wrappers (DDP, PEFT) are looked through."""
    return [_final_linear(network) for network in networks_of(model)]


class HeadInputs:
    """Context manager that keeps the input of each branch's head in the last forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self._networks = networks_of(model)
        self._heads = [_final_linear(network) for network in self._networks]
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}
        self._inputs: dict[int, Float[Tensor, "batch *tokens dim"]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "HeadInputs":
        # A graph that was compiled earlier would not call the hooks.
        self._stack.enter_context(torch.compiler.set_stance("force_eager"))
        for branch, (network, head) in enumerate(zip(self._networks, self._heads, strict=True)):
            self._stack.callback(head.register_forward_hook(partial(self._keep_scores, branch)).remove)
            self._stack.callback(network.register_forward_hook(partial(self._keep_inputs, branch)).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._seen.clear()
        self._inputs.clear()

    def pop(self) -> list[Float[Tensor, "batch *tokens dim"]]:
        """Return and clear the inputs `[batch, dim]` of the heads in the last forward pass, one per branch."""
        silent = [branch for branch in range(len(self._heads)) if branch not in self._inputs]
        if silent:
            raise RuntimeError(
                f"the heads of branches {silent} saw no input; call the model once, inside the context, "
                "before each pop()"
            )
        return [self._inputs.pop(branch) for branch in range(len(self._heads))]

    def _keep_scores(self, branch: int, head: nn.Module, inputs: tuple[Tensor, ...], scores: Tensor) -> None:
        self._seen[branch] = (inputs[0], scores)

    def _keep_inputs(self, branch: int, network: nn.Module, inputs: Any, output: Any) -> None:
        if branch in self._seen:
            self._inputs[branch] = _row_vectors(*self._seen.pop(branch), logits_of(output))


def _row_vectors(inputs: Tensor, scores: Tensor, logits: Any) -> Float[Tensor, "batch *tokens dim"]:
    if inputs.dim() == 3 and isinstance(logits, Tensor) and logits.dim() == 2:
        # A decoder scores every token, and picks one: only the scores show which, for padding on either side.
        token = (scores - logits[:, None]).abs().sum(dim=-1).argmin(dim=1)
        return inputs[torch.arange(len(inputs), device=inputs.device), token]
    of_tokens = inputs.dim() == 3 and isinstance(logits, Tensor) and logits.shape[:2] == inputs.shape[:2]
    return inputs if of_tokens else inputs.flatten(start_dim=1)


def networks_of(model: nn.Module) -> list[nn.Module]:
    """The branches of a branched model, or the model alone; wrappers are looked through."""
    model = unwrapped(model)
    for module in model.modules():
        if getattr(getattr(module, "config", None), "model_type", None) == _BRANCHED and hasattr(module, "branches"):
            return list(cast(nn.ModuleList, module.branches))
    return [model]


def logits_by_branch(outputs: Any) -> Float[Tensor, "branch batch *rows classes"]:
    """Logits of each branch in the output of a model; an ordinary model counts as one branch."""
    logits: Tensor | None = getattr(outputs, "branch_logits", None)
    if logits is not None:
        return logits.transpose(0, 1)
    alone: Tensor = logits_of(outputs)
    return alone[None]


def accepted_inputs(model: nn.Module) -> set[str] | None:
    """Names of the inputs that `forward` accepts; None if it accepts anything."""
    base = base_model(model)
    if hasattr(base, "branch_inputs"):  # passes on what its networks accept
        inputs = cast("set[str] | None", base.branch_inputs)
        return None if inputs is None else {*inputs, LABELS}
    named, anything = named_inputs(model), any(one.kind is one.VAR_KEYWORD for one in _parameters(base))
    # Models of transformers take options of the loss and the attention through **kwargs, where a typo gets lost.
    names_its_input = isinstance(base, PreTrainedModel) and base.main_input_name in named
    return None if anything and not names_its_input else named or None


def named_inputs(model: nn.Module) -> set[str]:
    """Names of the arguments of `forward`, without those that `**kwargs` would take."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {one.name for one in _parameters(base_model(model)) if one.kind not in variable}


def given_inputs(inputs: dict[str, Any], accepted: set[str] | None) -> dict[str, Any]:
    """The inputs that are not None, of those that are accepted."""
    return {n: value for n, value in inputs.items() if value is not None and (accepted is None or n in accepted)}


def labels_argument(model: nn.Module, label_names: Collection[str] = (LABELS,)) -> str | None:
    """The argument by which the model has to be given labels; None if it does without, as those of transformers."""
    base = base_model(model)
    named = {one.name: one for one in _parameters(base)}
    found = next((name for name in (*label_names, LABELS, LABEL) if name in named), None)
    if is_known(base):
        return found if found is not None and named[found].default is inspect.Parameter.empty else None
    return LABELS if found is None and accepted_inputs(base) is None else found


def is_known(base: nn.Module) -> bool:
    """Whether a model is not of the user's own writing."""
    return type(base).__module__.startswith(("transformers.", "hf_noisy."))


def base_model(model: nn.Module) -> nn.Module:
    """The model without wrappers and adapters of PEFT."""
    model = unwrapped(model)
    base: nn.Module = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return base


def _parameters(base: nn.Module) -> Collection[inspect.Parameter]:
    return inspect.signature(base.forward).parameters.values()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without wrappers (DDP, `torch.compile`)."""
    if not hasattr(model, "module") and not hasattr(model, "_orig_mod"):
        return model  # no wrapper; asked in every step, and the call below searches for installed packages
    inner: nn.Module = extract_model_from_parallel(model, keep_torch_compile=False)
    return inner


def _linears(model: nn.Module) -> Iterator[nn.Linear]:
    for name, module in model.named_modules():
        parts = name.split(".")
        # Copies that PEFT keeps of a layer it replaced, and the low-rank factors of its adapters.
        of_peft = "original_module" in parts or any(part.startswith("lora_") for part in parts)
        if isinstance(module, nn.Linear) and not of_peft:
            yield module


def _final_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer with as many outputs as there are classes, whatever its name."""
    count = num_classes(model)
    heads = [module for module in _linears(model) if module.out_features == count]
    if heads:
        return heads[-1]
    name, config, linears = type(model).__name__, getattr(model, "config", None), list(_linears(model))
    if linears and not isinstance(model, PreTrainedModel) and hasattr(config, "num_labels"):
        raise ValueError(
            f"{name} has config.num_labels={count}, but no linear layer with {count} outputs, and the last one has "
            f"{linears[-1].out_features}; set config.num_labels to the number of classes"
        )
    raise ValueError(
        f"{name} has no linear layer with {count} outputs (one per class); pass a classifier, such as one from "
        f"{AUTO_CLASS_NAMES}"
    )
