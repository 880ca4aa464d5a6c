"""The output folder of a command: checked and locked at the start, put in place at the end, never over other files."""

import errno
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_noisy.cli.manifest import foreign_file, read_manifest, remove_listed, write_manifest
from hf_noisy.cli.run_lock import run_lock
from hf_noisy.core.file_names import MANIFEST
from hf_noisy.core.files import check_file_name, clear_os_errors, exchange, remove_temporaries, sync
from hf_noisy.core.phases import phase, phases_so_far

if TYPE_CHECKING:
    from datasets import Dataset
    from huggingface_hub import DatasetCard

SUMMARY = "summary.json"
FINDINGS = "findings"
CARD, DATA, REPORT = "README.md", "data", "report.html"
PART = "-00000-of-00001.parquet"  # of a split, which is one file
CHECK_PAGE, LABEL_STUDIO, ARGILLA = "check.html", ("tasks.json", "labelling.xml"), ("records.json", ".argilla")
NEXT_ROWS, CHECKED_CSV = "next.csv", "checked.csv"
_CHECKPOINT = re.compile(r"checkpoint-\d+")


@contextmanager
def open_output(
    path: str | Path, overwrite: bool = False, source: str | None = None, option: str = "--output"
) -> Iterator["OutputFolder"]:
    """The output folder of one run, from before anything is computed until the run ends.

    Refused if the path cannot be written, exists (unless it is an earlier output and `overwrite` is set), overlaps
    with the source, or is being written by another run. What killed runs left there is put back or removed. Of
    several processes of one training, only the main one does any of this.
    """
    output = OutputFolder(path, overwrite, option)
    if not output.is_main:
        yield output
        return
    output.check_place(source)
    parent = output.target.parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)  # after an error; the output fills them
        with clear_os_errors(path):
            parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(run_lock(output.target, output.name))
            output.recover()
        output.earlier = output.earlier_output()
        yield output


class OutputFolder:
    """See [`open_output`]: a folder beside the output is filled, and takes the output's place in one step."""

    def __init__(self, path: str | Path, overwrite: bool, option: str) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self.name = f"{option} '{path}'"  # in messages
        self.target = Path(os.path.realpath(path))
        self.run = uuid.uuid4().hex
        self.earlier: str | None = None  # id of the output that this run replaces
        self.is_main = not several_processes() or os.environ.get("RANK") == "0"

    def __str__(self) -> str:
        return str(self.path)

    def check_place(self, source: str | None) -> None:
        """Refuse a path that cannot become a folder, or is in or around the source."""
        if self.path.is_symlink() and not self.target.exists():
            raise FileExistsError(f"{self.name} is a link to '{self.target}', which is not there; name a folder")
        if os.path.ismount(self.target):
            raise FileExistsError(f"{self.name} is where a disk is mounted; name a folder in it")
        if source is None or not os.path.exists(source) or _is_named_set(source):
            return
        place = Path(os.path.realpath(source))
        if self.target == place or (place.is_dir() and self.target.is_relative_to(place)):
            raise ValueError(
                f"{self.name} is in the source '{source}', which would be read with it the next time; name a folder "
                "elsewhere"
            )
        if self.overwrite and place.is_relative_to(self.target):
            raise ValueError(
                f"{self.name} holds the source '{source}', which must not be replaced; name another folder"
            )

    def recover(self) -> None:
        """Put back an earlier output that a killed run had moved aside, and remove what it left."""
        new, old = self._hidden("new"), self._hidden("old")
        if old.exists() and not os.path.lexists(self.target):
            os.rename(old, self.target)
            _say(f"'{self.path}' is back, which a killed run had moved to '{old.name}'")
        for folder in filter(Path.exists, (new, old)):
            left, now = read_manifest(folder), read_manifest(self.target)
            if folder == new and not (left and left["complete"]):
                _remove_manifest_last(folder)
            elif folder == old and not (left and now and now["replaces"] == left["run"]):
                self._keep(folder)
                continue
            else:
                self._remove_earlier(folder)
            _say(f"removed '{folder.name}' beside '{self.path}', which a killed run had left")

    def earlier_output(self) -> str | None:
        """The id of the output that may be replaced, None if there is nothing; anything else is refused."""
        if not os.path.lexists(self.target):
            return None
        if not self.target.is_dir():
            raise FileExistsError(f"{self.name} is a file; name a folder")
        if not self.overwrite:
            raise FileExistsError(f"{self.name} exists already; name another folder or pass --overwrite")
        manifest = read_manifest(self.target)
        if manifest is None or not manifest["complete"]:
            raise FileExistsError(
                f"{self.name} holds no list of written files ({MANIFEST}), so it is no earlier output; name another"
            )
        if other := foreign_file(self.target, manifest):
            raise FileExistsError(
                f"{self.name} also holds '{other}', which is not as an earlier run wrote it; move it or name another"
            )
        return str(manifest["run"])

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A hidden folder that takes the place of the output at the end, or is removed after an error."""
        folder = self._hidden("new")
        with clear_os_errors(self.path):
            folder.mkdir()
        try:
            write_manifest(folder, self.run, self.earlier, complete=False)
            yield folder
            self._put_in_place(folder)
        except BaseException:
            self._abandon(folder)
            raise

    @contextmanager
    def training(self, resume: str | None = None) -> Iterator[Path]:
        """The folder `<output>.training`, which takes the place of the output at the end.

        After an error or a kill it stays if it holds a whole checkpoint, and must be resumed or deleted.
        """
        folder = self.target.with_name(f"{self.target.name}.training")
        if not self.is_main:
            yield folder
            return
        self._start_training(folder, resume)
        try:
            yield folder
            self._put_in_place(folder)
        except BaseException:
            if last := _last_checkpoint(folder) if self._is_mine(folder) else None:
                _say(f"the training stopped; --resume_from_checkpoint true continues from '{last}'")
            else:
                self._abandon(folder)
            raise

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished training, which only served to resume it."""
        for folder in self.target.iterdir():
            if _CHECKPOINT.fullmatch(folder.name):
                shutil.rmtree(folder)

    def _start_training(self, folder: Path, resume: str | None) -> None:
        _remove_empty([folder])
        if os.path.lexists(folder):
            manifest, now = read_manifest(folder), read_manifest(self.target)
            if manifest is None:
                raise FileExistsError(
                    f"'{folder}' is needed while the training runs, and exists without being of hf-noisy; move it"
                )
            if manifest["complete"] and now and now["replaces"] == manifest["run"]:
                self._remove_earlier(folder)  # a run was killed after it had put its output in place
            elif (last := _last_checkpoint(folder)) is None:
                _remove_manifest_last(folder)
                _say(f"removed '{folder}', which a killed training had left without a whole checkpoint")
            elif resume is None or not (resume == "true" or Path(os.path.realpath(resume)).is_relative_to(folder)):
                raise FileExistsError(
                    f"'{last}' is of a training that was interrupted; pass --resume_from_checkpoint true to continue "
                    f"it, or delete '{folder.name}' to start anew"
                )
            else:
                remove_temporaries(folder)
        with clear_os_errors(folder):
            if not folder.exists():
                new = self._hidden("new")
                new.mkdir()
                write_manifest(new, self.run, self.earlier, complete=False)
                os.rename(new, folder)
            write_manifest(folder, self.run, self.earlier, complete=False)

    def _put_in_place(self, folder: Path) -> None:
        """Exchange a whole folder with the earlier output, of which only what it lists is removed."""
        with clear_os_errors(self.path):
            folder.chmod(0o777 & ~_umask())
            for written in [*folder.rglob("*"), folder]:
                if written.exists():  # not a broken link
                    sync(written)
            write_manifest(folder, self.run, self.earlier, complete=True)
            try:
                earlier = self._swap(folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                kept = _free_name(self.target, "new")
                os.rename(folder, kept)
                raise FileExistsError(
                    f"{self.name} was made or changed by others during the run and stays as it is; the result of the "
                    f"run is in '{kept}'"
                ) from error
            sync(self.target.parent)
        if earlier is not None:
            self._remove_earlier(earlier)

    def _swap(self, folder: Path) -> Path | None:
        """Put the folder in place of the earlier output, whose new path is returned; refused if that has changed."""
        if not os.path.lexists(self.target):
            os.rename(folder, self.target)  # fails if a file, or a folder with files, has appeared
            return None
        now = read_manifest(self.target)
        if now is None or now["run"] != self.earlier or foreign_file(self.target, now):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.target))
        if exchange(folder, self.target):
            return folder
        old = self._hidden("old")
        try:
            os.rename(self.target, old)
            os.rename(folder, self.target)
        except BaseException:
            if old.exists() and not os.path.lexists(self.target):
                os.rename(old, self.target)
            raise
        return old

    def _remove_earlier(self, folder: Path) -> None:
        if not remove_listed(folder):
            self._keep(folder)

    def _keep(self, folder: Path) -> None:
        kept = _free_name(self.target, "kept")
        os.rename(folder, kept)
        _say(f"'{kept}' holds files of '{self.path}' that its last run did not replace")

    def _is_mine(self, folder: Path) -> bool:
        return (read_manifest(folder) or {}).get("run") == self.run

    def _abandon(self, folder: Path) -> None:
        """Remove a folder of this run, but not an earlier output that was exchanged for it."""
        if self._is_mine(folder):
            with suppress(OSError):
                _remove_manifest_last(folder)
        _remove_empty([folder])

    def _hidden(self, kind: str) -> Path:
        return self.target.with_name(f".{self.target.name}.hf-noisy-{kind}")


def write_output(folder: Path, splits: dict[str, "Dataset"], card: "DatasetCard", summary: dict[str, Any]) -> None:
    """Parquet files, the card and `summary.json`, in the layout of `load_dataset(folder)` and the Hub."""
    for name in splits:
        check_file_name(name, "name of a split")
    with phase("writing"):
        (folder / DATA).mkdir()
        for name, rows in splits.items():
            rows.to_parquet(folder / DATA / f"{name}{PART}")
        card.save(folder / CARD)
    summary = {**summary, "phases": phases_so_far()}
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")


@contextmanager
def complete_if_not_pushed(output: "OutputFolder", repo_id: str, private: bool) -> Iterator[None]:
    """Say how the output can be pushed later if that fails."""
    try:
        yield
    except Exception:
        again = shlex.join(["hf-noisy", "push", str(output), repo_id, *(["--private"] if private else [])])
        _say(f"the output is complete in {output}, but was not pushed; this pushes it: {again}")
        raise


def several_processes() -> bool:
    """Whether this process is one of several of `torchrun` or `accelerate launch`, which set these variables."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a training, or of one in a folder of its own below it."""
    from hf_noisy.training.checkpoints import last_whole_checkpoint  # slow, and most commands do not train

    below = sorted(path.parent for path in folder.glob("*/checkpoint-*"))
    return next(filter(None, map(last_whole_checkpoint, dict.fromkeys([folder, *below]))), None)


def _is_named_set(source: str) -> bool:
    if not source.isidentifier():  # a path, such as most sources
        return False
    from hf_noisy.data.load import list_noisy_datasets  # slow

    return source in list_noisy_datasets()


def _free_name(path: Path, kind: str) -> Path:
    names = (path.with_name(f"{path.name}.{kind}{number or ''}") for number in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def _remove_manifest_last(folder: Path) -> None:
    """Remove a folder; without its manifest, a removal that is cut short could not be completed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MANIFEST:
            path.unlink()
    shutil.rmtree(folder)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _say(sentence: str) -> None:
    print(f"hf-noisy: {sentence}", file=sys.stderr)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
