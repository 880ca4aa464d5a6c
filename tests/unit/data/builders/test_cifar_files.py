import collections
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.data.builders.cifar_files import labels_of_rows, read_batches, read_human_labels
from tests.unit.data.builders import cifar_release as release

LABELS = np.arange(50) % 10


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.pt"


def old_numpy(content: bytes) -> bytes:
    """The pickle as numpy before version 2 wrote it."""
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_the_fixture_is_a_pickle_that_numpy_reads_alike(file):
    pixels = release.pixels("test")
    content = release.batch(pixels, {"labels": np.arange(20) % 10})
    official = pickle.loads(content, encoding="latin1")
    assert official["data"].shape == (20, 3072)
    file.write_bytes(content)
    images, labels = read_batches([file, file], "labels")
    assert (images == np.concatenate([pixels, pixels])).all()
    assert labels.tolist() == official["labels"] * 2
    # Red of the first row of pixels comes first in a row of bytes, then the second row, then green and blue.
    assert (official["data"][3, :32] == images[3, 0, :, 0]).all()
    assert (official["data"][3, 1024:1056] == images[3, 0, :, 1]).all()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int64", ">i4"])
def test_arrays_of_any_whole_number_are_read(file, protocol, dtype):
    content = {"clean_label": LABELS.astype(dtype), "worse_label": LABELS.astype(dtype)[:, None], "more": "text"}
    torch.save(content, file, pickle_protocol=protocol)
    labels = read_human_labels(file, ["clean_label", "worse_label"])
    assert list(labels) == ["clean_label", "worse_label"]
    for values in labels.values():
        assert values.dtype == np.int64
        assert (values == LABELS).all()


@pytest.mark.parametrize("archive", [True, False])
def test_both_forms_of_torch_files_are_read(file, archive):
    torch.save({"clean_label": LABELS, "list": LABELS.tolist()}, file, _use_new_zipfile_serialization=archive)
    assert (read_human_labels(file, ["clean_label"])["clean_label"] == LABELS).all()
    assert (read_human_labels(file, ["list"])["list"] == LABELS).all()


def test_files_of_older_numpy_and_columns_first_are_read(file):
    grid = np.asfortranarray(np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072))
    content = pickle.dumps({"data": grid, "labels": [3, 4]}, protocol=2)
    assert b"numpy.core.multiarray" in old_numpy(content)
    for version in (content, old_numpy(content)):
        file.write_bytes(version)
        images, labels = read_batches([file], "labels")
        assert (images.transpose(0, 3, 1, 2).reshape(2, -1) == grid).all()
        assert labels.tolist() == [3, 4]


BYTES = np.zeros((1, 3072), "u1")


class Runs:
    """Runs a command when it is unpickled by `pickle.load`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# What a file holds, given a path that must not come to be, and why it is refused.
ATTACKS = {
    "command": (lambda mark: {"data": Runs(os.system, f"touch {mark}"), "labels": [0]}, "'posix.system'"),
    "evaluation": (
        lambda mark: {"data": Runs(eval, f"open({str(mark)!r}, 'w')")},
        "'__builtin__.eval'|'builtins.eval'",
    ),
    "unused": (lambda mark: {"data": BYTES, "labels": [0], "more": Runs(os.mkdir, str(mark))}, "'posix.mkdir'"),
    "objects": (lambda _: {"data": np.array([{}], dtype=object), "labels": [0]}, r"an array of '\|O8'"),
    "forged": (lambda _: {"data": Runs(np.ndarray, (1,), "O", b"A" * 8)}, "'NoneType' object is not callable"),
    "other class": (lambda _: {"data": collections.OrderedDict(), "labels": [0]}, "'collections.OrderedDict'"),
    "decimals": (lambda _: {"data": BYTES / 2, "labels": [0]}, "an array of '<f8'"),
    "text": (lambda _: {"data": BYTES, "labels": ["a"]}, "'labels' that is no array of integers"),
    "another name": (lambda _: {"data": BYTES}, "KeyError: 'labels'"),
    "no dictionary": (lambda _: [1, 2], "TypeError: list indices"),
}
FORMS = {
    "pickle": lambda file: read_batches([file], "labels"),
    "torch": lambda file: read_human_labels(file, ["data", "labels"]),
    "old torch": lambda file: read_human_labels(file, ["data", "labels"]),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("form", FORMS)
def test_nothing_in_a_file_is_run(tmp_path, file, attack, form):
    mark = tmp_path / "mark"
    make, reason = ATTACKS[attack]
    content, read = make(mark), FORMS[form]
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(ValueError, match=rf"file '.*' must hold arrays under data, labels, got .*({reason}).*; dow"):
        read(file)
    assert not mark.exists()


def test_the_attacks_work_on_the_plain_reader(tmp_path):
    for attack in ("command", "evaluation", "unused"):
        mark = tmp_path / attack
        pickle.loads(pickle.dumps(ATTACKS[attack][0](mark), protocol=2))
        assert mark.exists()


def test_what_a_file_sets_does_not_outlive_it(file):
    # BUILD sets attributes of whatever was made before it, here of the function that stands for numpy's.
    content = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x0c__defaults__K\x07s\x86b."
    assert "BUILD" in [opcode.name for opcode, _, _ in pickletools.genops(content)]
    file.write_bytes(content)
    with pytest.raises(ValueError, match="must hold arrays"):
        read_batches([file], "labels")
    file.write_bytes(release.batch(release.pixels("test"), {"labels": np.arange(20)}))
    assert len(read_batches([file], "labels").labels) == 20


def test_tensors_are_refused_with_a_sentence(file):
    torch.save({"clean_label": torch.arange(3)}, file)
    with pytest.raises(ValueError, match=r"must hold arrays under clean_label, got .*download it again"):
        read_human_labels(file, ["clean_label"])


WHOLE = release.batch(release.pixels("test")[:1], {"labels": np.array([3])})


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=4))
def test_broken_files_give_one_sentence(tmp_path_factory, start, noise):
    file = tmp_path_factory.getbasetemp() / "broken"
    file.write_bytes(WHOLE[:start] + noise)
    with pytest.raises(ValueError, match="must hold arrays under data, labels, got"):
        read_batches([file], "labels")


def test_other_shapes_and_missing_files_are_refused(tmp_path, file):
    file.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), "u1"), "labels": [0]}, protocol=2))
    with pytest.raises(ValueError, match=r"file '.*' must hold 3072 bytes and a label per row; download it again"):
        read_batches([file], "labels")
    file.write_bytes(pickle.dumps({"data": np.zeros((1, 3072), "i8"), "labels": [0]}, protocol=2))
    with pytest.raises(ValueError, match="must hold 3072 bytes and a label per row"):
        read_batches([file], "labels")
    with pytest.raises(FileNotFoundError, match=r"file '.*absent' is missing; put it there"):
        read_batches([tmp_path / "absent"], "labels")
    saved = io.BytesIO()
    pickle.dump({"clean_label": LABELS}, saved, protocol=2)
    file.write_bytes(saved.getvalue())
    with pytest.raises(ValueError, match=r"got no file of torch.save; download it again"):
        read_human_labels(file, ["clean_label"])


def test_labels_of_other_rows_are_refused(file):
    torch.save({"clean": LABELS, "noisy": LABELS, "short": LABELS[:9]}, file)
    assert (labels_of_rows(file, "clean", "noisy", LABELS) == LABELS).all()
    for rows, name in ((np.sort(LABELS), "noisy"), (LABELS[:9], "noisy"), (LABELS, "short")):
        with pytest.raises(ValueError, match=r"must be in the order of the images, but its true labels differ"):
            labels_of_rows(file, "clean", name, rows)
