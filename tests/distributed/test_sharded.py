"""Under FSDP2 and DeepSpeed ZeRO-2 two processes do what one does, or say that they cannot."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed import launch, sharded_worker, worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend"),
]


def launched(config: str, folder: Path, **variables: str) -> Path:
    launch.accelerate(config, "tests.distributed.sharded_worker", folder, **variables)
    return folder


@pytest.fixture(scope="module")
def fsdp2(tmp_path_factory) -> Path:
    return launched("fsdp2", tmp_path_factory.mktemp("fsdp2"))


@pytest.fixture(scope="module")
def zero2(tmp_path_factory) -> Path:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    return launched("deepspeed_zero2", tmp_path_factory.mktemp("zero2"), DS_ACCELERATOR="cpu")


def read(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name.replace('/', '-')}-0.safetensors")


def check(kind: str, folder: Path, tmp_path: Path) -> None:
    cases = [name for name in sharded_worker.CASES if kind == "zero2" or name not in sharded_worker.WHOLE_WEIGHTS]
    for name in cases:
        found, alone = read(folder, name), worker.results(name, tmp_path, 1)
        alone = {key: value for key, value in alone.items() if not key.startswith("method.")}
        assert found.keys() == alone.keys(), name
        for key, value in alone.items():
            assert torch.allclose(found[key], value, rtol=0, atol=1e-5 if key.startswith("log.") else 2e-6), (
                name,
                key,
            )
    worker.record(tmp_path / "recorded", 1)
    worker.check_recorded(folder / "recorded", tmp_path / "recorded")
    for method in ("coregularization", "jocor"):
        assert all(gap == 0 for gap in read(folder, f"resumed-{method}").values())
    assert all(abs(gap) < 1e-6 for gap in read(folder, "saved").values())


def test_fsdp2_is_one_process(fsdp2, tmp_path):
    check("fsdp2", fsdp2, tmp_path)


def test_zero2_is_one_process(zero2, tmp_path):
    check("zero2", zero2, tmp_path)


@pytest.mark.parametrize(
    ("position", "sentence"),
    [
        (0, "evaluate() and predict() before train() cannot work under FSDP2"),
        (1, "method 'nrd' averages whole weights, which no process holds under fully sharded parameters"),
        (2, "model has branches that share one backbone (lora or shared_layers), which FSDP cannot shard"),
        (3, "fsdp_state_dict_type is SHARDED_STATE_DICT, which saves no model"),
    ],
)
def test_what_fsdp2_cannot_do_is_refused(position, sentence, fsdp2):
    for rank in range(2):
        told = (fsdp2 / f"refused-{rank}.txt").read_text().splitlines()
        assert told[position].startswith(sentence)
