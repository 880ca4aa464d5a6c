"""A page in one HTML file on which a person chooses the right class of rows, one row at a time.

Nothing is loaded from elsewhere and nothing is sent: the answers stay in the browser until they are downloaded as
`checked.csv`, which `read_checked` and every `--checked` option take.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_noisy.core.files import write_atomically
from hf_noisy.reports.page_parts import render_template, script_safe


@dataclass(frozen=True)
class RowToCheck:
    """A row of the page: how it is found again, how it was drawn, and its content."""

    row: int  # index in the dataset
    digest: str  # of the content
    text: str | None = None
    image: str | None = None  # a `data:` URL
    given: int | None = None  # id of the given label, hidden until it is asked for
    strategy: str = "unknown"  # how the row was drawn
    probability: float = math.nan  # of being drawn
    batch: int = 0  # number of the draw


@dataclass(frozen=True)
class CheckPage:
    """The content of the page."""

    title: str
    class_names: Sequence[str]
    rows: Sequence[RowToCheck]
    earlier: Sequence[Sequence[str]] = ()  # lines of an earlier checked.csv that the download begins with


def write_check_page(page: CheckPage, path: str | os.PathLike[str]) -> Path:
    """Write the page as one HTML file.

    Args:
        page: At least one row, each with a text or an image.
        path: The file to write.

    Returns:
        The path.

    Raises:
        ValueError: If there is no row, a row has nothing to show, or a given label is not among the classes.

    Example:
        >>> rows = [RowToCheck(7, digest="5f2c", text="A film to see twice.")]
        >>> path = write_check_page(CheckPage("reviews", ["good", "bad"], rows), "check.html")  # doctest: +SKIP
    """
    target = Path(path)
    write_atomically(target, render_check_page(page))
    return target


def render_check_page(page: CheckPage) -> str:
    """The page as text."""
    return render_template("check.html.j2", **check_values(page))


def check_values(page: CheckPage) -> dict[str, Any]:
    """What the templates of the page are filled with."""
    _check(page)
    data = {
        "key": _storage_key(page),
        "classes": list(page.class_names),
        "earlier": [list(line) for line in page.earlier],
        "rows": [_row(row) for row in page.rows],
    }
    return {"check": page, "check_data": script_safe(data)}


def _row(row: RowToCheck) -> dict[str, Any]:
    return vars(row) | {"probability": None if math.isnan(row.probability) else row.probability}


def _storage_key(page: CheckPage) -> str:
    """A name in the local storage that no other data or sample has, as all local files may share one storage."""
    sample = [list(page.class_names), [[row.row, row.digest] for row in page.rows]]
    return f"hf-noisy-check-{hashlib.sha256(json.dumps(sample).encode()).hexdigest()[:32]}"


def _check(page: CheckPage) -> None:
    if not page.rows:
        raise ValueError("rows must hold at least one row to check, got none")
    for row in page.rows:
        if row.text is None and row.image is None:
            raise ValueError(f"row {row.row} has neither text nor image, so nobody can tell its class")
        if row.given is not None and not 0 <= row.given < len(page.class_names):
            raise ValueError(
                f"given of row {row.row} must be a class 0 to {len(page.class_names) - 1}, got {row.given}"
            )
