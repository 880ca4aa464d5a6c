"""A lock that keeps two runs from writing one folder at once; it ends with its process, however that ends."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

if sys.platform != "win32":  # there, two runs at once are noticed only when the second puts its output in place
    import fcntl

# Of disks without locks, such as some network disks: as on Windows.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # nothing is written through a link
_held: set[Path] = set()  # by this process, which its own locks do not stop


@contextmanager
def run_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder, a hidden file beside it that names the process; `what` names the folder in errors."""
    file = folder.with_name(f".{folder.name}.hf-noisy-lock")
    if file in _held:
        raise _refused(what, "this process")
    descriptor = _locked(file, what)
    try:
        _held.add(file)
        os.truncate(descriptor, 0)
        holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%d %b %H:%M}"
        os.write(descriptor, holder.encode())
        yield
    finally:
        _held.discard(file)
        with suppress(OSError):
            file.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(file: Path, what: str) -> int:
    """The open and locked file; a file that an ended process has left is taken over."""
    while True:
        descriptor = os.open(file, _OPEN, 0o666)
        try:
            if sys.platform == "win32":
                return descriptor
            # A lock of the process, not of the open file: processes that it forks do not keep it alive.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                    return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise _refused(what, holder) from None
        os.close(descriptor)  # its holder removed the file in the meantime


def _refused(what: str, holder: str) -> FileExistsError:
    return FileExistsError(
        f"{what} is being written by another run ({holder}); wait until it has ended or name another folder"
    )
