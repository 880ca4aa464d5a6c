"""Decisions for single rows, spans or cells, as the report's page downloads them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from hf_noisy.core.cells import plain_text
from hf_noisy.core.file_names import refuse_missing_decisions
from hf_noisy.data.csv_lines import csv_lines, saved_text

COLUMNS = ["row", "digest", "label_given", "label", "decision"]
_DECISIONS = ("relabel", "drop", "keep")


@dataclass(frozen=True)
class Decision:
    """The decision for a row, which is found by the digest of its content and its given label."""

    row: int  # where it was in the data of the report; tells identical rows apart
    digest: str
    label_given: str  # names of classes
    label: str
    decision: str  # "relabel", "drop" or "keep"


def read_decisions(path: str | Path) -> list[Decision]:
    """The decisions in a CSV that the report's page downloads."""
    refuse_missing_decisions(path)
    try:
        columns, lines = csv_lines(saved_text(Path(path).read_bytes(), path))
    except csv.Error as error:
        raise ValueError(f"'{path}' is no CSV ({error}); download it from the report again") from error
    if columns != COLUMNS:
        raise ValueError(
            f"'{path}' must have the columns {', '.join(COLUMNS)}, got {', '.join(columns) or 'none'}; make the "
            "report again with hf-noisy audit, and download the decisions from it"
        )
    decisions = [_decision(line, number, path) for number, line in lines]
    seen: set[int] = set()
    for decision in decisions:
        if decision.row in seen:
            raise ValueError(f"'{path}' decides row {decision.row} more than once; keep one of the lines")
        seen.add(decision.row)
    return decisions


def _decision(line: dict[str, str], number: int, path: str | Path) -> Decision:
    if None in line or None in line.values():
        raise ValueError(f"line {number} of the decisions '{path}' must hold {len(COLUMNS)} values")
    try:
        row = int(line["row"])
    except ValueError:
        raise ValueError(
            f"line {number} of the decisions '{path}' must begin with a row number, got '{line['row']}'"
        ) from None
    if line["decision"] not in _DECISIONS:
        raise ValueError(
            f"line {number} of the decisions '{path}' must say {', '.join(_DECISIONS)}, got '{line['decision']}'"
        )
    given, label = plain_text(line["label_given"]), plain_text(line["label"])
    return Decision(row, line["digest"], given, label, line["decision"])
