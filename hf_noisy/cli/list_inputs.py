"""Inputs and labels of a model for tags of words and for sets of classes."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Dataset

from hf_noisy.core.columns import CHECKED_LABELS, CLEAN_LABEL, LABEL, LABEL_WEIGHT, LABELS, TOKENS
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.data.flat_labels import label_sets, list_names, task_of_labels
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.word_labels import tokenize_and_align_labels

CLEAN_LABELS = "clean_labels"  # the true labels, in the form of `labels`; missing where they are not known
_TARGETS = {LABEL: LABELS, CLEAN_LABEL: CLEAN_LABELS, CHECKED_LABELS: CHECKED_LABELS}


def token_rows(rows: Dataset, tokenizer: Any, max_length: int) -> Dataset:
    """Tokenised sentences; the first token of each word has its tag, true and checked tag, and weight, if any."""
    kept = [name for name in (*_TARGETS, LABEL_WEIGHT) if name in rows.column_names]
    options = {"names": kept, "tokenizer": tokenizer, "max_length": max_length}
    columns = [TOKENS, *kept]
    found = rows.map(
        _aligned, batched=True, input_columns=columns, fn_kwargs=options, remove_columns=columns, desc="tokenizing"
    )
    words, read = (sum(map(len, rows.with_format(None)[TOKENS][:])), int(np.sum(found["words_read"])))
    if read < words:
        print(f"{words - read:,} of {words:,} words are beyond --max_length {max_length} and are left out")
    return found.remove_columns("words_read")


def _aligned(
    words: Sequence[list[str]], *columns: Sequence[list[Any] | None], names: list[str], tokenizer: Any, max_length: int
) -> Any:
    numbered = {TOKENS: words, LABEL: [range(len(one)) for one in words]}
    encoded = tokenize_and_align_labels(numbered, tokenizer, tags=LABEL, max_length=max_length, return_length=True)
    places = encoded.pop(LABELS)  # the word that begins at each token
    encoded["words_read"] = [sum(one != NO_LABEL for one in row) for row in places]
    for name, column in zip(names, columns, strict=True):
        target, other = (name, 1.0) if name == LABEL_WEIGHT else (_TARGETS[name], NO_LABEL)
        encoded[target] = [_spread(row, values, other) for row, values in zip(places, column, strict=True)]
    return encoded


def _spread(places: list[int], values: list[Any] | None, other: Any) -> list[Any]:
    """The value of the word that begins at each token; another one where no word begins, or has no value."""
    known = [other if value is None or value == -1 else value for value in values or ()]
    return [known[place] if place != NO_LABEL and known else other for place in places]


def set_rows(rows: Dataset) -> Dataset:
    """Rows with a zero or one for each class in `labels`; so too true sets, where they are known."""
    for column, name in ((LABEL, LABELS), (CLEAN_LABEL, CLEAN_LABELS)):
        if column in rows.column_names:
            sets, known = label_sets(rows, column)
            values = [
                one if is_known else None for one, is_known in zip(sets.astype(float).tolist(), known, strict=True)
            ]
            rows = with_column(rows, name, values, datasets.List(datasets.Value("float32"))).remove_columns(column)
    return rows


def check_list_labels(rows: Dataset) -> None:
    """Refuse labels from which nothing can be learned."""
    if task_of_labels(rows) == "tokens":
        used = {tag for tags in rows.with_format(None)[LABEL][:] for tag in tags if tag is not None and tag >= 0}
        if len(used) < 2:
            only = ", ".join(list_names(rows)[tag] for tag in used) or "none"
            raise ValueError(f"training needs tags of at least 2 classes, got {only} alone in {len(rows):,} rows")
    elif not (sets := label_sets(rows)[0]).any() or sets.all():
        same = "no row has a class" if not sets.any() else "every row has every class"
        raise ValueError(f"training needs rows with different sets of classes, but {same}")
