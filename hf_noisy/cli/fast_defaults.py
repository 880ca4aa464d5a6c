"""Defaults of training that are faster than those of `TrainingArguments`, where the machine allows."""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainingArguments

from hf_noisy.core.precision import has_fast_bfloat16
from hf_noisy.models.inference import unfuse_attention

# What `training_settings` stores of the arguments of a training.
_STORED: tuple[str, ...] = (
    "optim",
    "weight_decay",
    "lr_scheduler_type",
    "warmup_steps",
    "max_grad_norm",
    "bf16",
    "fp16",
)
_STORED += ("bf16", "fp16", "train_sampling_strategy", "per_device_train_batch_size", "gradient_accumulation_steps")


def fast_defaults(parser: ArgumentParser, kind: Any, words: Sequence[str]) -> dict[str, Any]:
    """Defaults for what the words leave open: the device, bfloat16, rows grouped by length, the rate of adapters."""
    parser.set_defaults(bf16=None, fp16=None, use_cpu=None, learning_rate=None)
    given, _ = parser.parse_known_args([word for word in words if word not in ("-h", "--help")])
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    # Without it, TrainingArguments refuses bf16 on a machine that has only a CPU.
    use_cpu = accelerator is None if given.use_cpu is None else given.use_cpu
    device = "cpu" if use_cpu or accelerator is None else accelerator.type
    # `accelerate launch` always sets the variable, from its configuration.
    is_open = given.fp16 is None and "ACCELERATE_MIXED_PRECISION" not in os.environ
    fast = device in getattr(kind, "bf16_devices", ()) and has_fast_bfloat16(device)
    defaults = {"use_cpu": use_cpu, "fp16": False, "bf16": is_open and fast}
    defaults |= {} if kind is None else getattr(kind, "fast_defaults", {})
    parser.set_defaults(learning_rate=TrainingArguments.learning_rate)
    if kind is not None and getattr(given, "branches", "") == "lora" and given.learning_rate is None:
        # The plain classifier beside DyGEN keeps the learning rate of all weights.
        name = "branch_learning_rate" if hasattr(given, "branch_learning_rate") else "learning_rate"
        defaults[name] = kind.lora_learning_rate
    return defaults


def fast_attention(model: Any, training: TrainingArguments) -> Any:
    """The model, with the attention that is fast in the precision of the training."""
    if training.bf16 and training.device.type == "cpu":
        unfuse_attention(model)
    return model


def training_settings(training: TrainingArguments) -> dict[str, Any]:
    """The settings of a training that its results store."""
    return {name: value for name, value in training.to_sanitized_dict().items() if name in _STORED}


def say_speed(training: TrainingArguments) -> None:
    """Print the precision and the order of rows, which change results slightly."""
    if training.process_index:
        return
    precision = "bfloat16" if training.bf16 else "float16" if training.fp16 else "float32"
    order = {"group_by_length": "rows of similar length in a batch", "random": "rows in random order"}
    strategy = str(training.train_sampling_strategy)
    print(
        f"training in {precision} on {training.device.type}, {order.get(strategy, strategy)} "
        "(options --bf16 and --train_sampling_strategy)"
    )
