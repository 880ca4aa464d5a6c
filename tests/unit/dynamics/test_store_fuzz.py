import numpy as np
import pytest

from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dynamics.store import Trajectories
from tests.fuzz import fuzz


@pytest.fixture
def recorded(tmp_path):
    splits = {"train": {"rows": 6, "labels": labels_digest(np.arange(6) % 3)}, "test": {"rows": 2, "labels": None}}
    sizes = {"num_branches": 2, "num_classes": 3, "dim": 4, "dtype": "float16"}
    made, rng = Trajectories.create(tmp_path / "run", {**sizes, "splits": splits}), np.random.default_rng(0)
    for split, rows in (("train", 6), ("test", 2)):
        made.write_features(split, rng.normal(size=(rows, 5)).astype(np.float32))
        for epoch in (1, 2):
            made.write(split, epoch, *(rng.normal(size=(2, rows, width)).astype(np.float16) for width in (4, 3)))
    return made.path


def everything(path):
    found = Trajectories(path)
    values = {"epochs": found.epochs, "manifest": found.manifest}
    for split in found.splits:
        values[f"{split} logits"] = found.logits(split)
        values[f"{split} features"] = found.features(split)
        for epoch in found.epochs:
            for branch in range(found.num_branches):
                values[f"{split} {epoch} {branch}"] = found.embeddings(split, epoch, branch)
    return values


def test_damaged_files_give_the_same_values_or_one_sentence(recorded, tmp_path):
    assert fuzz(recorded, tmp_path / "copies", everything, times=60) > 40


@pytest.mark.slow
def test_damaged_files_at_length(recorded, tmp_path):
    assert fuzz(recorded, tmp_path / "copies", everything, times=1000, seed=1) > 750


def test_the_fuzz_finds_a_reader_that_trusts_its_files(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_noisy.dynamics.run_files.check_digest", lambda *_: None)
    with pytest.raises(AssertionError):
        fuzz(recorded, tmp_path / "copies", everything, times=60)
