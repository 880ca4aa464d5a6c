"""One vector per row from the hidden states of an encoder."""

import inspect
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from hf_noisy.core.columns import LABELS
from hf_noisy.core.task import TASKS
from hf_noisy.models.heads import find_heads, networks_of, unwrapped

Pooling = Literal["auto", "mean", "first", "pooler"]


def pool(
    pooling: Pooling, hidden: Float[Tensor, "batch ..."], pooler: Tensor | None, mask: Tensor | None
) -> Float[Tensor, "batch width"]:
    """One vector per row; `"auto"` is the mean for texts, and for images the pooler output or else the first token."""
    if pooling == "pooler" and pooler is None:
        raise ValueError("pooling='pooler' needs a model with a pooler_output; take 'mean' or 'first'")
    if pooler is not None and (pooling == "pooler" or (pooling == "auto" and mask is None)):
        return pooler.flatten(1)
    if hidden.ndim == 4:  # a feature map [batch, channel, height, width]
        return hidden.flatten(2).mean(-1)
    if pooling == "first" or (pooling == "auto" and mask is None):
        return hidden[:, 0]
    if mask is None or mask.shape != hidden.shape[:2]:  # Funnel shortens the sequence, Perceiver has latent positions
        return hidden.mean(1)
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool_outputs(
    encoder: nn.Module, outputs: Any, pooling: Pooling, mask: Tensor | None
) -> Float[Tensor, "batch width"]:
    """[`pool`] for the outputs of an encoder."""
    hidden = getattr(outputs, "last_hidden_state", None)
    if hidden is None:
        raise ValueError(
            f"model {type(encoder).__name__} returns no last_hidden_state to pool; pass an encoder, as from AutoModel"
        )
    return pool(pooling, hidden.float(), getattr(outputs, "pooler_output", None), mask)


def has_pooled_features(model: nn.Module) -> bool:
    """Whether the model is a transformers model with an encoder below its head."""
    return encoder_of(model) is not None


def pooled_features(model: nn.Module, inputs: dict[str, Tensor]) -> Float[Tensor, "batch dim"]:
    """Mean of the (first branch's) encoder's last hidden states over non-padding tokens or image positions."""
    encoder = encoder_of(model)
    if encoder is None:
        raise ValueError(f"{type(model).__name__} has no encoder below its head; pass a classifier of transformers")

    def run(**inputs: Tensor) -> Tensor:
        return pool("mean", _last_hidden_state(model, encoder, inputs), None, inputs.get("attention_mask"))

    base: Any = unwrapped(model)
    inputs = {name: value for name, value in inputs.items() if name != LABELS}
    found: Tensor = base.with_shared_outputs(inputs, run) if hasattr(base, "with_shared_outputs") else run(**inputs)
    return found


def _last_hidden_state(model: nn.Module, encoder: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    from torch.distributed.fsdp import FSDPModule

    accepted = inspect.signature(encoder.forward).parameters
    is_sharded = any(isinstance(module, FSDPModule) for module in model.modules())  # gathered for the whole model only
    derives = getattr(getattr(encoder, "config", None), "is_encoder_decoder", False)  # the decoder's input
    known = {name: inputs[name] for name in inputs if name in accepted}
    if not is_sharded and not derives and known.keys() - {"attention_mask", "token_type_ids"}:
        hidden: Tensor = _first_output(encoder(**known))
        return hidden
    # The classifier gives the encoder its inputs in the form that it takes.
    seen: list[Tensor] = []
    hook = encoder.register_forward_hook(lambda module, given, output: seen.append(_first_output(output)))
    try:
        (model if is_sharded else networks_of(model)[0])(**inputs)
    finally:
        hook.remove()
    if not seen:
        raise ValueError(f"{type(model).__name__} does not call its encoder; add a column 'features' with embed")
    return seen[0]


def _first_output(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs
    return outputs[0] if isinstance(outputs, tuple) else outputs.last_hidden_state


def encoder_of(model: nn.Module) -> Any:
    """What lies below the head of the (first branch's) network of transformers, or None."""
    network: Any = networks_of(model)[0]
    if hasattr(network, "get_base_model"):
        network = network.get_base_model()
    encoder: Any = getattr(network, "base_model", None)
    if encoder is not network:
        return encoder
    # Some classifiers have no part of the name that their class gives to the encoder (HGNetV2, MetaCLIP 2).
    is_classifier = any(type(network) in task.model_classes(network.config) for task in TASKS.values())
    return _last_part(network) if is_classifier else None


def _last_part(network: nn.Module) -> nn.Module | None:
    """The last part with weights before the head."""
    (head,) = find_heads(network)
    parts = [part for part in network.children() if any(True for _ in part.parameters())]
    return next((part for part in reversed(parts) if all(module is not head for module in part.modules())), None)
