"""One HTML page that shows what is wrong with a data set and lets a person decide row by row.

The page is one file: no server, nothing loaded from elsewhere. Text of the data set reaches the page as JSON, which
the page's script shows as text, so that nothing in a row is ever taken for markup.
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
_MAX_TEXT = 600  # characters of a row that one reads


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        title: Above the figure.
        caption: How to read it, below.
        content: The bytes of the image file.
        media_type: Of the bytes, such as `image/png`.
    """

    title: str
    caption: str
    content: bytes
    media_type: str = "image/png"

    @property
    def source(self) -> str:
        """The image as a `data:` address."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class SuspiciousRow:
    """A row of the page's table.

    Attributes:
        row: Its number in the data set, from 0.
        given: Id of the given label.
        suggested: Id of the label that the evidence speaks for.
        scores: Numbers to sort by, such as the quality of the given label, each in [0, 1].
        text: What the row says; cut after some hundred characters.
        image: Its thumbnail as a `data:` address.
        checked: Whether the box "relabel" is ticked at first.
    """

    row: int
    given: int
    suggested: int
    scores: Mapping[str, float]
    text: str | None = None
    image: str | None = None
    checked: bool = False


@dataclass(frozen=True)
class Report:
    """What [`write_report`] puts on the page.

    Attributes:
        title: Name of the data set, as a rule.
        lead: A sentence below the title.
        facts: Figures by their name, shown as tiles, in order.
        class_names: Names of the classes, in the order of the ids.
        transition_matrix: Estimated P(given = column | true = row), `[classes, classes]`, or None.
        pictures: Figures.
        rows: The most suspicious rows, the worst first.
        num_rows: Rows of the data set.
        notes: Sentences at the end: how the figures were made, what they do not say.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    class_names: Sequence[str]
    rows: Sequence[SuspiciousRow]
    num_rows: int
    transition_matrix: Float[np.ndarray, "classes classes"] | None = None
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def write_report(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page.

    Args:
        report: What to show.
        path: File to write, `.html`.

    Returns:
        The path written.

    Raises:
        ValueError: If a row's label is no class, or the matrix does not fit the classes.

    Example:
        >>> row = SuspiciousRow(3, given=0, suggested=1, scores={"quality": 0.1}, text="<script>")
        >>> report = Report("demo", "Two classes.", {"rows": "5"}, ["no", "yes"], [row], num_rows=5)
        >>> "<script>alert" in render_report(report)
        False
    """
    target = Path(path)
    write_atomically(target, render_report(report))
    return target


def render_report(report: Report) -> str:
    """The page as text; arguments and errors as [`write_report`]."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    _check(report)
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    matrix = None if report.transition_matrix is None else report.transition_matrix.tolist()
    scores = list(report.rows[0].scores) if report.rows else []
    data = {"classes": list(report.class_names), "scores": scores, "rows": [_row(row) for row in report.rows]}
    template = environment.get_template("report.html.j2")
    return template.render(report=report, matrix=matrix, data=_script_safe(data))


def thumbnail(image: "Image") -> str:
    """A small copy of an image as a `data:` address.

    Args:
        image: Of Pillow, any mode.

    Returns:
        PNG, at most 96 pixels wide and high, without the metadata of the original.
    """
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _row(row: SuspiciousRow) -> dict[str, Any]:
    shown = asdict(row)
    if row.text is not None and len(row.text) > _MAX_TEXT:
        shown["text"] = row.text[:_MAX_TEXT] + " …"
    shown["scores"] = {name: round(float(value), 4) for name, value in row.scores.items()}
    return shown


def _script_safe(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever the text of a row."""
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
