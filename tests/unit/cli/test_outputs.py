import errno
import json
import os

import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from hf_noisy.cli.outputs import SUMMARY, check_output, new_folder, write_output


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def summary(rows):
    return json.dumps({"command": "audit", "rows": rows})


def test_the_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("new")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["file"]
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o700 == 0o700


def test_a_failure_leaves_nothing(tmp_path):
    def interrupted():
        with new_folder(tmp_path / "out") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_an_earlier_output_is_replaced_only_when_asked_and_only_when_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / SUMMARY).write_text(summary(1))
    with pytest.raises(FileExistsError, match=r"--output '.*out' exists already; name another folder or pass --ov"):
        check_output(out, overwrite=False)
    with pytest.raises(RuntimeError, match="broken"), new_folder(out, overwrite=True):
        raise RuntimeError("broken")
    assert (out / SUMMARY).read_text() == summary(1)
    with new_folder(out, overwrite=True) as folder:
        (folder / SUMMARY).write_text(summary(2))
    assert (out / SUMMARY).read_text() == summary(2)
    assert names(tmp_path) == ["out"]


def test_what_is_no_output_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds no summary\.json of ours, so it is no earlier output"):
        check_output(tmp_path / "thesis", overwrite=True)
    for theirs in ('{"figures": 3}', "[]", "no JSON"):
        (tmp_path / "thesis" / SUMMARY).write_text(theirs)
        with pytest.raises(FileExistsError, match=r"holds no summary\.json of ours"):
            check_output(tmp_path / "thesis", overwrite=True)
    (tmp_path / "thesis" / SUMMARY).write_text(summary(1))  # an output that somebody went on working in
    with pytest.raises(FileExistsError, match=r"also holds 'chapter\.txt', which is no output; move it"):
        check_output(tmp_path / "thesis", overwrite=True)
    assert names(tmp_path / "thesis") == ["chapter.txt", SUMMARY]


def test_the_earlier_output_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out, replace = tmp_path / "out", os.replace
    with new_folder(out) as folder:
        (folder / SUMMARY).write_text(summary(1))

    def broken(source, target):
        if target == out and (source / "new").exists():
            raise OSError("disk gone")
        replace(source, target)

    monkeypatch.setattr("hf_noisy.cli.outputs.os.replace", broken)
    with pytest.raises(OSError, match="disk gone"), new_folder(out, overwrite=True) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["out"]
    assert (out / SUMMARY).read_text() == summary(1)


def test_the_layout_is_that_of_the_hub(tmp_path):
    splits = {name: Dataset.from_dict({"text": [name] * 3, "label": [0, 1, 0]}) for name in ("train", "dropped")}
    with new_folder(tmp_path / "out") as folder:
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
        new_folder(tmp_path / "out") as folder,
    ):
        write_output(folder, splits, DatasetCard("# Animals"), {})
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_at_the_end_leaves_the_earlier_output(tmp_path, monkeypatch):
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / SUMMARY).write_text(summary(1))

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hf_noisy.cli.outputs.sync", full)
    with (
        pytest.raises(OSError, match=r"out' was not written, and what was there is as it was: the disk is full"),
        new_folder(out, overwrite=True) as folder,
    ):
        (folder / SUMMARY).write_text(summary(2))
    assert names(tmp_path) == ["out"]
    assert (out / SUMMARY).read_text() == summary(1)


def test_an_output_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OSError, match=r"file/out' was not written, .*: there is a file where a folder should be"),
        new_folder(tmp_path / "file" / "out"),
    ):
        pytest.fail("has no folder")
