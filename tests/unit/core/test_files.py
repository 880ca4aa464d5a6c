import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hf_noisy.core import files
from hf_noisy.core.files import (
    check_digest,
    check_file_name,
    clear_os_errors,
    exchange,
    read_sealed,
    remove_temporaries,
    replacing,
    write_atomically,
    write_sealed,
    write_tensors,
)
from tests.fuzz import outcome

ROOT = Path(__file__).parents[3]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "file.txt"
    write_atomically(target, "first")
    with replacing(target) as temporary:
        temporary.write_text("sec")
        assert target.read_text() == "first"
        temporary.write_text("second")
    assert target.read_text() == "second"
    assert names(tmp_path) == ["file.txt"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda number: done.append("sync") or sync(number))
    monkeypatch.setattr(files.os, "replace", lambda *both: done.append("rename") or replace(*both))
    write_atomically(tmp_path / "file", b"content")
    assert done == ["sync", "rename", "sync"]  # the file, its name, the folder that holds the name


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, error):
    write_atomically(tmp_path / "file", "earlier")

    def fail():
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (tmp_path / "file").read_text() == "earlier"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, OSError, "the disk is full; free some space or name another folder"),
        (errno.EDQUOT, OSError, "the quota of the disk is used up"),
        (errno.EROFS, OSError, "the folder is read-only; name another folder"),
        (errno.EACCES, PermissionError, "this user may not write there; name another folder"),
    ],
)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_disk_that_refuses_is_told_in_one_sentence(tmp_path, monkeypatch, number, kind, words, step):
    write_atomically(tmp_path / "file", "earlier")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if step == "open":
            patch.setattr(Path, "write_bytes", refuse)
        else:
            patch.setattr(files.os, step, refuse)
        with pytest.raises(kind, match=rf"'.*file' was not written, and what was there is as it was: {words}"):
            write_atomically(tmp_path / "file", "later")
    assert (tmp_path / "file").read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def test_the_errors_of_safetensors_are_told_alike_and_others_pass(tmp_path):
    with pytest.raises(OSError, match="the disk is full"), clear_os_errors(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    for other in (SafetensorError("header too small"), OSError(errno.EIO, "device gone"), ValueError("no")):
        with pytest.raises(type(other), match=str(other.args[-1])), clear_os_errors(tmp_path):
            raise other


def test_a_folder_under_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="there is a file where a folder should be; name another folder"):
        write_atomically(tmp_path / "file" / "below", "content")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    write_atomically(tmp_path / "file", "earlier")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="this user may not write there"):
        write_atomically(tmp_path / "file", "later")
    assert (tmp_path / "file").read_text() == "earlier"


LIMITED = """
import sys, resource
import numpy as np
from hf_noisy.core.files import replacing, write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with replacing(sys.argv[1]) as temporary:
        write_tensors(temporary, {"x": np.ones(1_000_000, np.float32)})
except OSError as error:
    print(error)
"""


def test_a_real_limit_of_the_system_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "x.safetensors"
    with replacing(target) as temporary:
        digest = write_tensors(temporary, {"x": np.ones(3, np.float32)})
    command = [sys.executable, "-c", LIMITED, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "x.safetensors' was not written, and what was there is as it was: files here may not be that" in done.stdout
    check_digest(target, digest)
    assert names(tmp_path) == ["x.safetensors"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200_000


TENSORS = st.dictionaries(
    st.text("abc.", min_size=1, max_size=5),
    arrays.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.bool_]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    max_size=4,
)


@settings(max_examples=40)
@given(TENSORS)
def test_tensors_are_read_back_by_safetensors(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("tensors") / "file.safetensors"
    digest = write_tensors(path, tensors)
    found = load_file(path)
    assert found.keys() == tensors.keys()
    for name, expected in tensors.items():
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found[name], expected)
    check_digest(path, digest)


def test_arrays_in_other_orders_are_written_as_they_read(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tensors(tmp_path / "x", {"turned": values.T, "big": values.astype(">f4"), "every": values[:, ::2]})
    found = load_file(tmp_path / "x")
    np.testing.assert_array_equal(found["turned"], values.T)
    np.testing.assert_array_equal(found["big"], values)
    np.testing.assert_array_equal(found["every"], values[:, ::2])


def test_a_changed_file_is_noticed_and_a_right_one_is_read_through_once(tmp_path, monkeypatch):
    path, read = tmp_path / "x", []
    digest = write_tensors(path, {"x": np.ones(3, np.float32)})
    whole = files.hashlib.file_digest
    monkeypatch.setattr(files.hashlib, "file_digest", lambda file, name: read.append(1) or whole(file, name))
    for _ in range(3):
        check_digest(path, digest)
    assert len(read) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"x' is damaged or of another run: its checksum is not the recorded"):
            check_digest(path, digest)
    path.unlink()
    with pytest.raises(ValueError, match=r"x' is missing; put it back, or make it again"):
        check_digest(path, digest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text("abc", min_size=1), JSON, max_size=4), st.data())
def test_sealed_json_is_read_as_it_was_written_or_refused(tmp_path_factory, content, data):
    path = tmp_path_factory.mktemp("sealed") / "file.json"
    write_sealed(path, content, 3)
    assert read_sealed(path, 3) == content
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), position]))])
    found, said = outcome(lambda: read_sealed(path, 3))
    assert found == content or "file.json' " in str(said)  # white space may change


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "[" * 100_000, "\x00", json.dumps({"format": 3})])
def test_what_is_no_sealed_json_is_refused(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match=r"file' (is damaged|is of format None|was changed or damaged)"):
        read_sealed(tmp_path / "file", 3)


def test_another_format_is_named(tmp_path):
    write_sealed(tmp_path / "file", {}, 2)
    with pytest.raises(ValueError, match="is of format 2, but this version of hf_noisy reads format 3; make it again"):
        read_sealed(tmp_path / "file", 3)


@pytest.mark.parametrize("name", ["train", "test.clean", "a b", "ä-1", "x" * 100])
def test_names_that_can_be_files(name):
    assert check_file_name(name, "split") == name


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../x", "/etc", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "*", "x" * 101, 3, None]
)
def test_names_that_would_leave_the_folder(name):
    with pytest.raises(ValueError, match="split must be usable as a file name"):
        check_file_name(name, "split")


def test_two_folders_are_exchanged_in_one_step(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if exchange(tmp_path / "one", tmp_path / "other"):  # not on every disk
        assert [path.name for path in (tmp_path / "one").iterdir()] == ["other"]
        assert [path.name for path in (tmp_path / "other").iterdir()] == ["one"]
        with pytest.raises(FileNotFoundError):
            exchange(tmp_path / "one", tmp_path / "none")


def test_a_system_without_an_exchange_does_nothing(tmp_path, monkeypatch):
    (tmp_path / "one").touch()
    monkeypatch.setattr("hf_noisy.core.files.ctypes.CDLL", lambda *_, **__: object())
    assert not exchange(tmp_path / "one", tmp_path / "other")


def test_only_temporary_files_of_killed_writes_are_removed(tmp_path):
    def killed():
        with replacing(tmp_path / "deep" / "results.json") as temporary:
            temporary.write_text("half")
            os._exit(0)

    (tmp_path / "deep").mkdir()
    if (child := os.fork()) == 0:
        killed()
    os.waitpid(child, 0)
    theirs = {".notes.tmp", "results.0123abcd.tmp", ".results.json"}
    for name in theirs:
        (tmp_path / "deep" / name).touch()
    assert len(list((tmp_path / "deep").iterdir())) == 4
    remove_temporaries(tmp_path)
    assert {path.name for path in (tmp_path / "deep").iterdir()} == theirs
