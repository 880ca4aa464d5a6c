"""A page in one HTML file on which a person chooses the right class of rows, one row at a time.

Nothing is loaded from elsewhere and nothing is sent: the answers stay in the browser until they are downloaded as
`checked.csv`, which `read_checked` and every `--checked` option take.
"""

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_noisy.core.columns import IMAGE, TEXT
from hf_noisy.core.files import write_atomically
from hf_noisy.data.checked import CheckedRows, checked_csv, class_names
from hf_noisy.data.labels import stored_labels
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.texts import shown_texts
from hf_noisy.detection.rows_to_check import RowSample
from hf_noisy.reports.page_parts import render_template, script_safe, storage_key, thumbnail

_IMAGE_SIDE = 512  # pixels


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


def make_check_page(
    dataset: Dataset, sample: RowSample, title: str = "Check rows", checked: CheckedRows | None = None
) -> CheckPage:
    """The page of a sample of rows.

    Args:
        dataset: The rows, with a column `text` or `image` (or both) and their given labels.
        sample: Which rows, from [`~hf_noisy.detection.rows_to_check.rows_to_check`].
        title: What stands above the page.
        checked: Rows checked earlier, which the downloaded file then holds too.

    Returns:
        The page, for [`write_check_page`].

    Raises:
        ValueError: If there is neither text nor image, or the rows have no classes.

    Example:
        >>> from hf_noisy import rows_to_check
        >>> data = Dataset.from_dict({"text": ["good", "bad", "so-so"], "label": [0, 1, 0]})
        >>> page = make_check_page(data, rows_to_check(data, 2), "reviews")
        >>> len(page.rows), page.class_names, page.rows[0].strategy
        (2, ['0', '1'], 'random')
    """
    shown = dataset.select(sample.index).with_format(None)
    if TEXT not in shown.column_names and IMAGE not in shown.column_names:
        raise ValueError(f"a page to check rows needs a column '{TEXT}' or '{IMAGE}', got {shown.column_names}")
    nothing = [None] * len(sample)
    texts = shown_texts(shown) or nothing
    stored = shown[IMAGE] if IMAGE in shown.column_names else nothing
    images = [None if one is None else thumbnail(one, _IMAGE_SIDE) for one in stored]
    given = nothing if (labels := stored_labels(shown)) is None else labels.tolist()
    rows = [
        RowToCheck(int(row), digest, text, image, label, sample.strategy, float(probability), sample.batch)
        for row, digest, text, image, label, probability in zip(
            sample.index, sample.digests, texts, images, given, sample.probability, strict=True
        )
    ]
    return CheckPage(title, class_names(dataset), rows, _earlier(dataset, checked))


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
        "key": storage_key("check", [list(page.class_names), [[row.row, row.digest] for row in page.rows]]),
        "classes": list(page.class_names),
        "earlier": [list(line) for line in page.earlier],
        "rows": [_row(row) for row in page.rows],
    }
    return {"check": page, "check_data": script_safe(data)}


def _earlier(dataset: Dataset, checked: CheckedRows | None) -> list[list[str]]:
    if checked is None:
        return []
    text = checked_csv(checked, row_digests(dataset.select(checked.index)), class_names(dataset))
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


def _row(row: RowToCheck) -> dict[str, Any]:
    return vars(row) | {"probability": None if math.isnan(row.probability) else row.probability}


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
