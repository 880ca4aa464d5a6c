"""What all tests share. No test may reach a network."""

import gc
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

# Read once, when the libraries are imported: set before any of them is. Each process of the tests has a cache of its
# own, so that two do not write to one, and none reads what an earlier run left behind.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf_noisy_tests_")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import numpy as np
import pytest
import torch
from hypothesis import settings

CACHE = os.environ["HF_HOME"]

# `make test` draws the same examples every time, `make test-slow` others: --hypothesis-profile=random. No profile has
# a deadline, since a busy machine would miss it.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("fixed")


frozen = {"file": None, "imports": 0}


def leave_imports_out_of_collections(file: Path):
    """`Trainer` collects garbage whenever it begins, which takes longer the more has been imported."""
    # Between two files, when the fixtures of the one are gone.
    if file != frozen["file"] and len(sys.modules) > frozen["imports"] + 100:
        gc.collect()
        gc.freeze()
        frozen["imports"] = len(sys.modules)
    frozen["file"] = file


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Start every test, and the fixtures made for it, from the same global random state."""
    leave_imports_out_of_collections(item.path)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


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


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of `datasets` of the module's own."""
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
    yield
    patch.undo()
