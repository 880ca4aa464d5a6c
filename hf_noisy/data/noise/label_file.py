"""Label files as they are published: arrays, torch files, JSON and text."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64


def read_label_file(path: str | Path, key: str | None = None) -> Int64[np.ndarray, " rows"]:
    """Labels from a file; nothing in it is run.

    Args:
        path: `.npy`; `.npz`; `.pt` or `.pth`, a tensor, a list or a dictionary of them, read with `weights_only=True`;
            `.json`, a list as DivideMix writes it; `.txt`, one label a line.
        key: Which labels, where the file holds several by name.

    Returns:
        Labels `[rows]`, int64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind, does not hold whole numbers, or `key` does not say which labels.

    Example:
        ```python
        read_label_file("cifar10n_train_labels.npz", key="worse_label").shape  # (50000,)
        ```
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"label file '{path}' must end in {', '.join(_READERS)}; convert it")
    if not path.is_file():
        raise FileNotFoundError(f"label file '{path}' is not there; check the path")
    try:
        content = _READERS[path.suffix](path)
    except Exception as error:  # each reader has errors of its own, and all mean that the file is no label file
        raise ValueError(f"label file '{path}' cannot be read as {path.suffix}: {_first_line(error)}") from error
    return whole_numbers(_entry(content, key, path), f"label file '{path}'")


def whole_numbers(values: Any, name: str) -> Int64[np.ndarray, " rows"]:
    """Values as int64, refused unless they are whole numbers, one a row; `name` says whose they are."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold one whole number a row, got {array.dtype} of shape {array.shape}")
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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Numpy arrays too: torch would have to be told to run numpy's code on what the file says.
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
