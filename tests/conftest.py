"""What all tests share. No test may reach a network."""

import os
from pathlib import Path

# Read once, when the libraries are imported: set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks():
    """No test cuts the power, and on a busy disk syncing would cost more than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; skips where there is none."""
    folder = os.environ.get("HF_NOISY_DATA_DIR")
    if not folder:
        pytest.skip("needs real data: set HF_NOISY_DATA_DIR to the folder that holds it")
    if not Path(folder).is_dir():
        pytest.skip("needs real data: HF_NOISY_DATA_DIR names no folder")
    return Path(folder)
