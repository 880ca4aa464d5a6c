"""The manifest of an output folder: the files that a run wrote, which are all that a later run may replace."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_noisy.core.file_names import MANIFEST
from hf_noisy.core.files import file_digest, read_sealed, write_sealed

_FORMAT = 1
_HASHED = 1 << 24  # bytes: of larger files, which nobody edits by hand, only the size is compared


def write_manifest(folder: Path, run: str, replaces: str | None, complete: bool) -> None:
    """List the files of a folder with the id of the run and of the output that it replaces; at first none."""
    files = {name: _facts(path) for name, path in _entries(folder)} if complete else {}
    write_sealed(folder / MANIFEST, {"run": run, "replaces": replaces, "complete": complete, "files": files}, _FORMAT)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an output or of an interrupted training; None for other folders."""
    try:
        found = read_sealed(folder / MANIFEST, _FORMAT)
    except (OSError, ValueError):
        return None
    return found if found.keys() == {"run", "replaces", "complete", "files"} else None


def foreign_file(folder: Path, manifest: dict[str, Any]) -> str | None:
    """A file that the manifest does not list, or that was changed since; None if there is none."""
    return next((name for name, path in _entries(folder) if manifest["files"].get(name) != _facts(path)), None)


def remove_listed(folder: Path) -> bool:
    """Remove a folder except for files that its manifest does not list; whether nothing is left."""
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    for name, path in list(_entries(folder)):
        if manifest["files"].get(name) == _facts(path):
            path.unlink()
    for parent, _, _ in os.walk(folder, topdown=False):
        if Path(parent) != folder:
            with suppress(OSError):
                os.rmdir(parent)
    if os.listdir(folder) != [MANIFEST]:
        return False
    (folder / MANIFEST).unlink()  # last, so that a removal that is cut short can be completed
    folder.rmdir()
    return True


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below a folder, except for its manifest."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*files, *(one for one in folders if os.path.islink(os.path.join(parent, one)))]):
            path = Path(parent, name)
            if path != folder / MANIFEST:
                yield path.relative_to(folder).as_posix(), path


def _facts(path: Path) -> list[Any]:
    """Size and checksum of a file."""
    status = path.lstat()
    plain = stat.S_ISREG(status.st_mode) and status.st_size <= _HASHED
    return [status.st_size, file_digest(path) if plain else None]
