"""Published label files: arrays, torch files, JSON and text."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64


def read_label_file(path: str | Path, key: str | None = None) -> Int64[np.ndarray, " rows"]:
    """Labels `[rows]`, int64, of a `.npy`, `.npz`, `.pt`, `.pth`, `.json` or `.txt` file; no code in it is run."""
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"label file '{path}' must end in {', '.join(_READERS)}; convert it")
    if not path.is_file():
        raise FileNotFoundError(f"label file '{path}' does not exist; check the path")
    try:
        content = _READERS[path.suffix](path)
    except Exception as error:  # each reader raises its own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"label file '{path}' cannot be read as {path.suffix}: {reason}") from error
    return whole_numbers(_entry(content, key, path), f"label file '{path}'")


def whole_numbers(values: Any, name: str) -> Int64[np.ndarray, " rows"]:
    """Values as int64, refused unless they are whole numbers `[rows]`."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold one whole number per row, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _entry(content: Any, key: str | None, path: Path) -> Any:
    if not isinstance(content, Mapping):
        if key is not None:
            raise ValueError(f"label file '{path}' holds one list of labels, so leave key='{key}' out")
        return content
    if key is None and len(content) == 1:
        return next(iter(content.values()))
    if key not in content:
        raise ValueError(f"key must be one of {', '.join(map(str, content))} in label file '{path}', got {key!r}")
    return content[key]


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Even numpy arrays are refused: to read them, torch would run numpy's code on the content of the file.
        raise ValueError("it holds more than tensors and lists; save the labels as .npz") from error


def _read_lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".npz": _read_npz,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".json": lambda path: json.loads(path.read_text("utf-8")),
    ".txt": _read_lines,
}
