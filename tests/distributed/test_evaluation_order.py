"""Two processes predict in batches of like length what one does, and hand it back in the order of the rows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend"),
]


def predict(folder: Path) -> None:
    from tests.unit.training.test_by_length import make, texts, widths

    rows, seen = texts(), []
    trainer = make(folder, compute_metrics=lambda given: seen.append(given.label_ids.tolist()) or {})
    tokens = widths(trainer)
    output = trainer.predict(rows)
    assert seen == [list(rows["label"])]
    # The last round begins anew with the longest rows where there are too few.
    own = tokens[:-5]
    assert own == sorted(own, reverse=True)
    rank = os.environ.get("RANK", "alone")
    np.savez(folder / f"{rank}.npz", predictions=output.predictions, labels=output.label_ids)


def test_two_processes_predict_in_the_order_of_the_rows(tmp_path):
    predict(tmp_path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, "-m", "tests.distributed.test_evaluation_order", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    alone, *ranks = (np.load(tmp_path / f"{name}.npz") for name in ("alone", 0, 1))
    for rank in ranks:
        np.testing.assert_array_equal(rank["labels"], alone["labels"])
        np.testing.assert_allclose(rank["predictions"], alone["predictions"], atol=1e-6)


if __name__ == "__main__":
    predict(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
