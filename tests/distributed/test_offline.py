"""Embedding, purification, loading and DyGEN give on several processes what they give on one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed import launch, offline, worker

ROUNDING = 1e-6  # of passes with other rows in them


def check(folder: Path, ranks: int, tmp_path: Path) -> None:
    trajectories = worker.record(tmp_path / "recorded", 1).trajectories
    alone, said = offline.results(tmp_path / "offline", trajectories)
    assert said["refused"] == "nothing was refused"
    assert len(alone) > 20
    for rank in range(ranks):
        found = load_file(folder / f"offline-{rank}.safetensors")
        assert found.keys() == alone.keys()
        for name, values in alone.items():
            close = torch.allclose(found[name], values, rtol=0, atol=ROUNDING)
            assert close if name.startswith("embed.") else torch.equal(found[name], values), (name, rank)
        told = json.loads((folder / f"said-{rank}.json").read_text())
        assert told["refused"].startswith("model has different weights on different processes")
        # One file for each column: the parts are gone, and nobody left half a file behind.
        embedded = [name for name in told["files"] if name.startswith("embed/")]
        assert len(embedded) == len([name for name in said["files"] if name.startswith("embed/")]) == 3
        assert not [name for name in told["files"] if "tmp" in Path(name).name.lower()]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_processes_are_one(ranks, tmp_path):
    (tmp_path / "ranks").mkdir()
    launch.torchrun("tests.distributed.worker", tmp_path / "ranks", "offline", ranks=ranks, timeout=900)
    check(tmp_path / "ranks", ranks, tmp_path)
    recorded = tmp_path / "ranks" / "recorded"
    worker.check_recorded(recorded, tmp_path / "recorded")
