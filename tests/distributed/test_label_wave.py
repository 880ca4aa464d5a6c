"""Two processes stop where one does, and hold the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file

from hf_noisy.dynamics.label_wave import FOLDER, LabelWave
from tests.contract.runs import distance, make_rows, run

ROOT = Path(__file__).parents[2]
SCRIPT = [9, 6, 3, 2, 3, 9, 1]  # averages of three: 6, 3.67, 2.67 (epoch 6), 4.67 (epoch 7)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend"),
]


class Counted(LabelWave):
    """Predicts the rows, and then lets the script say how many have changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[list[int]] = []

    def _predict(self, args: Any, kwargs: Any) -> Any:
        self.seen.append(super()._predict(args, kwargs).tolist())
        last = np.zeros(24, dtype=np.int32) if self._predictions is None else self._predictions.copy()
        last[: SCRIPT[self.epoch - 1] if self.epoch else 0] += 1
        return last


def train(folder: Path, ranks: int) -> tuple[Any, Counted]:
    wave = Counted()
    settings = {"rows": make_rows("plain", 24), "per_device_train_batch_size": 8 // ranks, "num_train_epochs": 9}
    return run(folder, "nrd", "plain", trainer={"callbacks": [wave]}, **settings), wave


def main(folder: Path) -> None:
    rank = PartialState(cpu=True).process_index
    # Each rank has a disk of its own.
    trainer, wave = train(folder / f"disk-{rank}", 2)
    state = {f"model.{key}": value.clone() for key, value in trainer.model.state_dict().items()}
    state |= {f"method.{key}": value.clone() for key, value in trainer.method.state_dict().items()}
    save_file(state, folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps([wave.epoch, wave.candidate, wave.seen]))
    torch.distributed.destroy_process_group()


def test_two_processes_decide_as_one(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, "-m", "tests.distributed.test_label_wave", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert not (tmp_path / "disk-1" / FOLDER).exists()
    alone, wave = train(tmp_path / "alone", 1)
    assert (wave.epoch, wave.candidate) == (7, 6)
    expected = {f"model.{key}": value for key, value in alone.model.state_dict().items()}
    expected |= {f"method.{key}": value for key, value in alone.method.state_dict().items()}
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [7, 6, wave.seen]
        assert distance(load_file(tmp_path / f"{rank}.safetensors"), expected) < 1e-6


if __name__ == "__main__":
    main(Path(sys.argv[1]))
