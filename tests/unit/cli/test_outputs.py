"""The output folder of a run: checked at the start and under the swap, locked, and recovered after kills."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import time

import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from hf_noisy.cli.manifest import read_manifest, write_manifest
from hf_noisy.cli.outputs import SUMMARY, open_output, write_output
from hf_noisy.core.file_names import MANIFEST
from hf_noisy.core.files import exchange


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text="1", overwrite=False, source=None, meanwhile=lambda: None):
    """An output with `summary.json`; `meanwhile` happens before it is put in place."""
    with open_output(path, overwrite, source) as output, output.new() as folder:
        (folder / SUMMARY).write_text(text)
        meanwhile()


def raising(error):
    def meanwhile():
        raise error

    return meanwhile


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != MANIFEST}


def put(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(params=["exchange", "aside"])
def swap(request, monkeypatch):
    """Both ways to put an output in place."""
    if request.param == "aside":
        monkeypatch.setattr("hf_noisy.cli.outputs.exchange", lambda *_: False)
    return request.param


def test_the_folder_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with open_output(out) as output:
        with output.new() as folder:
            (folder / "file").write_text("new")
            assert not out.exists()
        assert names(out) == [MANIFEST, "file"]
    assert names(tmp_path / "deep") == ["out"]
    assert out.stat().st_mode & 0o700 == 0o700
    assert read_manifest(out)["files"].keys() == {"file"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_failure_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        write(tmp_path / "deep" / "out", meanwhile=raising(error))
    with pytest.raises(error), open_output(tmp_path / "deep" / "out"):
        raise error
    assert names(tmp_path) == []


def test_an_earlier_output_is_replaced_only_when_asked_and_only_when_the_new_one_is_whole(tmp_path, swap):
    out = tmp_path / "out"
    write(out, "1")
    with pytest.raises(FileExistsError, match=r"--output '.*out' exists already; name another folder or pass --ov"):
        write(out, "2")
    with pytest.raises(RuntimeError):
        write(out, "2", overwrite=True, meanwhile=raising(RuntimeError))
    assert contents(out) == {SUMMARY: "1"}
    write(out, "2", overwrite=True)
    assert contents(out) == {SUMMARY: "2"}
    assert names(tmp_path) == ["out"]


def test_only_what_the_manifest_lists_is_replaced(tmp_path):
    out = tmp_path / "out"
    with open_output(out) as output, output.new() as folder:
        put(folder / SUMMARY, json.dumps({"command": "train"}))
        put(folder / "next.csv", "row,checked_label\n1,\n")
    others = [("sub/code.py", "x"), (".notes", "x"), ("next.csv", "row,checked_label\n1,2\n"), (SUMMARY, "changed")]
    for name, text in others:
        before = (out / name).read_text() if (out / name).exists() else None
        put(out / name, text)
        with pytest.raises(FileExistsError, match=rf"also holds '{name}', which is not as an earlier run wrote it"):
            write(out, "2", overwrite=True)
        assert (out / name).read_text() == text
        put(out / name, before) if before is not None else (out / name).unlink()
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match="also holds 'link'"):
        write(out, "2", overwrite=True)
    (out / "link").unlink()
    (out / "next.csv").unlink()  # nobody needs what somebody has removed
    write(out, "2", overwrite=True)
    assert contents(out) == {SUMMARY: "2"}


@pytest.mark.parametrize("manifest", [None, "{", "[" * 100_000, '{"files": {"thesis.txt": [5, null]}}'])
def test_what_has_no_manifest_of_ours_is_no_earlier_output(tmp_path, manifest):
    put(tmp_path / "out" / "thesis.txt", "years")
    put(tmp_path / "out" / SUMMARY, json.dumps({"command": "train"}))
    if manifest:
        put(tmp_path / "out" / MANIFEST, manifest)
    with pytest.raises(FileExistsError, match=r"holds no list of written files .*, so it is no earlier output"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"
    assert names(tmp_path) == ["out"]


def test_a_folder_that_appears_during_the_run_stays_and_so_does_the_result(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileExistsError, match=r"made or changed by others during the run.* is in '.*out\.new'"):
        write(out, "new", overwrite=True, meanwhile=lambda: put(out / "thesis.txt", "years"))
    assert contents(out) == {"thesis.txt": "years"}
    assert contents(tmp_path / "out.new") == {SUMMARY: "new"}
    assert names(tmp_path) == ["out", "out.new"]


def test_a_folder_that_appears_at_the_last_moment_stays(tmp_path, monkeypatch):
    out, rename = tmp_path / "out", os.rename

    def late(source, target):
        if target == out:
            put(out / "thesis.txt", "years")
        rename(source, target)

    monkeypatch.setattr("hf_noisy.cli.outputs.os.rename", late)
    with pytest.raises(FileExistsError, match="made or changed by others"):
        write(out)
    assert contents(out) == {"thesis.txt": "years"}


@pytest.mark.parametrize("change", ["file", "edit", "run"])
def test_an_earlier_output_that_changes_during_the_run_stays(tmp_path, swap, change):
    out = tmp_path / "out"
    write(out, "1")
    changes = {
        "file": lambda: put(out / "sub" / "code.py"),
        "edit": lambda: put(out / SUMMARY, "3"),
        "run": lambda: write_manifest(out, "another run", None, complete=True),
    }
    with pytest.raises(FileExistsError, match="made or changed by others"):
        write(out, "2", overwrite=True, meanwhile=changes[change])
    assert (out / SUMMARY).read_text() == ("3" if change == "edit" else "1")
    assert contents(tmp_path / "out.new") == {SUMMARY: "2"}
    assert names(tmp_path) == ["out", "out.new"]


def test_an_earlier_output_that_vanishes_during_the_run_needs_no_place(tmp_path):
    write(tmp_path / "out", "1")
    write(tmp_path / "out", "2", overwrite=True, meanwhile=lambda: shutil.rmtree(tmp_path / "out"))
    assert contents(tmp_path / "out") == {SUMMARY: "2"}


def test_files_that_appear_under_the_swap_are_kept(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    write(out, "1")

    def late(one, other):
        put(out / "thesis.txt", "years")
        return exchange(one, other)

    monkeypatch.setattr("hf_noisy.cli.outputs.exchange", late)
    write(out, "2", overwrite=True)
    assert contents(out) == {SUMMARY: "2"}
    assert contents(tmp_path / "out.kept") == {"thesis.txt": "years"}
    assert "out.kept' holds files of" in capsys.readouterr().err


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_at_the_renames_loses_nothing(tmp_path, monkeypatch, at, done):
    """Ctrl-C at the first or second rename, which has been done or not."""
    out, rename, calls = tmp_path / "out", os.rename, []
    write(out, "1")
    monkeypatch.setattr("hf_noisy.cli.outputs.exchange", lambda *_: False)

    def interrupted(source, target):
        calls.append(source)
        if len(calls) != at or done:
            rename(source, target)
        if len(calls) == at:
            raise KeyboardInterrupt

    monkeypatch.setattr("hf_noisy.cli.outputs.os.rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out, "2", overwrite=True)
    monkeypatch.undo()
    assert contents(out) == {SUMMARY: "2" if at == 2 and done else "1"}
    write(out, "3", overwrite=True)
    assert contents(out) == {SUMMARY: "3"}
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("place", ["link", "file", "file/out", "mount"])
def test_a_place_that_cannot_be_written_is_found_at_the_start(tmp_path, place, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("in the way")
    sentence = {
        "link": r"link' is a link to '.*nowhere', which is not there",
        "file": r"file' is a file; name a folder",
        "file/out": r"file/out' was not written, .*: there is a file where a folder should be",
        "mount": r"mount' is where a disk is mounted",
    }[place]
    if place == "mount":
        monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "mount")
    with pytest.raises(OSError, match=sentence), open_output(tmp_path / place, overwrite=True):
        pytest.fail("was not refused")
    assert names(tmp_path) == ["file", "link"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_parent_is_found_at_the_start(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="this user may not write there"), open_output(tmp_path / "out"):
        pytest.fail("was not refused")


def test_a_disk_that_cannot_be_written_is_found_at_the_start(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("hf_noisy.cli.run_lock.os.open", refuses)
    with pytest.raises(OSError, match="the folder is read-only"), open_output(tmp_path / "deep" / "out"):
        pytest.fail("was not refused")
    assert names(tmp_path) == []


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write(tmp_path / "real", "1")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "2", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == {SUMMARY: "2"}


def test_the_source_stays_what_it_is(tmp_path, monkeypatch):
    source = tmp_path / "data"
    write(source, "1")
    rows = put(tmp_path / "rows.csv")
    for output, given in ((source / "out", source), (source, source), (source / "a" / "b", f"{source}/../data")):
        with pytest.raises(ValueError, match=r"is in the source '.*data'.*; name a folder elsewhere"):
            write(output, "2", overwrite=True, source=str(given))
    with pytest.raises(ValueError, match="holds the source"):
        write(source, "2", overwrite=True, source=str(source / SUMMARY))
    assert contents(source) == {SUMMARY: "1"}
    write(tmp_path / "beside", source=str(rows))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    write("docs/out", source="docs")  # the named data set, not the folder
    write("again", source="owner/name")


def in_child(function):
    """Run a function in a forked process; its id, and what waits for its end."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return child


def test_a_second_run_is_refused_and_names_the_first(tmp_path):
    out = tmp_path / "out"
    write(out, "1")

    def hold():
        with open_output(out, overwrite=True) as output, output.new() as folder:
            put(folder / SUMMARY, "held")
            put(tmp_path / "started")
            time.sleep(60)

    child = in_child(hold)
    try:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        with pytest.raises(FileExistsError) as refused:
            write(out, "2", overwrite=True)
        holder = rf"process {child} on {re.escape(socket.gethostname())} since .*"
        assert re.search(rf"out' is being written by another run \({holder}\); wait", str(refused.value))
        write(tmp_path / "other", "3")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert names(tmp_path) == [".out.hf-noisy-lock", ".out.hf-noisy-new", "other", "out", "started"]
    write(out, "2", overwrite=True)  # its lock went with it, and what it left is removed
    assert contents(out) == {SUMMARY: "2"}
    assert names(tmp_path) == ["other", "out", "started"]


def test_the_lock_does_not_outlive_its_process_in_one_that_it_forked(tmp_path):
    def hold():
        with open_output(tmp_path / "out"):
            worker = in_child(lambda: time.sleep(60))
            put(tmp_path / "worker.tmp", str(worker)).rename(tmp_path / "worker")
            time.sleep(60)

    child = in_child(hold)
    while not (tmp_path / "worker").exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        write(tmp_path / "out")
        assert (tmp_path / "out" / SUMMARY).is_file()
    finally:
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)


def test_a_second_run_in_one_process_is_refused(tmp_path):
    out = tmp_path / "out"

    def nested():
        with pytest.raises(FileExistsError, match=r"out' is being written by another run \(this process\)"):
            write(out, "2")

    write(out, "1", meanwhile=nested)
    assert contents(out) == {SUMMARY: "1"}
    write(out, "3", overwrite=True)


def test_the_lock_costs_no_file_of_others(tmp_path):
    put(tmp_path / ".out.lock", "of another tool")
    put(tmp_path / "thesis.txt", "years")
    (tmp_path / ".linked.hf-noisy-lock").symlink_to("thesis.txt")
    write(tmp_path / "out")
    assert (tmp_path / ".out.lock").read_text() == "of another tool"
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "linked")
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_lock_whose_file_its_holder_removes_at_that_moment_is_taken_again(tmp_path, monkeypatch):
    lock, held = fcntl.lockf, []

    def late(descriptor, operation):
        lock(descriptor, operation)
        held.append(descriptor)
        if len(held) == 1:
            (tmp_path / ".out.hf-noisy-lock").unlink()

    monkeypatch.setattr("hf_noisy.cli.run_lock.fcntl.lockf", late)
    with open_output(tmp_path / "out"):
        assert (tmp_path / ".out.hf-noisy-lock").read_text().startswith(f"process {os.getpid()} on ")
    assert len(held) == 2


def test_a_disk_without_locks_is_used_without(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("hf_noisy.cli.run_lock.fcntl.lockf", without)
    write(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_what_a_kill_moved_aside_is_put_back_and_said(tmp_path, capsys):
    write(tmp_path / "out", "1")
    (tmp_path / "out").rename(tmp_path / ".out.hf-noisy-old")
    (tmp_path / ".out.hf-noisy-new").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        write(tmp_path / "out", "2")
    assert contents(tmp_path / "out") == {SUMMARY: "1"}
    said = capsys.readouterr().err
    assert "out' is back, which a killed run had moved to '.out.hf-noisy-old'" in said
    assert "removed '.out.hf-noisy-new' beside" in said
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["new", "old"])
def test_an_earlier_output_that_a_kill_left_after_the_swap_is_removed(tmp_path, kind, monkeypatch, capsys):
    write(tmp_path / "out", "1")
    monkeypatch.setattr("hf_noisy.cli.outputs.remove_listed", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    if kind == "old":
        monkeypatch.setattr("hf_noisy.cli.outputs.exchange", lambda *_: False)
    os.waitpid(in_child(lambda: write(tmp_path / "out", "2", overwrite=True)), 0)
    monkeypatch.undo()
    assert names(tmp_path) == [".out.hf-noisy-lock", f".out.hf-noisy-{kind}", "out"]
    with pytest.raises(FileExistsError, match="exists already"):
        write(tmp_path / "out")
    assert f"removed '.out.hf-noisy-{kind}' beside" in capsys.readouterr().err
    assert names(tmp_path) == ["out"]
    assert contents(tmp_path / "out") == {SUMMARY: "2"}


def test_an_output_that_was_not_replaced_is_kept(tmp_path, capsys):
    write(tmp_path / "out", "1")
    (tmp_path / "out").rename(tmp_path / ".out.hf-noisy-old")  # killed between the renames, and another made by hand
    put(tmp_path / "out" / "thesis.txt")
    with pytest.raises(FileExistsError, match="is no earlier output"):
        write(tmp_path / "out", "2", overwrite=True)
    assert contents(tmp_path / "out.kept") == {SUMMARY: "1"}
    assert "out.kept' holds files" in capsys.readouterr().err


def test_the_layout_is_that_of_the_hub(tmp_path):
    splits = {name: Dataset.from_dict({"text": [name] * 3, "label": [0, 1, 0]}) for name in ("train", "dropped")}
    with open_output(tmp_path / "out") as output, output.new() as folder:
        write_output(folder, splits, DatasetCard("# Animals"), {"rows": 3})
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: rows["text"][0] for name, rows in loaded.items()} == {"train": "train", "dropped": "dropped"}
    assert (tmp_path / "out" / "README.md").read_text().endswith("# Animals")


@pytest.mark.parametrize("name", ["../x", "/x", "", "a\0b", "..", "a/b"])
def test_splits_cannot_leave_the_folder(name, tmp_path):
    # `datasets` refuses most such names too, but only of a DatasetDict that it loads.
    splits = {"train": Dataset.from_dict({"label": [0]}), name: Dataset.from_dict({"label": [0]})}
    with (
        pytest.raises(ValueError, match="name of a split must be usable as a file name"),
        open_output(tmp_path / "out") as output,
        output.new() as folder,
    ):
        write_output(folder, splits, DatasetCard("# Animals"), {})
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_at_the_end_leaves_the_earlier_output(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(out, "1")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hf_noisy.cli.outputs.sync", full)
    with pytest.raises(OSError, match=r"out' was not written, and what was there is as it was: the disk is full"):
        write(out, "2", overwrite=True)
    assert names(tmp_path) == ["out"]
    assert contents(out) == {SUMMARY: "1"}
