"""The inputs and labels that a model takes from a batch, and the forms of its outputs."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn
from transformers.utils import logging
from transformers.utils.generic import ModelOutput

from hf_noisy.core.columns import LABELS
from hf_noisy.core.rows import Task
from hf_noisy.methods import LossMethod, Method, ModelLoss
from hf_noisy.models.heads import accepted_inputs, base_model, is_known, labels_argument, networks_of

logger = logging.get_logger(__name__)


def label_name(batch: Mapping[str, Any], label_names: Collection[str]) -> str | None:
    """The name of the labels in a batch, if it has any."""
    return next((name for name in (*label_names, LABELS) if batch.get(name) is not None), None)


def pop_labels(batch: dict[str, Any], label_names: Collection[str]) -> Any:
    """The labels of a batch, which are removed from it; `ValueError` if there are none."""
    if (name := label_name(batch, label_names)) is None:
        raise ValueError("the batch has no labels; name the label column 'label' or 'labels'")
    return batch.pop(name)


def model_inputs(
    model: nn.Module, batch: dict[str, Any], labels: Tensor, label_names: Collection[str], task: Task
) -> dict[str, Any]:
    """What the model accepts of a batch, with the labels if it cannot do without."""
    accepted, argument = accepted_inputs(model), labels_argument(model, label_names)
    inputs = {name: value for name, value in batch.items() if accepted is None or name in accepted}
    if argument is not None:
        inputs[argument] = task.for_model(labels)  # the model's own loss is not used
    return inputs


def with_loss(outputs: Any, loss: Tensor) -> Any:
    """The output of a model with a loss, where models of transformers have theirs: first."""
    if isinstance(outputs, Tensor):
        return (loss, outputs)
    if isinstance(outputs, tuple | list):
        rest = outputs[1:] if isinstance(outputs[0], Tensor) and outputs[0].ndim == 0 else outputs
        return (loss, *rest)
    if isinstance(outputs, ModelOutput) and hasattr(outputs, "loss"):
        return type(outputs)(**{**outputs, "loss": loss})
    others = outputs if isinstance(outputs, Mapping) else {"logits": outputs.logits}
    return {"loss": loss, **{name: value for name, value in others.items() if name != "loss"}}


def tell_of_own_loss(model: nn.Module, method: Method, label_names: Collection[str]) -> None:
    """Log that the loss of a model that is not of transformers is not used."""
    if isinstance(method, ModelLoss):
        return
    base = base_model(networks_of(model)[0])
    if "_loss_function" in vars(base) or (not is_known(base) and labels_argument(base, label_names)):
        name = type(method.loss if isinstance(method, LossMethod) else method).__name__
        logger.warning(
            f"a loss that {type(base).__name__} computes from labels is not used: {name} computes it from the logits "
            "(to use it: method='model_loss'; weights of classes: class_weight=..., of rows: a column label_weight)"
        )
