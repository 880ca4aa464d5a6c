"""Rows with tags or sets of classes that a person has checked as a whole, and the file in which they are kept."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from jaxtyping import Int64

from hf_noisy.core.cells import plain_text, safe_cell
from hf_noisy.core.columns import CHECKED_LABEL, LABEL, TOKENS
from hf_noisy.core.file_names import refuse_missing_checked
from hf_noisy.data.checked import RANDOM, UNKNOWN
from hf_noisy.data.csv_lines import csv_lines, saved_text
from hf_noisy.data.flat_labels import list_names, task_of_labels
from hf_noisy.data.labelled_rows import LabelledRows
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.tags import Span, has_spans, spans_of, tags_of_spans
from hf_noisy.data.texts import shown_texts

LOOKED_AT = "checked"  # column of the file: anything but empty if a person has looked at the row
COLUMNS = ("row", "digest", "text", "label_given", CHECKED_LABEL, LOOKED_AT, "strategy")
_BETWEEN = ";"  # classes of a set


@dataclass(frozen=True)
class CheckedLists:
    """Rows whose labels a person has checked as a whole.

    Attributes:
        index: `[checked]`, positions in the dataset, ascending.
        labels: For each of them the class ids: of all words, or of its set.
        strategy: `[checked]`, how each row was drawn: `"random"` or `"unknown"`.
    """

    index: Int64[np.ndarray, " checked"]
    labels: list[list[int]]
    strategy: list[str]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def is_random(self) -> bool:
        """Whether all rows were drawn at random."""
        return all(one == RANDOM for one in self.strategy)

    def among(self, labelled: LabelledRows) -> "CheckedLists | None":
        """The checked rows that have a given label, with their positions among these."""
        kept = np.flatnonzero(np.isin(self.index, labelled.index))
        if not len(kept):
            return None
        places = np.searchsorted(labelled.index, self.index[kept])
        return CheckedLists(places, [self.labels[one] for one in kept], [self.strategy[one] for one in kept])


def checked_lists(dataset: Dataset, checked: str | PathLike[str] | None = None) -> CheckedLists | None:
    """The checked rows of a dataset of tags or sets: of a file, or of its column `checked_label`; None without any."""
    if checked is not None:
        return _read(Path(checked), dataset)
    if CHECKED_LABEL not in dataset.column_names:
        return None
    ids = {name: number for number, name in enumerate(list_names(dataset))}
    feature = getattr(dataset.features[CHECKED_LABEL], "feature", None)
    own = getattr(feature, "names", None)
    index, labels = [], []
    for row, values in enumerate(dataset.with_format(None)[CHECKED_LABEL][:]):
        if values is None:
            continue
        if not isinstance(values, list):
            raise ValueError(f"column '{CHECKED_LABEL}' must hold lists of classes like the labels, got {values!r}")
        names = [own[one] if own and isinstance(one, int) else one for one in values]
        index.append(row)
        labels.append(_ids(names, ids, f"column '{CHECKED_LABEL}' in row {row}"))
    return _fitting(dataset, index, labels, [UNKNOWN] * len(index), "column") if index else None


def with_checked_lists(dataset: Dataset, checked: CheckedLists | None) -> Dataset:
    """The dataset with the column `checked_label` of these rows alone, in the form of the labels."""
    if CHECKED_LABEL in dataset.column_names:
        dataset = dataset.remove_columns(CHECKED_LABEL)
    if checked is None:
        return dataset
    values: list[list[int] | None] = [None] * len(dataset)
    for row, labels in zip(checked.index.tolist(), checked.labels, strict=True):
        values[row] = labels
    return with_column(dataset, CHECKED_LABEL, pa.array(values, pa.list_(pa.int64())), dataset.features[LABEL])


def rows_to_check_csv(dataset: Dataset, rows: Sequence[int], earlier: CheckedLists | None = None) -> str:
    """The text of a file in which a person corrects `checked_label` and marks each row looked at in `checked`.

    Entities are marked in the sentence, `[Anna](PER) lives`; other tags stand one for each word, and classes of a set
    between semicolons. The rows are said to be drawn at random. Rows that were checked earlier come first.
    """
    done = [] if earlier is None else list(zip(earlier.index.tolist(), earlier.labels, earlier.strategy, strict=True))
    rows = [*(row for row, _, _ in done), *rows]
    some = dataset.select(rows)
    names, tokens = list_names(some), task_of_labels(some) == "tokens"
    digests, given = row_digests(some), some.with_format(None)[LABEL][:]
    words = some.with_format(None)[TOKENS][:] if tokens else [None] * len(some)
    texts = [" ".join(one or []) for one in words] if tokens else shown_texts(some) or [""] * len(some)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, (row, digest, shown, labels, own) in enumerate(zip(rows, digests, texts, given, words, strict=True)):
        checked, mark, strategy = (labels, "", RANDOM) if place >= len(done) else (done[place][1], "x", done[place][2])
        cells = [_written(_named(one, names), own, names) for one in (labels, checked)]
        writer.writerow([row, digest, *map(safe_cell, (shown, *cells)), mark, strategy])
    return text.getvalue()


def _named(labels: list[int] | None, names: Sequence[str]) -> list[str]:
    return [names[one] if one is not None and one >= 0 else "" for one in labels or []]


def _written(labels: list[str], words: list[str] | None, names: Sequence[str]) -> str:
    """Labels as a person reads and corrects them."""
    if words is None:
        return json.dumps(labels) if any(_BETWEEN in name for name in names) else f"{_BETWEEN} ".join(labels)
    if not has_spans(names):
        return " ".join(label or "-" for label in labels)
    marked = list(words)
    for start, stop, kind in spans_of(labels):
        marked[start] = f"[{marked[start]}"
        marked[stop - 1] = f"{marked[stop - 1]}]({kind})"
    return " ".join(marked)


def _read(path: Path, dataset: Dataset) -> CheckedLists:
    """The checked rows of a file, found in the dataset by the digests of their content."""
    refuse_missing_checked(path)
    try:
        columns, lines = csv_lines(saved_text(path.read_bytes(), path))
    except csv.Error as error:
        raise ValueError(f"'{path}' is no CSV ({error}); save it as CSV") from error
    if missing := [name for name in ("digest", CHECKED_LABEL) if name not in columns]:
        raise ValueError(f"'{path}' must have a column '{missing[0]}', got {', '.join(columns) or 'none'}")
    ids = {name: number for number, name in enumerate(list_names(dataset))}
    words = dataset.with_format(None)[TOKENS] if task_of_labels(dataset) == "tokens" else None
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(row_digests(dataset)):
        places.setdefault(digest, []).append(row)
    found: dict[int, tuple[list[int], str]] = {}
    for number, line in lines:
        cell = plain_text(line.get(CHECKED_LABEL) or "")
        if not (line.get(LOOKED_AT) if LOOKED_AT in columns else cell):
            continue
        where = f"line {number} of '{path}'"
        rows = places.get((line["digest"] or "").strip())
        if rows is None:
            raise ValueError(f"{where} names a row (digest '{line['digest']}') that is not in the data")
        hint = str(line.get("row") or "")
        row = int(hint) if hint.isdigit() and int(hint) in rows else rows[0]
        names = _names(cell, None if words is None else words[row], list(ids), where)
        if row in found and found[row][0] != _ids(names, ids, where):
            raise ValueError(f"{where} has other checked labels for row {row} than an earlier line; keep one of them")
        found[row] = _ids(names, ids, where), str(line.get("strategy") or UNKNOWN)
    if not found:
        raise ValueError(f"no row of '{path}' is checked; correct '{CHECKED_LABEL}' and put x into '{LOOKED_AT}'")
    index = sorted(found)
    return _fitting(dataset, index, [found[row][0] for row in index], [found[row][1] for row in index], f"'{path}'")


def _names(cell: str, words: list[str] | None, names: list[str], where: str) -> list[str]:
    """The labels in a cell."""
    if words is None:
        if cell.startswith("["):
            try:
                listed: list[str] = json.loads(cell)
            except ValueError as error:
                raise ValueError(f"{where} has a list of classes that cannot be read ({error})") from error
            return listed
        return [one.strip() for one in cell.split(_BETWEEN) if one.strip()]
    parts = cell.split()
    if not has_spans(names):
        return ["" if one == "-" and one not in names else one for one in parts]
    return tags_of_spans(_spans(" ".join(parts), words, where), len(words), names)


def _spans(marked: str, words: list[str], where: str) -> list[Span]:
    """The entities that are marked in a sentence of these words."""
    spans, start, rest = [], None, marked
    for place, word in enumerate(words):
        written = " ".join(word.split())  # as it stands in the cell
        if start is None and rest.startswith("[") and not _goes_on(rest, written):
            start, rest = place, rest[1:]
        if not rest.startswith(written):
            raise ValueError(f"{where} has '{rest[:20]}' where the word '{word}' is expected; mark [words](TYPE) only")
        rest = rest[len(written) :]
        if start is not None and rest.startswith("](") and ")" in rest:
            kind, _, rest = rest[2:].partition(")")
            spans.append(Span(start, place + 1, kind))
            start = None
        rest = rest.lstrip()
    if rest or start is not None:
        raise ValueError(f"{where} ends in '{(rest or marked)[-20:]}', where the sentence or an entity does not end")
    return spans


def _goes_on(rest: str, word: str) -> bool:
    """Whether the text begins with a word that itself begins with a bracket."""
    return word.startswith("[") and rest.startswith(word) and rest[len(word) : len(word) + 1] in ("", " ")


def _ids(names: Sequence[Any], ids: dict[str, int], where: str) -> list[int]:
    for one in names:
        known = one in ids if isinstance(one, str) else isinstance(one, int) and -1 <= one < len(ids)
        if not known and one not in ("", None):
            raise ValueError(f"{where} has '{one}', which is not among the classes {', '.join(list(ids)[:8])}")
    return [-1 if one in ("", None) else ids[one] if isinstance(one, str) else one for one in names]


def _fitting(
    dataset: Dataset, index: list[int], labels: list[list[int]], strategy: list[str], where: str
) -> CheckedLists:
    """The rows, refused where there are not as many tags as words; sets in ascending order."""
    if task_of_labels(dataset) != "tokens":
        return CheckedLists(np.array(index), [sorted({one for one in own if one >= 0}) for own in labels], strategy)
    for row, own, words in zip(index, labels, dataset.select(index).with_format(None)[TOKENS][:], strict=True):
        if len(own) != len(words):
            raise ValueError(f"{where} has {len(own)} checked tags for the {len(words)} words of row {row}")
    return CheckedLists(np.array(index), labels, strategy)
