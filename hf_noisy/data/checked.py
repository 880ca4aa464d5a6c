"""Checked rows: the classes that a person found for some rows, as a column or as a file."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset
from jaxtyping import Float64, Int64

from hf_noisy.core.columns import CHECKED_LABEL, IMAGE, LABEL, LABEL_GIVEN, LABELS, TEXT
from hf_noisy.core.file_names import refuse_missing_checked
from hf_noisy.core.files import write_atomically
from hf_noisy.data.annotation_tools import exported_labels
from hf_noisy.data.csv_lines import csv_lines, saved_text
from hf_noisy.data.decision_lines import COLUMNS as DECISION_COLUMNS
from hf_noisy.data.labels import stored_labels
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.row_digest import row_digests

UNCHECKED = -1
RANDOM, UNKNOWN = "random", "unknown"  # how a row was drawn
SINGLE = "single labels"  # instead of it, of lists of which not all labels were checked
PURIFIED = "labels of purified data"  # instead of it, since those labels were made with the help of checked rows
COLUMNS = ("row", "digest", CHECKED_LABEL, "strategy", "probability", "batch")
_SHOWN_CLASSES = 8


@dataclass(frozen=True)
class CheckedRows:
    """Rows that a person has looked at, and how they were drawn.

    Attributes:
        index: `[checked]`, positions in the dataset, ascending.
        labels: `[checked]`, class ids.
        strategy: `[checked]`, how each row was drawn: `"random"`, another strategy, or `"unknown"`.
        probability: `[checked]`, the probability with which its draw included it; NaN if unknown.
        batch: `[checked]`, number of the draw, from 0.
        num_rows: Number of rows of the dataset.
        digests: `[checked]`, of the contents of the rows, if they came from a file; else empty.
    """

    index: Int64[np.ndarray, " checked"]
    labels: Int64[np.ndarray, " checked"]
    strategy: list[str]
    probability: Float64[np.ndarray, " checked"]
    batch: Int64[np.ndarray, " checked"]
    num_rows: int
    digests: tuple[str, ...] = ()  # of a file, to see whether the rows were moved

    def as_column(self) -> Int64[np.ndarray, " rows"]:
        """The checked class of every row, -1 where nobody looked."""
        column = np.full(self.num_rows, UNCHECKED, dtype=np.int64)
        column[self.index] = self.labels
        return column

    def __len__(self) -> int:
        return len(self.index)


class _Line(NamedTuple):
    name: str  # in messages: "line 2", or "task 2" of an annotation tool
    row: int  # where it was, -1 if unknown
    digest: str
    label: int
    strategy: str
    probability: float
    batch: int


def checked_rows(
    dataset: Any, checked: Any = None, strategy: str = UNKNOWN, names: Sequence[str] | None = None
) -> CheckedRows | None:
    """The checked rows of a dataset, from its column `checked_label`, from a file, or from an array.

    Args:
        dataset: A `datasets.Dataset`; with an array or [`CheckedRows`] any dataset that has a length.
        checked: `None` for the column `checked_label`; the path of a `checked.csv`; [`CheckedRows`]; or class ids
            `[rows]` with -1 or None where nobody looked. In a column they may also be names of classes.
        strategy: How the rows of a column or array were drawn; `"random"` only if they are a simple random sample of
            all rows. Intervals need it. A file says it of each row.
        names: Names of the classes, if the dataset has no column of given labels.

    Returns:
        The checked rows; None if nobody has checked one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a checked label is not among the classes, a row is not in the data or has two checked labels, or
            a file has no checked label. The message names the row.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1], "checked_label": [None, 0, None]})
        >>> checked_rows(rows).index.tolist(), checked_rows(rows).as_column().tolist()
        ([1], [-1, 0, -1])
    """
    if checked is None:
        if CHECKED_LABEL not in (getattr(dataset, "column_names", None) or []):
            return None
        column = dataset.with_format(None)[CHECKED_LABEL][:]
        feature = dataset.features[CHECKED_LABEL]
        if isinstance(feature, ClassLabel):  # its classes may be in another order than those of the given labels
            column = [None if value in (None, UNCHECKED) else feature.int2str(value) for value in column]
        found = _from_values(column, names or class_names(dataset), f"column '{CHECKED_LABEL}'", strategy)
    elif isinstance(checked, str | PathLike):
        found = read_checked(checked, dataset)
    elif isinstance(checked, CheckedRows):
        if checked.num_rows != len(dataset):
            raise ValueError(
                f"checked rows are those of {checked.num_rows} rows, but the dataset has {len(dataset)}; read them "
                "again with read_checked(path, dataset)"
            )
        _refuse_moved(dataset, checked)
        found = checked
    else:
        if len(checked) != len(dataset):
            raise ValueError(
                f"checked must be a class or -1 for each of the {len(dataset)} rows, got {len(checked)} values"
            )
        found = _from_values(checked, names or class_names(dataset), "checked", strategy)
    if LABEL_GIVEN in (getattr(dataset, "column_names", None) or []):
        found = replace(found, strategy=[PURIFIED] * len(found))
    return found if len(found) else None


def read_checked(path: str | PathLike[str], dataset: Any) -> CheckedRows:
    """The checked rows in a `checked.csv`, found in the dataset by the digests of their content.

    Lines without a checked label are skipped. `row` is only a hint: it tells rows of equal content apart.

    Args:
        path: CSV with at least the columns `digest` and `checked_label` (name of the class), as written by
            [`write_checked`] or downloaded from a page; or the JSON that Label Studio or Argilla exports of the tasks
            that `hf-noisy check --format` wrote.
        dataset: A `datasets.Dataset` that holds the rows, in any order.

    Returns:
        The checked rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, a class or a row is not known, a row has two checked labels, or no line has
            a checked label. The message names the line.

    Example:
        ```python
        checked = read_checked("checked.csv", dataset)
        ```
    """
    lines = list(_lines(Path(path), _class_ids(dataset)))
    if not lines:
        raise ValueError(f"no line of '{path}' has a checked label; fill in the column '{CHECKED_LABEL}' first")
    hints = sorted({line.row for line in lines if 0 <= line.row < len(dataset)})
    digests = dict(zip(hints, row_digests(dataset.select(hints)), strict=True))
    places = [line.row for line in lines]
    if any(digests.get(line.row) != line.digest for line in lines):  # some row moved: look at all
        places = _places(Path(path), lines, row_digests(dataset))
    found: dict[int, _Line] = {}
    for line, row in zip(lines, places, strict=True):
        first = found.setdefault(row, line)
        if first.label != line.label:
            raise ValueError(
                f"{line.name} of '{path}' has another checked label for row {row} than {first.name}; keep one of them"
            )
    chosen = [found[row] for row in sorted(found)]
    return CheckedRows(
        index=np.array(sorted(found), dtype=np.int64),
        labels=np.array([line.label for line in chosen], dtype=np.int64),
        strategy=[line.strategy for line in chosen],
        probability=np.array([line.probability for line in chosen], dtype=np.float64),
        batch=np.array([line.batch for line in chosen], dtype=np.int64),
        num_rows=len(dataset),
        digests=tuple(line.digest for line in chosen),
    )


def write_checked(path: str | PathLike[str], dataset: Any, checked: CheckedRows) -> None:
    """Write checked rows as a CSV that finds them again in the same data in another order.

    Args:
        path: The file, replaced if it exists.
        dataset: The `datasets.Dataset` of the rows.
        checked: The rows; the label -1 leaves the field for a person to fill in.

    Raises:
        ValueError: If the checked rows are those of another dataset.

    Example:
        ```python
        write_checked("checked.csv", dataset, checked_rows(dataset))
        ```
    """
    if checked.num_rows != len(dataset):
        raise ValueError(f"checked rows are those of {checked.num_rows} rows, but the dataset has {len(dataset)}")
    write_atomically(path, checked_csv(checked, row_digests(dataset.select(checked.index)), class_names(dataset)))


def with_checked_column(dataset: Dataset, checked: Any) -> Dataset:
    """The dataset with the column `checked_label` of these checked rows, in the place of one that it has."""
    found = checked_rows(dataset, checked)
    if CHECKED_LABEL in dataset.column_names:
        dataset = dataset.remove_columns(CHECKED_LABEL)
    column = np.full(len(dataset), UNCHECKED) if found is None else found.as_column()
    values = pa.array(column, mask=column == UNCHECKED)
    return with_column(dataset, CHECKED_LABEL, values, dataset.features[LABEL])


def checked_csv(checked: CheckedRows, digests: Sequence[str], names: Sequence[str]) -> str:
    """The text of the CSV; a digest for each checked row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    chosen = ["" if label == UNCHECKED else names[label] for label in checked.labels]
    probabilities = ["" if np.isnan(one) else float(one) for one in checked.probability]
    writer.writerows(zip(checked.index, digests, chosen, checked.strategy, probabilities, checked.batch, strict=True))
    return text.getvalue()


def class_names(dataset: Any) -> list[str]:
    """The names of the classes of the given labels, or their ids as text."""
    features = getattr(dataset, "features", None) or {}
    for column in (LABELS, LABEL, LABEL_GIVEN):  # after purification with soft labels the names are in the last
        if isinstance(features.get(column), ClassLabel):
            return list(features[column].names)
    labels = stored_labels(dataset.with_format(None) if features else dataset)
    if labels is not None and labels.ndim == 2:
        return [str(label) for label in range(labels.shape[1])]
    if labels is None or labels.dtype.kind not in "iu":
        raise ValueError(
            "checked labels need the classes of the given labels, whole numbers in a column 'label'; call "
            "dataset.class_encode_column('label') first"
        )
    return [str(label) for label in range(int(labels.max(initial=-1)) + 1)]


def checked_column(checked: Any, num_rows: int, num_classes: int) -> Int64[np.ndarray, " rows"]:
    """The checked class of every row, -1 where nobody looked, of [`CheckedRows`] or of an array without a dataset."""
    column = checked.as_column() if isinstance(checked, CheckedRows) else checked
    if len(column) != num_rows:
        raise ValueError(f"checked must be a class or -1 for each of the {num_rows} rows, got {len(column)} values")
    return ids_of(column, {str(label): label for label in range(num_classes)}, "checked")


def ids_of(values: Sequence[Any] | np.ndarray, ids: dict[str, int], what: str) -> Int64[np.ndarray, " rows"]:
    """Class ids of names or ids of classes, -1 for those that are missing; others are refused with their row."""
    found = np.full(len(values), UNCHECKED, dtype=np.int64)
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "iu" and ((values >= UNCHECKED) & (values < len(ids))).all():
            return values.astype(np.int64)
        values = values.tolist()
    for row, value in enumerate(values):
        if value is None or value != value or value == UNCHECKED or value == "":  # NaN in a column with gaps
            continue
        label = ids.get(value) if isinstance(value, str) else _whole(value, len(ids))
        if label is None:
            raise ValueError(f"{what} has {value!r} in row {row}, which is not among the classes {_some(ids)}")
        found[row] = label
    return found


def _some(ids: dict[str, int]) -> str:
    return ", ".join(list(ids)[:_SHOWN_CLASSES]) + (", ..." if len(ids) > _SHOWN_CLASSES else "")


def _whole(value: Any, num_classes: int) -> int | None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return int(value) if number and float(value).is_integer() and 0 <= value < num_classes else None


def _refuse_moved(dataset: Any, checked: CheckedRows) -> None:
    """Refuse checked rows of a file whose content is elsewhere in the dataset; tokenised rows cannot be compared."""
    if not checked.digests or not {TEXT, IMAGE} & set(getattr(dataset, "column_names", None) or []):
        return
    found = row_digests(dataset.select(checked.index))
    for row, now, then in zip(checked.index, found, checked.digests, strict=True):
        if now != then:
            raise ValueError(
                f"row {row} is not the row that was checked there; the dataset was shuffled or changed since: read "
                "the checked rows again with read_checked(path, dataset)"
            )


def _from_values(values: Sequence[Any] | np.ndarray, names: Sequence[str], what: str, strategy: str) -> CheckedRows:
    column = ids_of(values, {name: label for label, name in enumerate(names)}, what)
    index = np.flatnonzero(column != UNCHECKED)
    count = len(index)
    probability = np.full(count, count / len(column) if strategy == RANDOM else np.nan)
    return CheckedRows(index, column[index], [strategy] * count, probability, np.zeros(count, np.int64), len(column))


def _class_ids(dataset: Any) -> dict[str, int]:
    return {name: label for label, name in enumerate(class_names(dataset))}


def _lines(path: Path, ids: dict[str, int]) -> Iterator[_Line]:
    refuse_missing_checked(path)
    try:
        text = saved_text(path.read_bytes(), path)
        lines = _exported_lines(text) if text.lstrip()[:1] in ("[", "{") else _csv_lines(text)
    except (RecursionError, csv.Error) as error:
        raise ValueError(f"'{path}' is no CSV, and no JSON ({error}); download it again") from error
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read: {error}") from error
    for place, line in lines:
        name = line[CHECKED_LABEL] or ""
        name = name if name in ids else name.strip()
        if not name:
            continue
        if name not in ids:
            raise ValueError(f"{place} of '{path}' has '{name}', which is not among the classes {_some(ids)}")
        try:
            row, batch = (_count(line.get(column) or default) for column, default in (("row", -1), ("batch", 0)))
            probability = float(line.get("probability") or "nan")
        except ValueError:
            raise ValueError(f"{place} of '{path}' must hold numbers in row, probability and batch") from None
        if not (np.isnan(probability) or 0 < probability <= 1) or batch < 0:
            raise ValueError(f"{place} of '{path}' must hold a probability in (0, 1] and a batch from 0")
        digest = (line["digest"] or "").strip()
        yield _Line(place, row, digest, ids[name], line.get("strategy") or UNKNOWN, probability, batch)


def _count(value: Any) -> int:
    number = float(value)  # other programs save whole numbers as 174.0
    if not number.is_integer():
        raise ValueError(f"no whole number: {value}")
    return int(number)


def _csv_lines(text: str) -> list[tuple[str, dict[str, str]]]:
    columns, lines = csv_lines(text)
    if columns == DECISION_COLUMNS:
        raise ValueError(
            "it holds decisions on rows that look wrong, which say little about the others; apply them with hf-noisy "
            "apply, and check rows that hf-noisy check or next draws"
        )
    if missing := [name for name in ("digest", CHECKED_LABEL) if name not in columns]:
        raise ValueError(f"it must have a column '{missing[0]}', got {', '.join(columns) or 'none'}")
    return [(f"line {number}", line) for number, line in lines]


def _exported_lines(text: str) -> list[tuple[str, dict[str, str]]]:
    return list(exported_labels(json.loads(text)))


def _places(path: Path, lines: list[_Line], digests: list[str]) -> list[int]:
    """The row of each line: where it was if its content is there, else the first of that content without a line."""
    wanted = {line.digest for line in lines}
    rows: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        if digest in wanted:
            rows.setdefault(digest, []).append(row)
    if lost := next((line for line in lines if line.digest not in rows), None):
        raise ValueError(
            f"{lost.name} of '{path}' names a row (digest '{lost.digest}') that is not in the data; pass the data "
            "that the rows were drawn from, with the same text or image column, or delete the line with the row"
        )
    # Two lines of one row of the file are one row of the data, whether it moved or not.
    places = {(line.digest, line.row): line.row for line in lines if line.row in rows[line.digest]}
    taken = set(places.values())
    for line in lines:
        if (line.digest, line.row) not in places:
            place = next((row for row in rows[line.digest] if row not in taken), rows[line.digest][0])
            places[line.digest, line.row] = place
            taken.add(place)
    return [places[line.digest, line.row] for line in lines]
