"""Rows as a file holds them, and columns of one kind over all files of a source."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, List, Value
from datasets.table import InMemoryTable

from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.replace_column import with_column

logger = logging.getLogger(__name__)

_INTEGER, _DECIMAL = (
    r"^(0|-?[1-9][0-9]{0,17})$",
    r"^-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$",
)
_NOTHING = (Value("null"), List(Value("null")))  # of columns without any value


@dataclass(frozen=True)
class RawRows:
    """A table and the place of each row; `untyped` if all columns are strings, as in a file without types."""

    table: pa.Table
    places: Places
    untyped: bool = False


def numbers_array(numbers: Iterable[int]) -> np.ndarray:
    """Line or row numbers."""
    return np.fromiter(numbers, np.int64)


def holds_numbers(texts: pa.ChunkedArray) -> bool:
    """Whether every string is a decimal number."""
    return pc.all(pc.match_substring_regex(texts, _DECIMAL)).as_py() is True


def as_datasets(parts: list[RawRows], wanted: Wanted) -> list[Dataset]:
    """A dataset for each part, with columns of the same kind in all of them."""
    tables = [part.table for part in parts]
    for column in dict.fromkeys(name for part in parts for name in part.table.column_names):
        having = [index for index, part in enumerate(parts) if column in part.table.column_names]
        if all(parts[index].untyped for index in having) and not wanted.is_string(column):
            kind = _kind([tables[index].column(column) for index in having])
            for index in having:
                tables[index] = _cast(tables[index], column, kind)
    rows = [Dataset(InMemoryTable(table)) for table in tables]
    for column in dict.fromkeys(name for part in rows for name in part.column_names):
        having = [index for index, part in enumerate(rows) if column in part.column_names]
        features = {str(rows[index].features[column]): rows[index].features[column] for index in having}
        known = [feature for feature in features.values() if feature not in _NOTHING]
        if len(features) > 1:
            common = known[0] if len(known) == 1 else _common(known, column, parts)
            for index in having:
                rows[index] = _as_feature(rows[index], column, common)
    return rows


def _kind(columns: list[pa.ChunkedArray]) -> pa.DataType:
    """The type that keeps every value of columns of strings: whole numbers, decimal numbers, or strings."""
    if all(len(column) == column.null_count for column in columns):
        return pa.string()
    for pattern, kind in ((_INTEGER, pa.int64()), (_DECIMAL, pa.float64())):
        if all(pc.all(pc.match_substring_regex(column, pattern)).as_py() is not False for column in columns):
            return kind
    return pa.string()


def _cast(table: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    position = table.column_names.index(column)
    return table.set_column(position, column, table.column(column).cast(kind))


def _common(features: list[Any], column: str, parts: list[RawRows]) -> Value:
    plain = [feature for feature in features if isinstance(feature, Value | ClassLabel)]
    names = ", ".join(dict.fromkeys(part.places.name for part in parts))
    if len(plain) < len(features):
        kinds = ", ".join(map(str, features))
        raise ValueError(f"column '{column}' is not of the same kind in {names}: {kinds}; rename or convert one")
    if all(isinstance(feature, Value) and feature.dtype.startswith(("int", "float", "uint")) for feature in features):
        return Value("float64" if any("float" in feature.dtype for feature in features) else "int64")
    if any(isinstance(feature, ClassLabel) or "string" not in feature.dtype for feature in features):
        logger.warning(f"column '{column}' is of several kinds in {names} and was read as strings")
    return Value("string")


def _as_feature(rows: Dataset, column: str, feature: Any) -> Dataset:
    given = rows.features[column]
    if not isinstance(given, ClassLabel) or isinstance(feature, ClassLabel):
        return rows.cast_column(column, feature)
    names = [None if label is None or label < 0 else given.int2str(label) for label in rows[column][:]]
    return with_column(rows, column, names, feature)
