import pytest
import torch

from hf_noisy.core import precision
from hf_noisy.core.precision import compute_dtype, has_fast_bfloat16


def test_bfloat16_where_the_hardware_has_it(monkeypatch):
    for avx, amx, expected in ((True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        assert compute_dtype("auto", "cpu") == expected
        assert compute_dtype("float32", "cpu") == "float32"
        assert compute_dtype("bfloat16", "cpu") == "bfloat16"
    monkeypatch.setattr(precision, "is_torch_bf16_gpu_available", lambda: True)
    assert has_fast_bfloat16("cuda")


def test_without_an_accelerator_the_device_is_the_cpu(monkeypatch):
    asked = []
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda kind: asked.append(kind) or True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert compute_dtype("auto") == "bfloat16"
    assert asked == ["cpu"]


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="dtype must be one of auto, float32, bfloat16, got 'float16'"):
        compute_dtype("float16")
