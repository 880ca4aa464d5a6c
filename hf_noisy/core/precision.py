"""The number format of matrix products: bfloat16 where the hardware has instructions for it."""

from typing import Literal, get_args

import torch
from transformers.utils.import_utils import is_torch_bf16_gpu_available

Dtype = Literal["auto", "float32", "bfloat16"]


def has_fast_bfloat16(device_type: str) -> bool:
    """Whether a kind of device ("cpu", "cuda", ...) has instructions for bfloat16; other CPUs only emulate them."""
    if device_type != "cpu":
        return bool(is_torch_bf16_gpu_available())
    # Private to torch, hence the default; the public `get_capabilities` is newer than the lowest version allowed.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def compute_dtype(dtype: str, device_type: str | None = None) -> Literal["float32", "bfloat16"]:
    """The format that `dtype` means on a kind of device, by default on the accelerator of this machine or its CPU."""
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got '{dtype}'")
    if dtype == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return "bfloat16" if has_fast_bfloat16(device_type or str(getattr(accelerator, "type", "cpu"))) else "float32"
    return "bfloat16" if dtype == "bfloat16" else "float32"
