"""What the tests of builders share: a cache of prepared datasets of their own."""

import datasets
import pytest


@pytest.fixture(scope="package", autouse=True)
def own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
    yield
    patch.undo()


@pytest.fixture
def no_general_folder(monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
