"""JSON lines, and JSON arrays or columns; every value as it is written."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hf_noisy.core.columns import TOKENS
from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows, numbers_array
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)


def read_json(text: str, name: str, wanted: Wanted) -> RawRows:
    """The rows of a JSON file of any of these forms; nested values are reached by dotted names."""
    if not text.strip():
        raise ValueError(f"'{name}' is empty; it must hold one JSON object a line, or a list of objects")
    rows, unit, numbers = _rows(text, name)
    places = Places([Part(name, unit, numbers_array(numbers))])
    odd = [index for index, row in enumerate(rows) if not isinstance(row, dict)]
    if odd:
        raise ValueError(f'{places.of(odd)}: no JSON object; each row must be of the form {{"text": ..., ...}}')
    if not rows:
        raise ValueError(f"'{name}' holds no rows")
    names = dict.fromkeys(key for row in rows for key in row)
    columns = {key: [row.get(key) for row in rows] for key in names}
    for dotted in (column for column in (*wanted.columns, "clean_label") if "." in column and column not in columns):
        values = [_nested(row, dotted.split(".")) for row in rows]
        if any(value is not None for value in values):
            columns[dotted] = values
    return RawRows(pa.table({key: _column(values, key, wanted, places) for key, values in columns.items()}), places)


def _rows(text: str, name: str) -> tuple[list[Any], str, Sequence[int]]:
    """The rows, what they are counted in, and their numbers."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip()[0] == "[":
            raise ValueError(f"line {error.lineno} of '{name}' is no JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError(f"'{name}' is nested too deeply to be read") from None
    else:
        if isinstance(whole, dict) and (rows := _rows_of(whole)) is not None:
            whole = rows
        if isinstance(whole, list):
            return whole, "row", range(len(whole))
    rows, numbers, faults = [], [], {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            numbers.append(number)
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                faults[number] = error.msg
            except RecursionError:
                faults[number] = "nested too deeply"
    if faults:
        places = Places([Part(name, "line", numbers_array(faults))])
        raise ValueError(f"{places.of(range(len(faults)))}: no JSON ({next(iter(faults.values()))})")
    return rows, "line", numbers


def _rows_of(whole: dict[str, Any]) -> list[Any] | None:
    """The rows of one object: a list of objects in it, or columns as lists or as objects by row; None of one row."""
    words = whole.get(TOKENS)
    if isinstance(words, list) and not any(isinstance(one, list) for one in words):
        return None  # a sentence
    lists = [value for value in whole.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) == 1:
        return list(lists[0])
    for kind in (list, dict):
        columns = list(whole.values())
        if len(columns) > 1 and all(isinstance(column, kind) and len(column) == len(columns[0]) for column in columns):
            cells = [column.values() if isinstance(column, dict) else column for column in columns]
            return [dict(zip(whole, row, strict=True)) for row in zip(*cells, strict=True)]
    return None


def _nested(value: Any, keys: list[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _column(values: list[Any], column: str, wanted: Wanted, places: Places) -> pa.Array:
    """The values with their own type; values of several kinds become strings, each as it would be written."""
    try:
        found = pa.array(values)
    except UnicodeEncodeError:
        return pa.array(_strings(values, column, places))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        found = None  # values of several kinds
    if found is not None and not (pa.types.is_floating(found.type) and wanted.is_string(column)):
        return found
    containers = [row for row, value in enumerate(values) if isinstance(value, list | dict)]
    if containers and column in wanted.columns:
        raise ValueError(f"{places.of(containers)}: column '{column}' holds a list or an object beside single values")
    if not all(value is None or isinstance(value, int | float) for value in values):
        logger.warning(f"column '{column}' of {places.name} holds values of several kinds, read as strings")
    return pa.array(_strings(values, column, places), pa.string())


def _strings(values: list[Any], column: str, places: Places) -> list[str | None]:
    strings = [_string(value) for value in values]
    broken = [row for row, value in enumerate(strings) if value is not None and _is_broken(value)]
    if broken:
        raise ValueError(f"{places.of(broken)}: column '{column}' holds half a character (an unpaired surrogate)")
    return strings


def _string(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
