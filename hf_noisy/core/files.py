"""Atomic writes, and reads that verify a checksum.

Everything written is JSON, text or safetensors, and nothing here unpickles.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_SEAL = "sha256"  # key in a sealed JSON file of the checksum of its other keys
_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "bool": "BOOL"}
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the quota of the disk is used up; free some space or name another folder",
    errno.EFBIG: "files here may not be that large; raise the limit or name another folder",
    errno.EROFS: "the folder is read-only; name another folder",
    errno.EACCES: "this user may not write there; name another folder",
    errno.EPERM: "this user may not write there; name another folder",
    errno.ENOTDIR: "there is a file where a folder should be; name another folder",
    errno.EEXIST: "there is a file where a folder should be; name another folder",
    errno.EISDIR: "a folder of that name is in the way; name another file",
}
# Verified files, by properties that change when a file does, so that a process reads large files through only once.
_verified: set[tuple[str, int, int, int, str]] = set()


@contextmanager
def clear_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of a full, read-only or forbidden disk into one clear sentence that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors (Rust) gives the number only in its message.
        in_text = re.search(r"os error (\d+)", str(error)) if isinstance(error, SafetensorError) else None
        number = error.errno if isinstance(error, OSError) else int(in_text[1]) if in_text else None
        if number not in _REASONS:
            raise
        # OSError picks the subclass by the number, so a PermissionError stays one.
        text = f"'{path}' was not written, and what was there is as it was: {_REASONS[number]}"
        raise OSError(number, text) from error


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` atomically at the end."""
    path = Path(path)
    # A unique name, as another process may write the same file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with clear_os_errors(path):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def remove_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that a killed process has left below a folder; no other may be writing there."""
    for parent, _, files in os.walk(folder):
        for name in filter(_TEMPORARY.fullmatch, files):
            Path(parent, name).unlink(missing_ok=True)


def exchange(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Exchange two files or folders in one step; False, and nothing done, where the system cannot."""
    # renameat2 is of Linux, and not of all its disks.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename is None:
        return False
    if rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(swap)) == 0:
        return True
    if (number := ctypes.get_errno()) in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(one), None, os.fspath(other))


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes, as [`replacing`]."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk (fsync)."""
    folder = path.is_dir()
    if folder and os.name != "posix":  # a folder cannot be opened elsewhere
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network disks cannot sync a folder; the file itself is there.
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> str:
    """Write arrays as safetensors without a copy, within [`replacing`], and return the checksum of the file."""
    arrays = {name: np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # aligns the data to 8 bytes
    parts = [np.frombuffer(len(head).to_bytes(8, "little") + head, np.uint8)]
    parts += [array.reshape(-1).view(np.uint8) for array in arrays.values()]
    # Hashing a large file takes about as long as writing it, so both run at once.
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(_digest, parts)
        with path.open("wb") as file:
            for part in parts:
                file.write(part.data)
            file.flush()
            os.fsync(file.fileno())
        return digest.result()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, which need not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str) -> None:
    """Refuse a file that is not, byte for byte, the one written."""
    if not path.is_file():
        raise ValueError(f"file '{path}' is missing; put it back, or make it again")
    status = path.stat()
    key = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, expected)
    if key in _verified:
        return
    if file_digest(path) != expected:
        raise ValueError(
            f"file '{path}' is damaged or of another run: its checksum is not the recorded one; put back the file "
            "as it was written, or make it again"
        )
    _verified.add(key)


def write_sealed(path: str | os.PathLike[str], content: dict[str, Any], file_format: int) -> None:
    """Write JSON with the number of its format and a checksum of itself, as [`replacing`]."""
    numbered = {"format": file_format, **content}
    write_atomically(path, json.dumps({**numbered, _SEAL: _seal(numbered)}, indent=1))


def read_sealed(path: str | os.PathLike[str], file_format: int) -> dict[str, Any]:
    """The content that [`write_sealed`] wrote; another format, a changed byte or a cut file is refused."""
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"file '{path}' is damaged (not JSON); put it back, or make it again") from error
    if not isinstance(content, dict) or content.get("format") != file_format:
        found = content.get("format") if isinstance(content, dict) else None
        raise ValueError(
            f"file '{path}' is of format {found}, but this version of hf_noisy reads format {file_format}; make it "
            "again, or read it with the version that wrote it"
        )
    if content.pop(_SEAL, None) != _seal(content):
        raise ValueError(f"file '{path}' was changed or damaged after it was written; put it back, or make it again")
    del content["format"]
    return content


def check_file_name(name: Any, what: str) -> str:
    """Refuse a name from data that is not a plain file name, such as one that would leave its folder."""
    fits = isinstance(name, str) and name.strip() not in ("", ".", "..") and len(name) <= 100
    if not fits or any(char in '/\\:*?"<>|' or not char.isprintable() for char in name):
        raise ValueError(f"{what} must be usable as a file name, without / or \\, got {name!r}")
    return str(name)


def _digest(parts: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    return digest.hexdigest()


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
