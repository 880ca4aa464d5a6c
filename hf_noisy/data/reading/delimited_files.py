"""Tables with a delimiter (CSV, TSV), every cell as it is written; only an empty cell is missing."""

import csv
import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows, numbers_array
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)

_DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 20  # records, to see which delimiter cuts all of them alike


class _Record(NamedTuple):
    line: int  # where it begins
    fields: list[str]


class _Malformed(ValueError):
    """A table that cannot be read with these quotes."""


def read_delimited(text: str, name: str, wanted: Wanted, must_have_header: bool = False) -> RawRows:
    """The rows of a table with a header line; columns are strings."""
    limit = csv.field_size_limit(sys.maxsize)  # of the whole process
    try:
        return _read_table(text, name, wanted, must_have_header)
    finally:
        csv.field_size_limit(limit)


def _read_table(text: str, name: str, wanted: Wanted, must_have_header: bool) -> RawRows:
    first_line = 1
    if text[:4].lower() == "sep=" and text[5:6] in "\r\n":  # written by Excel
        text, first_line = text[5:].lstrip("\r").removeprefix("\n"), 2
    if not text.strip():
        raise ValueError(f"'{name}' is empty; it must have a header line with the names of the columns")
    delimiter = wanted.delimiter or _find_delimiter(text, wanted.columns)
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1:
        raise ValueError(f"delimiter='{delimiter}' must be one character, such as ';' or tab")
    if must_have_header and not _hits(text, delimiter, wanted.columns):
        raise ValueError(
            f"'{name}' is no table, since line 1 names none of the columns {', '.join(wanted.columns)}; write a "
            "header line, or name the columns with text_column= and label_column="
        )
    header, *records = _read(text, name, delimiter, wanted.label)
    columns = _column_names(header, name, first_line)
    if not records:
        raise ValueError(f"'{name}' has a header but no rows")
    cells = dict(zip(columns, zip(*(record.fields for record in records), strict=True), strict=True))
    table = {
        column: pa.array([cell or None for cell in values], pa.string())
        for column, values in cells.items()
        if not (column.startswith("Unnamed: ") and not any(values))  # a delimiter at the end of each line
    }
    lines = numbers_array(record.line + first_line - 1 for record in records)
    return RawRows(pa.table(table), Places([Part(name, "line", lines)]), untyped=True)


def _find_delimiter(text: str, columns: Sequence[str]) -> str:
    """The delimiter by which the header has most of the wanted columns; then, by which records are cut alike."""
    best = max(_DELIMITERS, key=lambda delimiter: (_hits(text, delimiter, columns), _columns_in_all(text, delimiter)))
    return best if best in text else ","


def _hits(text: str, delimiter: str, columns: Sequence[str]) -> int:
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    return len({field.strip() for field in header} & set(columns))


def _columns_in_all(text: str, delimiter: str) -> int:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    counts = {len(record) for record, _ in zip(filter(None, reader), range(_LOOKED_AT), strict=False)}
    return counts.pop() if len(counts) == 1 else 0


def _read(text: str, name: str, delimiter: str, label: str) -> list[_Record]:
    """All records; where quotes are not those of CSV, other ways to read them are tried, and reported."""
    try:
        return _even(list(_records(text, name, delimiter, strict=True)), name, delimiter, label)
    except _Malformed as error:
        ways: list[tuple[str, str, dict[str, Any]]] = [
            ("backslashes before quotes", text.replace('\\"', '""'), {"strict": True}),
            ("quotes as ordinary characters", text, {"quoting": csv.QUOTE_NONE}),
        ]
        for what, other, options in ways:
            try:
                records = _even(list(_records(other, name, delimiter, **options)), name, delimiter, label)
            except ValueError:
                continue
            logger.warning(f"'{name}' was read with {what}, since {error}")
            return records
        raise ValueError(f"{error}; double the quotes within a quoted field") from None


def _records(text: str, name: str, delimiter: str, **options: Any) -> Iterator[_Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **options)
    line = 1
    try:
        for fields in reader:
            if fields:  # not a blank line
                yield _Record(line, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _Malformed(
            f"line {line} of '{name}' begins a quoted field that does not end before a delimiter"
        ) from error


def _even(records: list[_Record], name: str, delimiter: str, label: str) -> list[_Record]:
    """The records, all as long as the header; refused where they are not, or where a quote swallowed rows."""
    width = len(records[0].fields)
    for record in records:
        if not any(record.fields[width:]):
            del record.fields[width:]
    uneven = [record.line for record in records if len(record.fields) != width]
    if uneven:
        places = Places([Part(name, "line", numbers_array(uneven))]).of(range(len(uneven)))
        raise ValueError(
            f"{places}: not the {width} fields of the header; quote fields that hold {delimiter!r}, or pass delimiter="
        )
    header = [field.strip() for field in records[0].fields]
    if label in header:
        _refuse_swallowed(records[1:], name, delimiter, header.index(label))
    return records


def _refuse_swallowed(records: list[_Record], name: str, delimiter: str, label: int) -> None:
    """Refuse a quoted field with lines in it that are whole rows: a text began with a quote that was not closed."""
    labels = {record.fields[label] for record in records if "\n" not in record.fields[label]} - {""}
    for record in records:
        for column, field in enumerate(record.fields):
            lines = field.splitlines()
            if len(lines) < 2:
                continue
            rows = [
                record.fields[:column] + lines[0].split(delimiter),
                *(line.split(delimiter) for line in lines[1:-1]),
            ]
            if any(len(row) == len(record.fields) and row[label] in labels for row in rows):
                raise _Malformed(f"line {record.line} of '{name}' begins a quoted field that holds whole rows")


def _column_names(header: _Record, name: str, line: int) -> list[str]:
    names = [field.strip() or f"Unnamed: {position}" for position, field in enumerate(header.fields)]
    if twice := [column for column, count in Counter(names).items() if count > 1]:
        raise ValueError(f"line {line} of '{name}' names the column '{twice[0]}' twice; rename one")
    return names
