"""Whether this machine computes matrix products in bfloat16 faster than in float32."""

import torch
from transformers.utils import is_torch_bf16_gpu_available


def has_fast_bfloat16(device_type: str) -> bool:
    """Whether a kind of device ("cpu", "cuda", ...) has instructions for bfloat16; other CPUs only emulate them."""
    if device_type != "cpu":
        return bool(is_torch_bf16_gpu_available())
    # Private to torch, hence the default; the public `get_capabilities` is newer than the lowest version allowed.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
