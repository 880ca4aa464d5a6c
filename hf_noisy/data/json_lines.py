"""Folders of texts as gzip JSON lines.

A folder holds `labels.json` (`classes`: names in the order of the ids) and `<split>.jsonl.gz` with one row per line:
`text`, `label` (the true class) and, if labels are noisy, `weak_label` (the given class) and `weak_votes` (a class or
-1 for each labelling rule).
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT, VOTES

VARIABLE = "HF_NOISY_DATA_DIR"
CLASSES_FILE = "labels.json"
_SPLITS = ("train", "validation", "test")
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def general_folder() -> str | None:
    """The folder in the environment variable, which holds the folders of named datasets."""
    # Read here: `datasets` replaces `os` in the modules of builders, with the environment of the first builder.
    return os.environ.get(VARIABLE)


def has_json_lines(folder: Path) -> bool:
    """Whether the folder holds JSON lines."""
    return (folder / CLASSES_FILE).is_file()


def json_lines_classes(folder: Path) -> list[str]:
    """Names of the classes in the order of their ids."""
    classes: list[str] = json.loads((folder / CLASSES_FILE).read_text("utf-8"))["classes"]
    return classes


def json_lines_splits(folder: Path) -> dict[str, Path]:
    """The file of each split that exists; at least one must."""
    files = {split: folder / f"{split}.jsonl.gz" for split in _SPLITS}
    found = {split: path for split, path in files.items() if path.is_file()}
    if not found:
        raise FileNotFoundError(
            f"folder '{folder}' holds {CLASSES_FILE} but no train.jsonl.gz; put the rows beside it"
        )
    return found


def json_lines_have_votes(folder: Path) -> bool:
    """Whether the rows carry the votes of labelling rules."""
    return VOTES in next(json_lines(next(iter(json_lines_splits(folder).values()))), {})


def json_lines(path: Path, given: bool = True) -> Iterator[dict[str, Any]]:
    """Rows of one file, one at a time; `label` is the given class, or the true one if `given` is False."""

    def columns(row: dict[str, Any]) -> dict[str, Any]:
        label = row.get("weak_label", row["label"]) if given else row["label"]
        votes = {VOTES: row["weak_votes"]} if "weak_votes" in row else {}
        return {TEXT: row["text"], LABEL: label, CLEAN_LABEL: row["label"], **votes}

    return json_rows(path, columns)


def json_rows(path: Path, columns: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The columns of each row of one file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield columns(json.loads(line))
    except _BROKEN as error:
        raise ValueError(
            f"file '{path}' is cut short, damaged or of another form ({type(error).__name__}: {error}); replace it"
        ) from error
