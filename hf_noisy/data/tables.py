"""Numeric tables: named columns as the features of the rows, and each row described for people."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from datasets import ClassLabel, Dataset, List, Value
from jaxtyping import Float

from hf_noisy.core.columns import CLEAN_LABEL, FEATURES, IMAGE, LABEL, TEXT
from hf_noisy.data.replace_column import with_column

Where = Callable[[np.ndarray], str]  # where rows stand, such as "lines 3 and 7 of 'x.csv'"

_RECORD_KEY = "feature_columns"
_FREQUENCIES = 128
_ROWS_OF_SCALE = 500  # the distances between so many rows give the scale of the features


class _Column(NamedTuple):
    numbers: np.ndarray  # NaN where there is no number
    shown: list[str]  # for people
    kind: str | None  # of a column that holds no numbers


def with_table_features(
    splits: Mapping[str, Dataset], columns: Sequence[str], where: Mapping[str, Where]
) -> dict[str, Dataset]:
    """The splits with `features` from columns of numbers; rows without text or image are described in `text`.

    The columns are standardised by the first split. Distances between rows tell more than directions, which is what
    linear layers and cosine similarities see, so the features are random Fourier features of a Gaussian kernel whose
    width is the median distance.

    Source: Rahimi and Recht (2007), Random Features for Large-Scale Kernel Machines.
    """
    _check_names(splits, columns)
    read = {split: [_column(rows, name) for name in columns] for split, rows in splits.items()}
    _check_numbers(read, columns, where)
    values = {split: np.stack([one.numbers for one in table], axis=1) for split, table in read.items()}
    features = _fourier_features(next(iter(values.values())))
    found = {}
    for split, rows in splits.items():
        vectors = features(values[split])
        kind = List(Value("float32"), length=vectors.shape[1])
        rows = with_column(rows, FEATURES, vectors, kind)
        if described := not {TEXT, IMAGE} & set(rows.column_names):
            cells = [[f"{name}: {cell}" for cell in one.shown] for name, one in zip(columns, read[split], strict=True)]
            texts = [" · ".join(row) for row in zip(*cells, strict=True)]
            rows = with_column(rows, TEXT, texts, Value("string"))
        found[split] = _recorded(rows, {"columns": list(columns), "described": described})
    return found


def table_columns(rows: Dataset) -> list[str]:
    """The columns that `features` was made from; none where they came another way."""
    record = _record(rows)
    return record["columns"] if record and FEATURES in rows.column_names else []


def without_table_features(rows: Dataset) -> Dataset:
    """The rows as they were before [`with_table_features`]."""
    record = _record(rows)
    if record is None:
        return rows
    added = [FEATURES, *([TEXT] if record["described"] else [])]
    rows = rows.remove_columns([name for name in added if name in rows.column_names])
    kept = [line for line in rows.info.description.splitlines() if not line.startswith(f'{{"{_RECORD_KEY}"')]
    rows.info.description = "\n".join(kept)
    return rows


def _record(rows: Dataset) -> dict[str, Any] | None:
    lines = [line for line in rows.info.description.splitlines() if line.startswith(f'{{"{_RECORD_KEY}"')]
    record: dict[str, Any] | None = json.loads(lines[-1])[_RECORD_KEY] if lines else None
    return record


def _recorded(rows: Dataset, record: dict[str, Any]) -> Dataset:
    line = json.dumps({_RECORD_KEY: record})
    rows.info.description = "\n".join(filter(None, [rows.info.description, line]))
    return rows


def _check_names(splits: Mapping[str, Dataset], columns: Sequence[str]) -> None:
    for rows in splits.values():
        if FEATURES in rows.column_names:
            raise ValueError(f"the data has a column '{FEATURES}', which feature_columns would replace; rename it")
    if len(set(columns)) < len(columns):
        raise ValueError(f"feature_columns must be different columns, got {', '.join(columns)}")
    if labels := [name for name in columns if name in (LABEL, CLEAN_LABEL)]:
        raise ValueError(f"feature_columns must not hold labels, got {_quoted(labels)}; leave them out")


def _column(rows: Dataset, name: str) -> _Column:
    values, feature = rows.with_format("arrow")[:].column(name), rows.features[name]
    kind: str | None = str(feature)
    shown = ["" if value is None else str(value) for value in values.to_pylist()]
    if isinstance(feature, ClassLabel):
        kind = "classes"
    elif kinds.is_boolean(values.type):
        kind = "true and false"
    elif kinds.is_string(values.type) or kinds.is_large_string(values.type):
        numbers = np.array([_number(text) for text in shown])
        if np.isfinite(numbers).any():
            return _Column(numbers, [_short(value) for value in numbers], None)
        kind = f"texts such as '{next(filter(None, shown))}'" if any(shown) else "nothing"
    elif kinds.is_integer(values.type) or kinds.is_floating(values.type) or kinds.is_decimal(values.type):
        if values.type == pa.float32():  # 5.1, not 5.099999904632568
            values = values.cast(pa.string())
        numbers = np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)
        return _Column(numbers, [_short(value) for value in numbers], None)
    return _Column(np.zeros(len(rows)), shown, kind)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else str(float(value))


def _check_numbers(read: Mapping[str, Sequence[_Column]], columns: Sequence[str], where: Mapping[str, Where]) -> None:
    """Refuse columns without numbers, then rows that lack some: all of them at once."""
    kinds_of = {
        name: one.kind for table in read.values() for name, one in zip(columns, table, strict=True) if one.kind
    }
    if others := [f"'{name}' holds {kind}" for name, kind in kinds_of.items()]:
        if all(re.search(r"'-?\d*,\d+'$", other) for other in others):
            raise ValueError(f"feature_columns must hold numbers with a decimal point: {'; '.join(others)}")
        raise ValueError(
            f"feature_columns must hold numbers: {'; '.join(others)}; leave them out, or write each class as a column "
            "of its own with 1 and 0"
        )
    faults = []
    for split, table in read.items():
        for name, one in zip(columns, table, strict=True):
            bad = np.flatnonzero(~np.isfinite(one.numbers))
            if len(bad):
                faults.append(f"'{name}' has none in {where[split](bad)}")
    if faults:
        raise ValueError(
            f"feature_columns must hold a number in every row: {'; '.join(faults)}; fill them in, or drop those rows"
        )


def _fourier_features(fitted: Float[np.ndarray, "rows columns"]) -> Callable[[np.ndarray], np.ndarray]:
    """The map to features: standardise, then cosines and sines of random projections."""
    mean, deviation = fitted.mean(0), fitted.std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)  # a column of one value says nothing
    rng = np.random.default_rng(0)
    some = ((fitted - mean) / deviation)[rng.permutation(len(fitted))[:_ROWS_OF_SCALE]]
    squares = (some**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * some @ some.T, 0))
    distances = distances[distances > 1e-6]
    width = np.median(distances) if len(distances) else 1.0
    frequencies = rng.normal(size=(len(mean), _FREQUENCIES)) / width

    def features(values: np.ndarray) -> np.ndarray:
        phases = ((values - mean) / deviation) @ frequencies
        waves = np.concatenate([np.cos(phases), np.sin(phases)], axis=1) / np.sqrt(_FREQUENCIES)
        found: np.ndarray = waves.astype(np.float32)
        return found

    return features


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
