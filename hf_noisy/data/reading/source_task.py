"""What the rows of a source are: texts with one label, sentences with tags, or texts with sets of labels."""

import logging
from dataclasses import replace
from typing import Any, get_args

from datasets import ClassLabel, Dataset, Value

from hf_noisy.core.columns import LABEL, LABELS, TOKENS
from hf_noisy.data.flat_labels import TaskName, is_list
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)

_USUAL = (LABEL, "ner_tags", "tags", LABELS)  # columns of lists of labels


def task_of_source(splits: dict[str, Dataset], wanted: Wanted) -> tuple[TaskName, Wanted]:
    """The task that is named or that the columns show, and what to read for it."""
    columns = {name: feature for rows in splits.values() for name, feature in rows.features.items()}
    if wanted.task not in (None, *get_args(TaskName)):
        raise ValueError(f"task must be one of {', '.join(get_args(TaskName))}, got '{wanted.task}'")
    if wanted.label_separator is not None and wanted.label_columns:
        raise ValueError("label_separator and label_columns are two forms of the same labels; pass one of them")
    if wanted.label_columns and wanted.label_column:
        raise ValueError("label_column and label_columns are two forms of the same labels; pass one of them")
    in_cells = wanted.label_separator is not None or bool(wanted.label_columns)
    if wanted.task == "one-label":
        if in_cells:
            raise ValueError("label_separator and label_columns are about task='multi-label'; pass that task")
        return "one-label", wanted
    usual = [name for name in _USUAL if is_list(columns.get(name))]
    if not wanted.label_column and not in_cells and LABEL not in columns and usual:
        logger.warning(f"the labels are read from the column '{usual[0]}'")
        wanted = replace(wanted, label_column=usual[0])
    lists = _holds_classes(columns.get(wanted.label), floats=wanted.task == "multi-label")
    text = wanted.text_columns[0] if wanted.text_columns else TOKENS
    words = is_list(columns.get(text)) and columns[text].feature in (Value("string"), Value("large_string"))
    if wanted.task == "tokens" and not (words and lists):
        raise ValueError(
            f"task='tokens' needs a list of words and a list of tags in each row, but column '{text}' is "
            f"{_shown(columns.get(text))} and column '{wanted.label}' is {_shown(columns.get(wanted.label))}; name "
            "others with text_column= and label_column="
        )
    if wanted.task == "multi-label" and not (lists or in_cells):
        raise ValueError(
            f"task='multi-label' needs a list of classes in each row, but column '{wanted.label}' is "
            f"{_shown(columns.get(wanted.label))}; pass label_separator= for a string of several classes, or "
            "label_columns= for a column of 0 and 1 for each class"
        )
    if in_cells and wanted.task == "tokens":
        raise ValueError("label_separator and label_columns are about task='multi-label', not about tokens")
    if wanted.task is None and words and lists:
        return "tokens", wanted
    return wanted.task or ("multi-label" if lists or in_cells else "one-label"), wanted  # type: ignore[return-value]


def _holds_classes(feature: Any, floats: bool) -> bool:
    if not is_list(feature):
        return False
    inner = feature.feature
    if isinstance(inner, ClassLabel):
        return True
    kind = getattr(inner, "dtype", "") if isinstance(inner, Value) else "none"
    return (
        kind in ("null", "bool")
        or kind.startswith(("int", "uint", "string", "large_string"))
        or (floats and kind.startswith("float"))
    )


def _shown(feature: Any) -> str:
    if feature is None:
        return "missing"
    return f"a list of {_kind(feature.feature)}" if is_list(feature) else _kind(feature)


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", type(feature).__name__))
