"""Duplicates and outliers of an audit: counts, CSV files, and tables of the report."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from jaxtyping import Int64

from hf_noisy.core.cells import safe_cell
from hf_noisy.data.texts import shown_texts
from hf_noisy.detection.audit import Audit
from hf_noisy.detection.duplicates import DuplicateGroup
from hf_noisy.reports.html import Table

FINDING_TITLES = {
    "duplicates_with_different_labels": "duplicates with different labels",
    "duplicates": "other duplicates",
    "near_duplicates": "near-duplicates",
    "outliers": "outliers",
}
_CAPTIONS = {
    "duplicates_with_different_labels": "groups of rows with the same features but different given labels: "
    "at least one of the labels is likely wrong",
    "duplicates": "groups of rows with the same features and the same given label",
    "near_duplicates": "groups of rows with almost the same features",
    "outliers": "rows that are far from all others, and may belong to none of the classes",
}
_SHOWN = 20  # findings of a kind in the report
_SHOWN_ROWS = 6  # of a group
_MAX_TEXT = 150  # characters


def finding_counts(audit: Audit) -> dict[str, int]:
    """The number of groups of duplicates of each kind, and of outliers."""
    return {kind: len(groups) for kind, groups in _groups(audit).items()} | {"outliers": len(_outliers(audit))}


def write_findings(audit: Audit, numbers: Int64[np.ndarray, " rows"], folder: Path) -> None:
    """One CSV file per kind of finding, with the rows' numbers in the data; only a header where there are none."""
    folder.mkdir()
    for kind, groups in _groups(audit).items():
        members = (
            [number, numbers[row], audit.class_names[audit.labels[row]], f"{similarity:.4f}"]
            for number, group in enumerate(groups)
            for row, similarity in zip(group.rows, group.similarity, strict=True)
        )
        _write_csv(folder / f"{kind}.csv", ["group", "row", "label", "similarity"], members)
    outliers = (
        [numbers[row], audit.class_names[audit.labels[row]], f"{audit.outliers.distance[row]:.4f}"]
        for row in _outliers(audit)
    )
    _write_csv(folder / "outliers.csv", ["row", "label", "distance"], outliers)


def finding_tables(rows: Dataset, audit: Audit, numbers: Int64[np.ndarray, " rows"]) -> list[Table]:
    """A table of the first findings of each kind that has any, with the rows' numbers in the data."""
    tables = []
    for kind, groups in _groups(audit).items():
        lines = [
            [
                _some(map(str, numbers[group.rows[:_SHOWN_ROWS]]), len(group.rows)),
                ", ".join(audit.class_names[label] for label in np.unique(audit.labels[group.rows])),
                f"{group.similarity.min():.3f}",
            ]
            for group in groups[:_SHOWN]
        ]
        columns = ["rows", "given labels", "similarity"]
        first = [int(group.rows[0]) for group in groups[:_SHOWN]]
        tables.append(_table(kind, len(groups), columns, lines, _texts(rows, first)))
    outliers = _outliers(audit)
    lines = [
        [str(numbers[row]), audit.class_names[audit.labels[row]], f"{audit.outliers.distance[row]:.3f}"]
        for row in outliers[:_SHOWN]
    ]
    columns = ["row", "given label", "distance"]
    tables.append(_table("outliers", len(outliers), columns, lines, _texts(rows, outliers[:_SHOWN])))
    return [table for table in tables if table.lines]


def _groups(audit: Audit) -> dict[str, list[DuplicateGroup]]:
    groups = audit.duplicates
    return {
        "duplicates_with_different_labels": [group for group in groups if group.exact and group.labels_differ],
        "duplicates": [group for group in groups if group.exact and not group.labels_differ],
        "near_duplicates": [group for group in groups if not group.exact],
    }


def _outliers(audit: Audit) -> list[int]:
    """The rows of the outliers, the farthest first."""
    order = np.argsort(-audit.outliers.distance, kind="stable")
    rows: list[int] = order[audit.outliers.is_outlier[order]].tolist()
    return rows


def _table(kind: str, count: int, columns: list[str], lines: list[list[str]], texts: list[str]) -> Table:
    if texts:
        columns = [*columns, "text"]
        lines = [[*line, text] for line, text in zip(lines, texts, strict=True)]
    first = f", the first {_SHOWN} of them here" if count > _SHOWN else ""
    caption = f"{count:,} {_CAPTIONS[kind]}{first}."
    return Table(FINDING_TITLES[kind].capitalize(), caption, columns, lines)


def _texts(rows: Dataset, chosen: list[int]) -> list[str]:
    texts = shown_texts(rows.select(chosen)) or []
    return [text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …" for text in texts]


def _some(shown: Iterable[str], count: int) -> str:
    return ", ".join(shown) + (f" and {count - _SHOWN_ROWS:,} more" if count > _SHOWN_ROWS else "")


def _write_csv(path: Path, header: list[str], lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([safe_cell(cell) for cell in line] for line in lines)
