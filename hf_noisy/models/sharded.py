"""Checks before training for what cannot work with sharded weights (FSDP, DeepSpeed ZeRO-3)."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator


def sharded_by(accelerator: "Accelerator") -> str | None:
    """What shards weights over processes; None if every process has whole weights, as under DDP and ZeRO-2."""
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED":
        return "DeepSpeed ZeRO-3" if accelerator.state.deepspeed_plugin.zero_stage == 3 else None
    return {"FSDP": "FSDP", "MEGATRON_LM": "Megatron-LM"}.get(kind)


def check_can_be_sharded(model: nn.Module, accelerator: "Accelerator") -> None:
    """Refuse models and settings that cannot be trained, or not saved, with sharded weights."""
    kind = sharded_by(accelerator)
    if kind is None:
        return
    config = getattr(model, "config", None)
    if getattr(config, "lora", None) is not None or getattr(config, "shared_layers", False):
        raise ValueError(
            f"model has branches that share one backbone (lora or shared_layers), which {kind} cannot shard; make the "
            "branches with lora=None and shared_layers=0, or use DDP or DeepSpeed ZeRO-2"
        )
    saved = accelerator.state.fsdp_plugin.state_dict_type.name if kind == "FSDP" else ""
    if saved == "SHARDED_STATE_DICT":
        raise ValueError(
            f"fsdp_state_dict_type is {saved}, which saves no model that from_pretrained "
            "loads; set it to FULL_STATE_DICT, as in examples/accelerate/fsdp2.yaml"
        )


def check_can_evaluate(accelerator: "Accelerator") -> None:
    """Refuse evaluation before training under FSDP2, which shards a model only together with its optimizer."""
    if getattr(accelerator, "is_fsdp2", False) and not accelerator._models:
        raise ValueError(
            "evaluate() and predict() before train() cannot work under FSDP2, which shards a model only with its "
            "optimizer; call train() first, or launch the evaluation with DDP"
        )
