from pathlib import Path

import pytest
import torch

from tests.distributed import launch


@pytest.fixture(scope="session")
def launched(tmp_path_factory) -> Path:
    """The folder where two ranks left the results of all runs; they are started once for all tests."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("needs the gloo backend")
    folder = tmp_path_factory.mktemp("ranks")
    launch.torchrun("tests.distributed.worker", folder)
    return folder
