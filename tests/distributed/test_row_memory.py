"""A table of rows is the same on two processes, and the one that a single process would have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from hf_noisy.methods.row_memory import RowMemory

ROOT = Path(__file__).parents[2]
ROWS = 12
# Rows that each of two processes writes: as many, more on one than on the other, and one that both write.
WRITES = [([0, 1, 2], [6, 7, 8]), ([3, 11], [9, 10, 4, 2]), ([5, 0], [0, 5])]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend"),
]


def entries(write: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    index = torch.tensor(WRITES[write][rank])
    return index, 100.0 * write + 10.0 * rank + index[:, None] + torch.tensor([0.0, 0.5])


def main(folder: Path) -> None:
    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    memory = RowMemory(ROWS, (2,), accelerator, fill=-1.0)
    for write in range(len(WRITES)):
        memory.write(*entries(write, rank))
    save_file({"values": memory.values, "read": memory.read(torch.tensor([2, 10]))}, folder / f"{rank}.safetensors")
    torch.distributed.destroy_process_group()


def test_two_processes_hold_one_table(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, "-m", "tests.distributed.test_row_memory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    alone = RowMemory(ROWS, (2,), Accelerator(cpu=True), fill=-1.0)
    for write in range(len(WRITES)):
        alone.write(*(torch.cat(parts) for parts in zip(*(entries(write, rank) for rank in range(2)), strict=True)))
    assert (alone.values != -1.0).all()
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert torch.equal(found["values"], alone.values)
        assert torch.equal(found["read"], alone.values[[2, 10]])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
