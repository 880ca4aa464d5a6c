"""Predictions for the test rows: a file a cell in the output folder, and one a suite beside the results.

`benchmarks/results/predictions_<suite>.npz` holds by data set, as `<data set>/<name>`:

- `keys` of the cells, `predicted` classes `[cells, rows]`, and the `confidence` in them `[cells, rows]`, in 1/255
- `truth`, true labels `[rows]`, and `rows`, their positions in the test split

so that anyone can score a suite anew.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suites import Cell

Arrays = dict[str, np.ndarray]


def file_of(folder: Path, cell_file: str) -> Path:
    return (folder / cell_file).with_suffix(".npz")


def store(task: Any, cell: Cell, probabilities: np.ndarray, cpu_seconds: float) -> None:
    """Keep the predictions of a cell, to score anew and for cells that use the network again."""
    if task.folder is None:
        return
    _write(
        file_of(task.folder, cell.file),
        probabilities=probabilities.astype(np.float16),
        predicted=probabilities.argmax(1).astype(np.uint8),  # before the rounding
        truth=task.truth.astype(np.uint8),
        rows=task.positions["test"],
        cpu_seconds=cpu_seconds,
        data=task.digest,
    )


def of_same_rows(task: Any, method: str) -> Arrays | None:
    """Predictions of another method on the same rows and labels, if that cell is finished."""
    if task.folder is None:
        return None
    path = file_of(task.folder, Cell(task.setting, task.seed, method).file)
    stored = _read(path) if path.is_file() else {}
    return stored if stored and str(stored["data"]) == task.digest else None


def gather(folder: Path, path: Path, cells: Iterable[Cell]) -> int:
    """Add the files of finished cells to the file of the suite, and return the number of cells that it holds."""
    found = by_dataset(path) if path.is_file() else {}
    rows = {name: {str(key): number for number, key in enumerate(of["keys"])} for name, of in found.items()}
    made: dict[str, dict[str, Arrays]] = {}  # by data set and key
    shared = {name: {of: arrays[of] for of in ("truth", "rows")} for name, arrays in found.items()}
    for cell in cells:
        name, file = cell.setting.dataset, file_of(folder, cell.file)
        if file.is_file():
            stored = _read(file)
            shared[name] = {of: stored[of] for of in ("truth", "rows")}
            confidence = np.round(255 * stored["probabilities"].max(1).astype(np.float64)).astype(np.uint8)
            made.setdefault(name, {})[cell.key] = {"predicted": stored["predicted"], "confidence": confidence}
        elif (number := rows.get(name, {}).get(cell.key)) is not None:  # of an earlier run
            kept = {of: found[name][of][number] for of in ("predicted", "confidence")}
            made.setdefault(name, {})[cell.key] = kept
    arrays: Arrays = {}
    for name, by_key in made.items():
        keys = sorted(by_key)
        arrays |= {f"{name}/{of}": values for of, values in shared[name].items()} | {f"{name}/keys": np.array(keys)}
        for of in ("predicted", "confidence"):
            arrays[f"{name}/{of}"] = np.stack([by_key[key][of] for key in keys])
    if arrays:
        _write(path, **arrays)
    return sum(map(len, made.values()))


def by_dataset(path: Path) -> dict[str, Arrays]:
    """The arrays of the file of a suite, by data set."""
    parts: dict[str, Arrays] = {}
    for name, values in _read(path).items():
        dataset, _, of = name.rpartition("/")
        parts.setdefault(dataset, {})[of] = values
    return parts


def accuracies(path: Path) -> dict[str, float]:
    """Test accuracy by key of the cell, from its stored predictions."""
    return {
        str(key): float((predicted == arrays["truth"]).mean())
        for arrays in by_dataset(path).values()
        for key, predicted in zip(arrays["keys"], arrays["predicted"], strict=True)
    }


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _write(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)
