"""The output folder of a command, written atomically and never over other files."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from huggingface_hub import DatasetCard

from hf_noisy.core.files import check_file_name, clear_os_errors, sync

SUMMARY = "summary.json"
FINDINGS = "findings"
_CARD, _DATA, REPORT = "README.md", "data", "report.html"
CHECK_PAGE, LABEL_STUDIO, ARGILLA = "check.html", ("tasks.json", "labelling.xml"), ("records.json", ".argilla")
NEXT_ROWS = "next.csv"
_OUTPUTS = {_CARD, _DATA, REPORT, SUMMARY, FINDINGS, CHECK_PAGE, NEXT_ROWS, *LABEL_STUDIO, *ARGILLA}
_COMMANDS = ("inject", "audit", "purify", "apply", "train", "check", "next")


def check_output(path: str | Path, overwrite: bool) -> Path:
    """The path; refused if it exists, unless it is an earlier output and `overwrite` is set."""
    target = Path(path)
    if not target.exists():
        return target
    if not overwrite:
        raise FileExistsError(f"--output '{path}' exists already; name another folder or pass --overwrite")
    command = _command_of(target)
    if command is None:
        raise FileExistsError(
            f"--output '{path}' holds no {SUMMARY} of ours, so it is no earlier output; name another"
        )
    # A training writes files of many names, the other commands only these.
    if command != "train" and (other := sorted({entry.name for entry in target.iterdir()} - _OUTPUTS)):
        raise FileExistsError(
            f"--output '{path}' also holds '{other[0]}', which is no output; move it or name another"
        )
    return target


@contextmanager
def new_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that replaces `path` at the end, or is removed after an error."""
    target = check_output(path, overwrite)
    with clear_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging
        with clear_os_errors(target):
            staging.chmod(0o777 & ~_umask())
            for written in [*staging.rglob("*"), staging]:
                if written.exists():  # not a broken link
                    sync(written)
        if target.exists():
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.old.", dir=target.parent) as old:
                earlier = Path(old) / target.name
                os.replace(target, earlier)
                try:
                    os.replace(staging, target)
                except BaseException:
                    os.replace(earlier, target)
                    raise
        else:
            os.replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync(target.parent)


def write_output(folder: Path, splits: dict[str, Dataset], card: DatasetCard, summary: dict[str, Any]) -> None:
    """Parquet files, the card and `summary.json`, in the layout of `load_dataset(folder)` and the Hub."""
    for name in splits:
        check_file_name(name, "name of a split")
    (folder / _DATA).mkdir()
    for name, rows in splits.items():
        rows.to_parquet(folder / _DATA / f"{name}-00000-of-00001.parquet")
    card.save(folder / _CARD)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")


def _command_of(folder: Path) -> str | None:
    """The command that wrote the folder, or None for other folders."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    command = summary.get("command") if isinstance(summary, dict) else None
    return command if command in _COMMANDS else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
