"""A single-file HTML page that shows the suspicious rows of a dataset and records a decision for each.

Nothing is loaded from elsewhere. The text of rows is passed as JSON and shown as text by the page's script, so it is
never interpreted as markup.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_noisy.core.files import write_atomically
from hf_noisy.reports.check_page import CheckPage, check_values
from hf_noisy.reports.page_parts import data_url, render_template, script_safe, storage_key

DECISIONS = ("relabel", "drop", "keep")
_MAX_CLASSES = 40  # in the matrix; it grows with their square
_MAX_TEXT = 600  # characters shown of a row
MARK_BEGIN, MARK_END = "\u27e6", "\u27e7"  # around what a text is about; the page highlights it


@dataclass(frozen=True)
class Picture:
    """A figure of the page: the title above it, the caption below, and the content of the PNG file."""

    title: str
    caption: str
    content: bytes

    @property
    def source(self) -> str:
        return data_url(self.content)


@dataclass(frozen=True)
class SuspiciousRow:
    """A row of the page's table."""

    row: int  # index in the dataset
    given: int  # id of the given label
    suggested: int  # id of the most likely label
    scores: Mapping[str, float]  # numbers to sort by, each in [0, 1]
    text: str | None = None
    image: str | None = None  # a thumbnail as a `data:` URL
    digest: str = ""  # of the content, by which decisions find the row again
    checked: bool = False  # whether "relabel" is ticked initially


@dataclass(frozen=True)
class Table:
    """A table of the page: the title above it, the caption below, the names of the columns, and the cells as text."""

    title: str
    caption: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    title: str
    lead: str  # a sentence below the title
    facts: Mapping[str, str]  # name -> figure, shown as tiles
    class_names: Sequence[str]
    rows: Sequence[SuspiciousRow]  # the most suspicious first
    num_rows: int  # of the dataset
    transition_matrix: Float[np.ndarray, "classes classes"] | None = None  # P(given = column | true = row)
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = field(default_factory=tuple)  # sentences at the end, about the computation
    check: CheckPage | None = None  # rows to check by hand, on a page of their own
    decisions: Sequence[str] = DECISIONS
    relabels_all: bool = True  # whether all shown rows can be relabelled at once
    listed: str = "rows"  # what the lines are


def write_report(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page as one HTML file; labels and matrix must fit the classes."""
    target = Path(path)
    write_atomically(target, render_report(report))
    return target


def render_report(report: Report) -> str:
    """The page as text."""
    _check(report)
    shown = _most_confused(report.transition_matrix, len(report.class_names))
    matrix = None if report.transition_matrix is None else report.transition_matrix[np.ix_(shown, shown)].tolist()
    scores = list(report.rows[0].scores) if report.rows else []
    rows = [_row(row) for row in report.rows]
    content = [list(report.class_names), [[row.row, row.digest, row.given, row.suggested] for row in report.rows]]
    data = {
        "key": storage_key("report", content),
        "classes": list(report.class_names),
        "scores": scores,
        "rows": rows,
        "decisions": list(report.decisions),
    }
    check = {"check": None} if report.check is None else check_values(report.check)
    return render_template(
        "report.html.j2", report=report, matrix=matrix, shown=shown, data=script_safe(data), **check
    )


def _most_confused(matrix: np.ndarray | None, num_classes: int) -> list[int]:
    """The classes of the matrix on the page: all, or those with the largest shares beside the diagonal."""
    if matrix is None or num_classes <= _MAX_CLASSES:
        return list(range(num_classes))
    beside = matrix - np.diag(np.diag(matrix))
    largest = np.maximum(beside.max(0), beside.max(1))
    return sorted(np.argsort(-largest, kind="stable")[:_MAX_CLASSES].tolist())


def _row(row: SuspiciousRow) -> dict[str, Any]:
    shown = asdict(row)
    if row.text is not None and len(row.text) > _MAX_TEXT:
        shown["text"] = row.text[:_MAX_TEXT] + " …"
    shown["scores"] = {name: round(float(value), 4) for name, value in row.scores.items()}
    return shown


def _check(report: Report) -> None:
    classes = len(report.class_names)
    for row in report.rows:
        for name, label in (("given", row.given), ("suggested", row.suggested)):
            if not 0 <= label < classes:
                raise ValueError(f"{name} of row {row.row} must be a class 0 to {classes - 1}, got {label}")
    matrix = report.transition_matrix
    if matrix is not None and matrix.shape != (classes, classes):
        raise ValueError(f"transition_matrix must be [{classes}, {classes}] as class_names, got {matrix.shape}")
