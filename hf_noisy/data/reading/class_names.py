"""Labels of a source as classes: names are compared as they are written, apart from surrounding spaces."""

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset

from hf_noisy.core.columns import CHECKED_LABEL, CLEAN_LABEL, LABEL, stored_column
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.replace_column import with_column

logger = logging.getLogger(__name__)

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # a terminal would obey them
_MANY = 50  # different numbers with a fraction are measurements, no classes

Names = list[str | None]


def with_classes(splits: dict[str, Dataset], places: dict[str, Places], wanted: Wanted) -> dict[str, Dataset]:
    """The splits with `label` and `clean_label` as classes of all splits, and missing labels as None."""
    features = [rows.features[LABEL] for rows in splits.values()]
    declared: list[str] = next((list(one.names) for one in features if isinstance(one, ClassLabel)), [])
    found: dict[tuple[str, str], Names] = {}
    for split, rows in splits.items():
        for column in (LABEL, CLEAN_LABEL):
            if column in rows.column_names:
                asked = wanted.label if column == LABEL else wanted.clean_column or CLEAN_LABEL
                found[split, column] = _names(rows, column, asked, places[split], declared)
    classes = declared + sorted_names(
        {name for names in found.values() for name in names if name is not None} - {*declared}
    )
    _refuse_control_characters(classes, found, places)
    same = similar_classes(classes, found, places, wanted.merge_labels)
    classes = [name for name in classes if same.get(name, name) == name]
    _report_unseen(found, places, same)
    feature, ids = ClassLabel(names=classes), {name: label for label, name in enumerate(classes)}
    if not classes:
        raise ValueError(f"no row of {', '.join(one.name for one in places.values())} has a label")
    for (split, column), names in found.items():
        missing = [row for row, name in enumerate(names) if name is None]
        if missing and column == LABEL:
            _report_missing(missing, len(names), places[split])
        labels = [None if name is None else ids[same.get(name, name)] for name in names]
        if splits[split].features[column] != feature or labels != splits[split].with_format(None)[column][:]:
            splits[split] = with_column(splits[split], column, labels, feature)
    for split, rows in splits.items():
        if CHECKED_LABEL in rows.column_names:
            checked = _names(rows, CHECKED_LABEL, CHECKED_LABEL, places[split], declared)
            checked = [None if name == str(UNCHECKED) else same.get(name or "", name) for name in checked]
            _refuse_unknown(checked, ids, places[split])
            labels = [None if name is None else ids[name] for name in checked]
            splits[split] = with_column(rows, CHECKED_LABEL, labels, feature)
    return splits


def _names(rows: Dataset, column: str, asked: str, places: Places, declared: Sequence[str]) -> Names:
    """The name of the class of each row, stripped of surrounding spaces; None where there is none."""
    values = stored_column(rows, column)
    feature, kind = rows.features[column], values.type
    if isinstance(feature, ClassLabel) or (declared and pa.types.is_integer(kind)):
        names = feature.names if isinstance(feature, ClassLabel) else declared
        ids = values.to_pylist()
        if beyond := [row for row, label in enumerate(ids) if label is not None and label >= len(names)]:
            raise ValueError(f"{places.of(beyond)}: column '{asked}' holds ids beyond its {len(names)} classes")
        return [None if label is None or label < 0 else names[label] for label in ids]
    _refuse_kind(values, asked, places)
    encoded = values.combine_chunks().dictionary_encode() if len(values) else values
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    spelled = encoded.dictionary.to_pylist()
    names = [_name(value) for value in spelled]
    if any(name and name != value for name, value in zip(names, spelled, strict=True) if isinstance(value, str)):
        spaced = [value for value in spelled if isinstance(value, str) and value.strip() and value != value.strip()]
        logger.warning(
            f"spaces around labels of column '{asked}' of {places.name} were removed: {listed_names(spaced)}"
        )
    found: Names = [None if index is None else names[index] for index in encoded.indices.to_pylist()]
    _refuse_measurements(found, names, asked, places)
    return found


def _refuse_control_characters(
    classes: list[str], found: dict[tuple[str, str], Names], places: dict[str, Places]
) -> None:
    """Refuse names with [`CONTROL`] characters; tabs and line ends are only unusual."""
    bad = {name for name in classes if CONTROL.search(name)}
    for (split, _), names in found.items():
        if rows := [row for row, name in enumerate(names) if name in bad]:
            raise ValueError(
                f"{places[split].of(rows)}: labels hold control characters, such as {names[rows[0]]!r}; remove them"
            )


def _name(value: Any) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers with gaps
        return str(int(value))
    return str(value).strip() or None


def _refuse_kind(values: pa.ChunkedArray, asked: str, places: Places) -> None:
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        one = f"label_column must hold one class per row, but column '{asked}' of {places.name} holds "
        if pa.types.is_floating(kind.value_type):
            raise ValueError(
                f"{one}soft labels ({kind}); call restore_labels first, or train on soft labels with NoisyTrainer"
            )
        raise ValueError(f"{one}lists of labels; pass task='multi-label'")
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{asked}.{kind.field(index).name}" for index in range(min(kind.num_fields, 5)))
        raise ValueError(f"column '{asked}' of {places.name} holds objects; pass label_column= with one of {inner}")


def _refuse_measurements(found: Names, names: Names, asked: str, places: Places) -> None:
    numbers = {name for name in names if name and _is_fraction(name)}
    if len(numbers) > _MANY:
        rows = [row for row, name in enumerate(found) if name in numbers]
        raise ValueError(
            f"label_column must hold classes, but column '{asked}' holds {len(numbers):,} different numbers such as "
            f"{found[rows[0]]} in {places.of(rows[:1])}; name another column, or put the numbers into classes"
        )


def _is_fraction(name: str) -> bool:
    try:
        return not float(name).is_integer()
    except (ValueError, OverflowError):
        return False


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdigit() and str(int(name)) == name


def sorted_names(names: set[str]) -> list[str]:
    """Names of classes in order; ids in that of their numbers."""
    return sorted(names, key=int) if all(_is_whole(name) for name in names) else sorted(names)


def similar_classes(
    classes: list[str], found: dict[tuple[str, str], Names], places: dict[str, Places], merge: bool
) -> dict[str, str]:
    """Classes that differ by case, spaces or Unicode form only are reported, or get the most frequent spelling."""
    groups = defaultdict(list)
    for name in classes:
        groups[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return {}
    counts = Counter(name for names in found.values() for name in names)
    spelled = "; ".join(", ".join(f"{name!r} ({counts[name]:,} rows)" for name in group) for group in alike[:5])
    where = ", ".join(dict.fromkeys(one.name for one in places.values()))
    if not merge:
        logger.warning(
            f"classes of {where} differ by case, spaces or Unicode form only: {spelled}; make them one with "
            "merge_labels=True"
        )
        return {}
    logger.warning(f"classes of {where} were merged into the most frequent spelling: {spelled}")
    return {name: max(group, key=lambda one: counts[one]) for group in alike for name in group}


def _report_unseen(found: dict[tuple[str, str], Names], places: dict[str, Places], same: dict[str, str]) -> None:
    """Report classes of another split that no row of `train` has: nothing can be learned of them."""
    seen = {same.get(name, name) for (split, _), names in found.items() if split == "train" for name in names if name}
    for (split, column), names in found.items():
        rows = [row for row, name in enumerate(names) if name is not None and same.get(name, name) not in seen]
        if seen and rows and column == LABEL:
            unseen = listed_names(list(dict.fromkeys(str(names[row]) for row in rows)))
            logger.warning(f"no row of split 'train' has the label {unseen} of {places[split].of(rows)}")


def _report_missing(missing: list[int], total: int, places: Places) -> None:
    if len(missing) < total:
        logger.warning(f"{len(missing):,} of {total:,} rows have no label: {places.of(missing)}")
    else:
        logger.warning(f"no row of {places.name} has a label")


def _refuse_unknown(names: Names, ids: dict[str, int], places: Places) -> None:
    unknown = [row for row, name in enumerate(names) if name is not None and name not in ids]
    if unknown:
        raise ValueError(
            f"column '{CHECKED_LABEL}' has '{names[unknown[0]]}' in {places.of(unknown)}, which is not among the "
            f"classes {listed_names(list(ids))}"
        )


def listed_names(names: Sequence[str]) -> str:
    """Up to eight names in quotes."""
    return ", ".join(f"'{name}'" for name in names[:8]) + (", ..." if len(names) > 8 else "")
