import json

import numpy as np
import pytest
from safetensors import safe_open

from hf_noisy.core import files
from hf_noisy.core.files import write_sealed
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dynamics import store
from hf_noisy.dynamics.run_files import MANIFEST
from hf_noisy.dynamics.store import FOLDER, Trajectories

LABELS = np.array([0, 1, 1, 0])
SPLITS = {"train": {"rows": 4, "labels": labels_digest(LABELS)}, "test": {"rows": 4, "labels": None}}
SIZES = {"num_branches": 2, "num_classes": 3, "dim": 5, "dtype": "float16"}


def create(path) -> Trajectories:
    return Trajectories.create(path, {**SIZES, "splits": SPLITS})


def write(
    trajectories: Trajectories, epoch: int, splits=("train", "test")
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    written = {}
    for number, split in enumerate(splits):
        numbers = np.random.default_rng([epoch, number])
        arrays = [numbers.normal(size=(2, 4, width)).astype(np.float16) for width in (5, 3)]
        trajectories.write(split, epoch, *arrays)
        written[split] = (arrays[0], arrays[1])
    return written


def test_what_was_written_is_read(tmp_path):
    trajectories = create(tmp_path / FOLDER)
    written = [write(trajectories, epoch) for epoch in (1, 2)]
    read = Trajectories(tmp_path)
    assert (read.splits, read.num_branches, read.num_classes, read.dim) == (["train", "test"], 2, 3, 5)
    assert read.epochs == [1, 2]
    assert read.num_epochs == 2
    assert read.num_rows("train") == 4
    for split in read.splits:
        assert read.logits(split).shape == (2, 2, 4, 3)
        for epoch in (1, 2):
            embeddings, logits = written[epoch - 1][split]
            assert read.embeddings(split, epoch, 1).dtype == np.float32
            np.testing.assert_array_equal(read.embeddings(split, epoch, 1), embeddings[1])
            np.testing.assert_array_equal(read.logits(split)[epoch - 1], logits)


def test_features_are_there_or_not(tmp_path):
    trajectories = create(tmp_path)
    assert trajectories.features("train") is None
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    trajectories.write_features("train", features)
    np.testing.assert_array_equal(Trajectories(tmp_path).features("train"), features)


def test_half_written_epochs_are_not_read(tmp_path):
    trajectories = create(tmp_path)
    write(trajectories, 1)
    write(trajectories, 2, splits=("train",))
    (tmp_path / "train" / "epoch-003-branch-0.tmp").write_bytes(b"half")
    (tmp_path / "train" / "epoch-003-branch-0.safetensors.part").write_bytes(b"half")
    assert Trajectories(tmp_path).epochs == [1]
    (tmp_path / "test" / "epoch-003-branch-1.safetensors").write_bytes(b"never listed")
    assert Trajectories(tmp_path).epochs == [1]
    (tmp_path / "test" / "epoch-001-branch-1.safetensors").unlink()
    with pytest.raises(ValueError, match=r"epoch-001-branch-1\.safetensors' is missing; put it back"):
        Trajectories(tmp_path).logits("test")


def test_interrupted_writing_leaves_no_file_under_the_final_name(tmp_path, monkeypatch):
    trajectories = create(tmp_path)
    monkeypatch.setattr(files.os, "replace", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(trajectories, 1)
    assert list(tmp_path.rglob("epoch-*.safetensors")) == []


def test_reading_is_lazy(tmp_path, monkeypatch):
    write(create(tmp_path), 1)
    opened = []

    def spy(file, framework):
        opened.append(file.name)
        return safe_open(file, framework=framework)

    monkeypatch.setattr(store, "safe_open", spy)
    trajectories = Trajectories(tmp_path)
    assert trajectories.epochs == [1]
    assert opened == []
    trajectories.embeddings("test", 1, 0)
    assert opened == ["epoch-001-branch-0.safetensors"]


def test_fresh_run_discards_old_files_and_no_others(tmp_path):
    old = create(tmp_path)
    write(old, 1)
    old.write_features("train", np.zeros((4, 2), np.float32))
    (tmp_path / "train" / "notes.txt").write_text("keep")
    fresh = create(tmp_path)
    assert fresh.epochs == []
    assert fresh.features("train") is None
    assert (tmp_path / "train" / "notes.txt").read_text() == "keep"


def test_other_labels_are_refused(tmp_path):
    trajectories = create(tmp_path)
    trajectories.check_labels("train", LABELS)
    trajectories.check_labels("train", LABELS.astype(np.int8))
    trajectories.check_labels("test", LABELS[::-1])
    for labels in (LABELS[::-1] ^ 1 ^ np.array([0, 0, 0, 1]), LABELS[:3]):
        with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 4 rows"):
            trajectories.check_labels("train", labels)


def test_what_is_not_there_is_named(tmp_path):
    trajectories = create(tmp_path)
    write(trajectories, 1)
    with pytest.raises(ValueError, match="epoch 2 of branch 0 was not recorded"):
        trajectories.embeddings("train", 2, 0)
    with pytest.raises(ValueError, match="split 'dev' was not recorded; choose one of train, test"):
        trajectories.embeddings("dev", 1, 0)
    with pytest.raises(FileNotFoundError, match="holds no trajectories; train with a DynamicsRecorder first"):
        Trajectories(tmp_path / "elsewhere")


def test_another_format_is_refused(tmp_path):
    create(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(
        ValueError, match=r"manifest\.json' is of format 99, but this version of hf_noisy reads format 2; make it"
    ):
        Trajectories(tmp_path)


@pytest.mark.parametrize("split", ["../x", "/x", "", "a\0b"])
def test_splits_cannot_leave_the_folder(split, tmp_path):
    with pytest.raises(ValueError, match="name of a dataset must be usable as a file name"):
        Trajectories.create(tmp_path / "run", {**SIZES, "splits": {split: {"rows": 1, "labels": None}}})
    assert list(tmp_path.rglob("*")) == []


def test_other_sizes_are_not_written(tmp_path):
    trajectories = create(tmp_path)
    right = np.zeros((2, 4, 5), np.float16), np.zeros((2, 4, 3), np.float16)
    for name, arrays in (
        ("embeddings", (right[0][:, :3], right[1])),
        ("embeddings", (right[0][:1], right[1])),
        ("logits", (right[0], np.zeros((2, 4, 4), np.float16))),
    ):
        with pytest.raises((ValueError, TypeError), match=f"{name}|write"):
            trajectories.write("train", 1, *arrays)
    with pytest.raises(ValueError, match="features of split 'train' must have 4 rows as in the manifest, got 3"):
        trajectories.write_features("train", np.zeros((3, 2), np.float32))
    assert Trajectories(tmp_path).epochs == []


def test_a_run_that_was_replaced_does_not_write_into_the_next(tmp_path):
    first = create(tmp_path)
    write(first, 1)
    second = create(tmp_path)
    with pytest.raises(ValueError, match=r"another run has started at .* since this one; give each its own output_d"):
        write(first, 2)
    write(second, 1)
    write(Trajectories(tmp_path), 2)
    write(second, 3)  # knows what others of its run have written
    assert Trajectories(tmp_path).epochs == [1, 2, 3]


def test_a_file_of_another_run_under_the_same_name_is_refused(tmp_path):
    write(create(tmp_path / "a"), 1)
    write(create(tmp_path / "b"), 1)
    later = Trajectories(tmp_path / "b")
    later.write("train", 1, np.ones((2, 4, 5), np.float16), np.ones((2, 4, 3), np.float16))
    name = "train/epoch-001-branch-0.safetensors"
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(ValueError, match=r"epoch-001-branch-0\.safetensors' is damaged or of another run"):
        Trajectories(tmp_path / "a").logits("train")


def test_an_epoch_that_is_written_anew_is_not_listed_while_it_is(tmp_path, monkeypatch):
    trajectories = create(tmp_path)
    write(trajectories, 1)
    monkeypatch.setattr(store, "write_tensors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(trajectories, 1)
    assert Trajectories(tmp_path).epochs == []


def forged(folder, **changes):
    """A manifest with a right checksum that says something else."""
    content = json.loads((folder / MANIFEST).read_text())
    del content["sha256"], content["format"]
    write_sealed(folder / MANIFEST, content | changes, 2)


SPLIT = {"rows": 4, "labels": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"../x": SPLIT}}, "name of a dataset must be usable as a file name"),
        ({"splits": {}}, "holds no valid sizes"),
        ({"splits": {"train": {"rows": -1}}}, "holds no valid sizes"),
        ({"num_branches": 0}, "holds no valid sizes"),
        ({"dim": "5"}, "holds no valid sizes"),
        ({"files": {"../../x.safetensors": "0"}}, "lists '../../x.safetensors', which is outside of its folder"),
        ({"files": {"/etc/epoch-001-branch-0.safetensors": "0"}}, "which is outside of its folder"),
        ({"files": {"other/epoch-001-branch-0.safetensors": "0"}}, "which no recording writes"),
        ({"files": ["x"]}, "names no run or no files"),
        ({"run": 3}, "names no run or no files"),
    ],
)
def test_a_forged_manifest_is_refused(changes, message, tmp_path):
    create(tmp_path)
    forged(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        Trajectories(tmp_path)


def test_forged_rows_are_refused(tmp_path):
    trajectories = create(tmp_path)
    write(trajectories, 1)
    forged(tmp_path, splits={name: {**SPLIT, "rows": 5} for name in ("train", "test")})
    with pytest.raises(ValueError, match="has 4 rows, other than the manifest"):
        Trajectories(tmp_path).embeddings("train", 1, 0)
    broken = np.full((2, 4, 5), np.nan, np.float16)
    trajectories = create(tmp_path)
    trajectories.write("train", 1, broken, np.zeros((2, 4, 3), np.float16))
    with pytest.raises(ValueError, match="holds numbers that are not finite"):
        trajectories.embeddings("train", 1, 0)
