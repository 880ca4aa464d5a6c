"""Lists of labels as classes: the tags of tokens, and the sets of classes of a row."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, List

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TOKENS
from hf_noisy.data.flat_labels import TaskName
from hf_noisy.data.reading.class_names import CONTROL, listed_names, similar_classes, sorted_names
from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.tags import OUTSIDE, parts_of, sorted_tags, strays

logger = logging.getLogger(__name__)

_MARKS = ("-1", "-100", "")  # of a token without a tag

Lists = list[list[str | None] | None]  # the names of the classes of each row; None where it has no label


def with_label_lists(
    splits: dict[str, Dataset], places: dict[str, Places], wanted: Wanted, task: TaskName
) -> dict[str, Dataset]:
    """The splits with `label` and `clean_label` as lists of classes that all splits share."""
    features = [rows.features[LABEL] for rows in splits.values()]
    inner = [getattr(feature, "feature", None) for feature in features]
    declared: list[str] = next((list(one.names) for one in inner if isinstance(one, ClassLabel)), [])
    declared = declared or list(wanted.label_columns)
    found: dict[tuple[str, str], Lists] = {}
    for split, rows in splits.items():
        if task == "tokens":
            _check_words(rows, places[split])
        for column in (LABEL, CLEAN_LABEL):
            if column in rows.column_names:
                asked = wanted.label if column == LABEL else wanted.clean_column or CLEAN_LABEL
                lists = _names(rows, column, asked, places[split], declared, wanted, task)
                check = _checked_tags if task == "tokens" else _checked_sets
                found[split, column] = check(lists, rows, asked, places[split])
    names = {name for lists in found.values() for one in lists for name in one or () if name is not None}
    others = names - {*declared}
    classes = declared + (sorted_tags(others) if OUTSIDE in others else sorted_names(others))
    if not classes:
        raise ValueError(f"no row of {', '.join(one.name for one in places.values())} has a label")
    _refuse_names(classes, found, places)
    flat = {key: [name for one in lists for name in one or ()] for key, lists in found.items()}
    same = similar_classes(classes, flat, places, wanted.merge_labels)
    classes = [name for name in classes if same.get(name, name) == name]
    if task == "tokens":
        _check_scheme(classes, found, places)
    _report_unseen(found, places)
    ids = {name: number for number, name in enumerate(classes)}
    feature = List(ClassLabel(names=classes))
    for (split, column), lists in found.items():
        if column == LABEL and (missing := [row for row, one in enumerate(lists) if one is None]):
            logger.warning(f"{len(missing):,} of {len(lists):,} rows have no label: {places[split].of(missing)}")
        values = [_ids(one, ids, same, task) for one in lists]
        splits[split] = with_column(splits[split], column, pa.array(values, pa.list_(pa.int64())), feature)
    return splits


def one_hot_lists(rows: Dataset, columns: Sequence[str], places: Places) -> Dataset:
    """The rows with a list of the classes whose column holds 1, in place of these columns."""
    if len(set(columns)) < len(columns):
        raise ValueError(f"label_columns must be different columns, got {', '.join(columns)}")
    if lost := [name for name in columns if name not in rows.column_names]:
        raise ValueError(
            f"label_columns must be among {', '.join(rows.column_names)} ({places.name}), got {listed_names(lost)}"
        )
    if LABEL in rows.column_names and LABEL not in columns:
        raise ValueError(f"label_columns make the column '{LABEL}', which the data already has; rename or remove it")
    table = rows.with_format("arrow")[:]
    sets = np.stack([_ones(table.column(name), name, places) for name in columns], axis=1)
    ids = [np.flatnonzero(row).tolist() for row in sets]
    kept = rows.remove_columns([name for name in columns if name != LABEL])
    feature = List(ClassLabel(names=list(columns)))
    values = pa.array(ids, pa.list_(pa.int64()))
    if LABEL in kept.column_names:
        return with_column(kept, LABEL, values, feature)
    return kept.add_column(LABEL, values, feature=feature)


def _ones(values: pa.ChunkedArray, name: str, places: Places) -> np.ndarray:
    known = {"0": False, "1": True, "0.0": False, "1.0": True, "true": True, "false": False}
    ones = [known.get(str(value).strip().lower()) for value in values.to_pylist()]
    if odd := [row for row, one in enumerate(ones) if one is None]:
        raise ValueError(
            f"{places.of(odd)}: column '{name}' of label_columns must hold 1 or 0, got {values[odd[0]].as_py()!r}"
        )
    return np.array(ones, dtype=bool)


def _check_words(rows: Dataset, places: Places) -> None:
    lists = rows.with_format("arrow")[:].column(TOKENS).to_pylist()
    if missing := [row for row, words in enumerate(lists) if words is None or None in words]:
        raise ValueError(f"{places.of(missing)}: a word is missing in the list of tokens; write each as a string")
    if empty := [row for row, words in enumerate(lists) if not words]:
        logger.warning(f"{len(empty):,} of {len(lists):,} sentences have no tokens: {places.of(empty)}")


def _names(
    rows: Dataset,
    column: str,
    asked: str,
    places: Places,
    declared: Sequence[str],
    wanted: Wanted,
    task: TaskName,
) -> Lists:
    """The names of the classes of each row, as they are written."""
    values = rows.with_format("arrow")[:].column(column)
    if wanted.label_separator is not None:
        if not wanted.label_separator:
            raise ValueError("label_separator must be at least one character, such as ';'")
        if pa.types.is_list(values.type):
            raise ValueError(f"column '{asked}' of {places.name} holds lists already; leave out label_separator")
        # A table has no other way to write a row without classes.
        return [_parts(value, wanted.label_separator) for value in values.to_pylist()]
    if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_null(values.type)):
        if pa.types.is_string(values.type) and values.null_count == len(values):
            return [None] * len(values)  # a test set without labels
        if not pa.types.is_fixed_size_list(values.type):
            raise ValueError(f"column '{asked}' of {places.name} must hold a list for each row, got {values.type}")
    lists = values.to_pylist()
    if task == "multi-label" and _is_multi_hot(lists):
        logger.warning(f"column '{asked}' of {places.name} is read as a 0 or 1 for each class")
        lists = [None if one is None else [place for place, value in enumerate(one) if value] for one in lists]
    elif any(isinstance(value, float) for one in lists for value in one or ()):
        raise ValueError(f"column '{asked}' of {places.name} holds numbers that are neither classes nor 0 and 1")
    inner = getattr(rows.features[column], "feature", None)
    known = list(inner.names) if isinstance(inner, ClassLabel) else list(declared)
    if not known or not any(isinstance(value, int) for one in lists for value in one or ()):
        return [None if one is None else [_name(value) for value in one] for one in lists]
    lowest = -np.inf if task == "tokens" else 0  # -100 is the tag of no token
    beyond = [
        row for row, one in enumerate(lists) if any(v is not None and not lowest <= v < len(known) for v in one or ())
    ]
    if beyond:
        worst = next(v for v in lists[beyond[0]] if v is not None and not lowest <= v < len(known))
        raise ValueError(
            f"{places.of(beyond)}: column '{asked}' holds the id {worst}, but its {len(known)} classes are 0 to "
            f"{len(known) - 1}"
        )
    return [None if one is None else [None if v is None or v < 0 else known[v] for v in one] for one in lists]


def _parts(value: Any, separator: str) -> list[str | None]:
    return [part.strip() for part in str("" if value is None else value).split(separator) if part.strip()]


def _name(value: Any) -> str | None:
    return None if value is None else str(value).strip()


def _is_multi_hot(lists: Sequence[list[Any] | None]) -> bool:
    """Whether lists of numbers are a 0 or 1 for each class: no set has a class twice."""
    known = [one for one in lists if one is not None]
    if len({len(one) for one in known}) != 1 or not known or len(known[0]) < 2:
        return False
    values = {value for one in known for value in one}
    floats = any(isinstance(value, float | bool) for value in values)
    numbers = all(isinstance(value, int | float | bool) for value in values)
    return numbers and values <= {0, 1} and (floats or any(len(set(one)) < len(one) for one in known))


def _checked_tags(lists: Lists, rows: Dataset, asked: str, places: Places) -> Lists:
    lists = [None if one is None else [None if tag in _MARKS else tag for tag in one] for one in lists]
    lengths = [len(words) for words in rows.with_format(None)[TOKENS][:]]
    odd = [row for row, tags in enumerate(lists) if tags is not None and len(tags) != lengths[row]]
    if odd:
        raise ValueError(
            f"{places.of(odd)}: column '{asked}' has {len(lists[odd[0]] or ())} tags for {lengths[odd[0]]} tokens; "
            "write one tag for each token"
        )
    return lists


def _checked_sets(lists: Lists, rows: Dataset, asked: str, places: Places) -> Lists:
    if missing := [row for row, one in enumerate(lists) if any(not name for name in one or ())]:
        raise ValueError(
            f"{places.of(missing)}: column '{asked}' has a class without a name; leave it out of the list"
        )
    twice = [row for row, one in enumerate(lists) if one is not None and len(set(one)) < len(one)]
    if twice:
        logger.warning(f"{len(twice):,} rows name a class twice, which counts once: {places.of(twice)}")
    if empty := sum(one == [] for one in lists):
        logger.warning(f"{empty:,} of {len(lists):,} rows of {places.name} have no class, which is a label too")
    return lists


def _refuse_names(classes: list[str], found: dict[tuple[str, str], Lists], places: dict[str, Places]) -> None:
    bad = {name for name in classes if CONTROL.search(name)}
    for (split, _), lists in found.items():
        if rows := [row for row, one in enumerate(lists) if bad & {*(one or ())}]:
            name = next(name for name in lists[rows[0]] or () if name in bad)
            raise ValueError(
                f"{places[split].of(rows)}: labels hold control characters, such as {name!r}; remove them"
            )


def _check_scheme(classes: list[str], found: dict[tuple[str, str], Lists], places: dict[str, Places]) -> None:
    """Refuse tags outside the scheme of the others, and report tags `I-` that continue nothing."""
    marks = [name for name in classes if parts_of(name)]
    if not marks:  # parts of speech, say: each token stands for itself
        return
    others = [name for name in classes if name not in marks and name != OUTSIDE]
    for (split, column), lists in found.items():
        if rows := [row for row, one in enumerate(lists) if {*others} & {*(one or ())}]:
            raise ValueError(
                f"{places[split].of(rows)}: {listed_names(others)} is outside the scheme of the tags "
                f"{listed_names(marks[:3])}; write {OUTSIDE}, or a prefix and a type"
            )
        if column == LABEL:
            alone = {row: len(strays(one)) for row, one in enumerate(lists) if one and strays(one)}
            if alone:
                logger.warning(
                    f"{sum(alone.values()):,} entities begin without B-, which is kept as it is: "
                    f"{places[split].of(list(alone))}"
                )


def _report_unseen(found: dict[tuple[str, str], Lists], places: dict[str, Places]) -> None:
    seen = {name for (split, _), lists in found.items() if split == "train" for one in lists for name in one or ()}
    for (split, column), lists in found.items():
        rows = [row for row, one in enumerate(lists) if {*(one or ())} - seen - {None}]
        if seen and rows and column == LABEL:
            names = dict.fromkeys(name for row in rows for name in lists[row] or () if name and name not in seen)
            logger.warning(
                f"no row of split 'train' has the label {listed_names(list(names))} of {places[split].of(rows)}"
            )


def _ids(one: list[str | None] | None, ids: dict[str, int], same: dict[str, str], task: TaskName) -> list[int] | None:
    if one is None:
        return None
    found = [-1 if name is None else ids[same.get(name, name)] for name in one]
    return found if task == "tokens" else sorted(set(found))
