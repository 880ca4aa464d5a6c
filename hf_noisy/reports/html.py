"""A single-file HTML page that shows the suspicious rows of a dataset and records a decision for each.

Nothing is loaded from elsewhere. The text of rows is passed as JSON and shown as text by the page's script, so it is
never interpreted as markup.
"""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from hf_noisy.core.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

_TEMPLATES = Path(__file__).parent / "templates"
_THUMBNAIL = 96  # pixels, as the page shows them
_MAX_TEXT = 600  # characters shown of a row


@dataclass(frozen=True)
class Picture:
    """A figure of the page: the title above it, the caption below, and the content of the PNG file."""

    title: str
    caption: str
    content: bytes

    @property
    def source(self) -> str:
        return _data_url(self.content)


@dataclass(frozen=True)
class SuspiciousRow:
    """A row of the page's table."""

    row: int  # index in the dataset
    given: int  # id of the given label
    suggested: int  # id of the most likely label
    scores: Mapping[str, float]  # numbers to sort by, each in [0, 1]
    text: str | None = None
    image: str | None = None  # a thumbnail as a `data:` URL
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


def write_report(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page as one HTML file; labels and matrix must fit the classes."""
    target = Path(path)
    write_atomically(target, render_report(report))
    return target


def render_report(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    _check(report)
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    matrix = None if report.transition_matrix is None else report.transition_matrix.tolist()
    scores = list(report.rows[0].scores) if report.rows else []
    data = {"classes": list(report.class_names), "scores": scores, "rows": [_row(row) for row in report.rows]}
    template = environment.get_template("report.html.j2")
    return template.render(report=report, matrix=matrix, data=_script_safe(data))


def thumbnail(image: "Image") -> str:
    """A PNG of at most 96 pixels per side as a `data:` URL, without the metadata of the original."""
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return _data_url(buffer.getvalue())


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _row(row: SuspiciousRow) -> dict[str, Any]:
    shown = asdict(row)
    if row.text is not None and len(row.text) > _MAX_TEXT:
        shown["text"] = row.text[:_MAX_TEXT] + " …"
    shown["scores"] = {name: round(float(value), 4) for name, value in row.scores.items()}
    return shown


def _script_safe(data: dict[str, Any]) -> str:
    """JSON that cannot close its script element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _check(report: Report) -> None:
    classes = len(report.class_names)
    for row in report.rows:
        for name, label in (("given", row.given), ("suggested", row.suggested)):
            if not 0 <= label < classes:
                raise ValueError(f"{name} of row {row.row} must be a class 0 to {classes - 1}, got {label}")
    matrix = report.transition_matrix
    if matrix is not None and matrix.shape != (classes, classes):
        raise ValueError(f"transition_matrix must be [{classes}, {classes}] as class_names, got {matrix.shape}")
