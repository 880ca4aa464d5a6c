"""The number format that a frozen encoder computes in."""

from typing import Any, Literal, get_args

import torch

Dtype = Literal["auto", "float32", "bfloat16"]
_CPU_UNITS = ("avx512_bf16", "amx_bf16")


def compute_dtype(dtype: str, device: torch.device | None = None) -> Literal["float32", "bfloat16"]:
    """The format that `dtype` means on a device: with `"auto"`, bfloat16 where the hardware has units for it."""
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got '{dtype}'")
    if dtype == "auto":
        return "bfloat16" if has_bfloat16(device or default_device()) else "float32"
    return "bfloat16" if dtype == "bfloat16" else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on the device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch do not say what the CPU can do.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(capabilities.get(unit) for unit in _CPU_UNITS)


def default_device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
