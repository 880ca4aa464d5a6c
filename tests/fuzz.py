"""Damage to files, for tests of what reads them: the same values come back, or one sentence."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

KINDS = [
    "truncate",
    "flip",
    "flip",
    "flip",
    "overwrite",
    "insert",
    "empty",
    "remove",
    "folder",
    "swap",
    "dtype",
    "shape",
]


def damage(folder: Path, names: Sequence[str], rng: np.random.Generator) -> str:
    """Damage one of the files in one way, and say which."""
    name, kind = str(rng.choice(names)), str(rng.choice(KINDS))
    path = folder / name
    content = bytearray(path.read_bytes())
    position = int(rng.integers(len(content)))
    if kind == "truncate":
        path.write_bytes(content[:position])
    elif kind == "flip":
        # Half of them in the first bytes, where the meaning of all others is said.
        position = position if rng.random() < 0.5 else int(rng.integers(min(len(content), 300)))
        content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
    elif kind == "overwrite":
        content[position : position + 8] = rng.bytes(8)
        path.write_bytes(content)
    elif kind == "insert":
        content[position:position] = rng.bytes(3)
        path.write_bytes(content)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind in ("remove", "folder"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
    elif kind == "swap":
        path.write_bytes((folder / str(rng.choice(names))).read_bytes())
    else:
        _rewrite(path, kind)
    return f"{kind} {name} at {position}"


def _rewrite(path: Path, kind: str) -> None:
    """A file that is whole and valid, with another type of numbers or another shape."""
    try:
        tensors = load_file(path)
    except SafetensorError:
        path.write_text("{}")
        return
    changed = {name: t.astype(np.float64) if kind == "dtype" else t.reshape(-1, 1) for name, t in tensors.items()}
    save_file(changed, path)


def outcome(read: Callable[[], Any], what: str = "the reader") -> tuple[Any, str | None]:
    """What a reader returns, and None; or None, and its error, which must be one sentence of the right class."""
    try:
        return read(), None
    except (ValueError, OSError) as error:
        said, raw = str(error), isinstance(error, UnicodeError)
    except Exception as error:
        raise AssertionError(f"{what} gave {type(error).__name__}: {error}") from error
    assert len(said) > 20, what
    assert "\n" not in said, f"{what} gave {said}"
    assert not raw, f"{what} gave {said}"
    return None, said


def fuzz(source: Path, scratch: Path, read: Callable[[Path], Any], times: int, seed: int = 0) -> int:
    """Read damaged copies of a folder; every time the same values must come back, or an error in one sentence.

    Returns:
        How many copies were refused.
    """
    names = [str(path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()]
    expected, refused = read(source), 0
    for number in range(times):
        copy = scratch / str(number)
        shutil.copytree(source, copy)
        what = damage(copy, names, np.random.default_rng([seed, number]))
        found, said = outcome(lambda copy=copy: read(copy), what)
        if said is None:
            np.testing.assert_equal(found, expected, err_msg=what)
        refused += said is not None
        shutil.rmtree(copy)
    return refused
