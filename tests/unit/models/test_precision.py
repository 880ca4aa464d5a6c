import pytest
import torch

from hf_noisy.models import precision
from hf_noisy.models.precision import compute_dtype, default_device, has_bfloat16


def test_bfloat16_where_the_hardware_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for units, expected in (({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: {"avx2": True, **units}, raising=False)
        assert compute_dtype("auto", cpu) == expected
        assert compute_dtype("float32", cpu) == "float32"
        assert compute_dtype("bfloat16", cpu) == "bfloat16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert has_bfloat16(torch.device("cuda"))
    assert not has_bfloat16(torch.device("meta"))


def test_without_an_accelerator_the_device_is_the_cpu(monkeypatch):
    assert torch.accelerator.is_available() or default_device().type == "cpu"
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: device.type == default_device().type)
    assert compute_dtype("auto") == "bfloat16"


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="dtype must be one of auto, float32, bfloat16, got 'float16'"):
        compute_dtype("float16")
