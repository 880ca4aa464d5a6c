"""The file in which a person corrects tags or sets of classes, and decisions on single ones, as checked labels."""

import csv
import io
import json
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset
from jaxtyping import Int64

from hf_noisy.core.cells import plain_text, safe_cell
from hf_noisy.core.columns import CHECKED_LABEL, TOKENS
from hf_noisy.core.file_names import refuse_missing_checked
from hf_noisy.data.checked import RANDOM, UNCHECKED, UNKNOWN
from hf_noisy.data.csv_lines import csv_lines, saved_text
from hf_noisy.data.decided_lists import decided_lists
from hf_noisy.data.decision_lines import COLUMNS as DECISION_COLUMNS
from hf_noisy.data.decision_lines import read_decisions
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names, task_of_labels
from hf_noisy.data.labelled_rows import labelled_rows
from hf_noisy.data.list_values import label_ids, values_of
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.tags import Span, has_spans, spans_of, tags_of_spans
from hf_noisy.data.texts import shown_texts

if TYPE_CHECKING:
    from hf_noisy.data.checked_lists import CheckedLists

LOOKED_AT = "checked"  # column of the file: anything but empty if a person has looked at the row
COLUMNS = ("row", "digest", "text", "label_given", CHECKED_LABEL, LOOKED_AT, "strategy")
_BETWEEN = ";"  # classes of a set
_ONLY = "only"  # in the column `checked`, before the numbers, from 1, of the words or classes that were looked at

Found = dict[int, tuple[Int64[np.ndarray, "_"], str]]  # values and strategy of each row


def rows_to_check_csv(
    dataset: Dataset, rows: Sequence[int], earlier: "CheckedLists | None" = None, strategy: str = RANDOM
) -> str:
    """The text of a file in which a person corrects `checked_label` and marks each row looked at in `checked`.

    Entities are marked in the sentence, `[Anna](PER) lives`; other tags stand one for each word, and classes of a set
    between semicolons. Rows that were checked earlier come first, unless they are drawn again.
    """
    done = {} if earlier is None else dict(zip(earlier.index.tolist(), earlier.values, strict=True))
    drawn = {} if earlier is None else dict(zip(done, earlier.strategy, strict=True))
    again = {row for row in rows if row in done}
    drawn |= dict.fromkeys(again, strategy)
    listed = [*(row for row in done if row not in again), *rows]
    some = dataset.select(listed)
    names, is_tokens = list_names(some), task_of_labels(some) == "tokens"
    flat = flat_tags(some) if is_tokens else None
    given = list(label_sets(some)[0].astype(np.int64)) if flat is None else flat.split(flat.labels)
    words = some.with_format(None)[TOKENS][:] if is_tokens else [None] * len(some)
    texts = [" ".join(one or []) for one in words] if is_tokens else shown_texts(some) or [""] * len(some)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row, digest, shown, before, own in zip(listed, row_digests(some), texts, given, words, strict=True):
        known = np.full(len(before), UNCHECKED) if row not in done else done[row]
        after = np.where(known == UNCHECKED, before, known)
        cells = [_written(_listed(one, names, is_tokens), own, names) for one in (before, after)]
        mark = _mark(known, before) if row in done else ""
        writer.writerow([row, digest, *map(safe_cell, (shown, *cells)), mark, drawn.get(row, strategy)])
    return text.getvalue()


def read_checked_lists(path: str | PathLike[str], dataset: Dataset) -> Found:
    """The checked labels in a file, found in the dataset by the digests of their rows."""
    path = Path(path)
    refuse_missing_checked(path)
    try:
        columns, lines = csv_lines(saved_text(path.read_bytes(), path))
    except csv.Error as error:
        raise ValueError(f"'{path}' is no CSV ({error}); save it as CSV") from error
    if columns == DECISION_COLUMNS:
        return _decided(path, dataset)
    if missing := [name for name in ("digest", CHECKED_LABEL) if name not in columns]:
        raise ValueError(f"'{path}' must have a column '{missing[0]}', got {', '.join(columns) or 'none'}")
    names = list_names(dataset)
    ids = {name: number for number, name in enumerate(names)}
    words = dataset.with_format(None)[TOKENS] if task_of_labels(dataset) == "tokens" else None
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(row_digests(dataset)):
        places.setdefault(digest, []).append(row)
    found: Found = {}
    unmarked = []
    for number, line in lines:
        cell = plain_text(line.get(CHECKED_LABEL) or "")
        mark = ((line.get(LOOKED_AT) if LOOKED_AT in columns else cell) or "").strip()
        if not mark:
            given = line.get("label_given")
            if LOOKED_AT in columns and given is not None and cell != plain_text(given):
                unmarked.append(str(number))
            continue
        where = f"line {number} of '{path}'"
        rows = places.get((line["digest"] or "").strip())
        if rows is None:
            raise ValueError(f"{where} names a row (digest '{line['digest']}') that is not in the data")
        hint = str(line.get("row") or "")
        row = int(hint) if hint.isdigit() and int(hint) in rows else rows[0]
        own = None if words is None else words[row]
        labels = label_ids(_names(cell, own, names, where), ids, where)
        values = values_of(labels, None if own is None else len(own), len(names), where)
        strategy = str(line.get("strategy") or UNKNOWN)
        if LOOKED_AT in columns and (only := _only(mark, len(values), where)) is not None:
            values, strategy = np.where(only, values, UNCHECKED), UNKNOWN
        if row in found and not np.array_equal(found[row][0], values):
            raise ValueError(f"{where} has other checked labels for row {row} than an earlier line; keep one of them")
        found[row] = values, strategy
    if unmarked:
        raise ValueError(
            f"lines {', '.join(unmarked[:5])} of '{path}' have another '{CHECKED_LABEL}' than 'label_given', but "
            f"nothing in '{LOOKED_AT}' ({len(unmarked)} in all); put x there, or take the given label"
        )
    if not found:
        raise ValueError(f"no row of '{path}' is checked; correct '{CHECKED_LABEL}' and put x into '{LOOKED_AT}'")
    return found


def _decided(path: Path, dataset: Dataset) -> Found:
    """The labels that decisions keep or change; nobody looked at the others of their rows."""
    decisions, labelled = read_decisions(path), labelled_rows(dataset)
    if not decisions:
        raise ValueError(f"'{path}' has no decision; tick some in the report, and download it again")
    new, known = decided_lists(labelled.rows, decisions)
    values = np.where(known, new, UNCHECKED)
    flat = flat_tags(labelled.rows) if values.ndim == 1 else None
    listed = list(values) if flat is None else flat.split(values)
    return {
        int(row): (one, UNKNOWN) for row, one in zip(labelled.index, listed, strict=True) if (one != UNCHECKED).any()
    }


def _mark(known: Int64[np.ndarray, " labels"], given: Int64[np.ndarray, " labels"]) -> str:
    """What stands in the column `checked`."""
    if ((known != UNCHECKED) | (given == UNCHECKED)).all():
        return "x"
    return f"{_ONLY} {' '.join(str(one + 1) for one in np.flatnonzero(known != UNCHECKED))}"


def _only(mark: str, labels: int, where: str) -> np.ndarray | None:
    """Which labels of a row were looked at; None if all were."""
    if not re.match(rf"{_ONLY}\b", mark, re.IGNORECASE):
        return None
    if not re.fullmatch(rf"{_ONLY}([\s,;]+\d+)+", mark, re.IGNORECASE):
        raise ValueError(f"{where} has '{mark}'; put numbers after {_ONLY}, as in '{_ONLY} 3 4', or x for all labels")
    numbers = np.array(re.findall(r"\d+", mark), dtype=np.int64)
    if not ((numbers >= 1) & (numbers <= labels)).all():
        raise ValueError(f"{where} has '{mark}', but the row has {labels} labels; put x for all of them")
    return np.isin(np.arange(labels), numbers - 1)


def _listed(values: Int64[np.ndarray, " labels"], names: Sequence[str], is_tokens: bool) -> list[str]:
    """The names of the tags, empty where a word has none, or of the classes of a set."""
    if is_tokens:
        return [names[one] if one >= 0 else "" for one in values.tolist()]
    return [names[one] for one in np.flatnonzero(values == 1).tolist()]


def _is_json(names: Sequence[str], is_tokens: bool) -> bool:
    """Whether a name holds what stands between names, so that cells are JSON lists."""
    return any(re.search(r"\s" if is_tokens else rf"{_BETWEEN}|^\s|\s$|^$", name) for name in names)


def _written(labels: list[str], words: list[str] | None, names: Sequence[str]) -> str:
    """Labels as a person reads and corrects them."""
    is_tokens = words is not None
    if not (is_tokens and has_spans(names)):
        if _is_json(names, is_tokens):
            return json.dumps(labels, ensure_ascii=False)
        return " ".join(label or "-" for label in labels) if is_tokens else f"{_BETWEEN} ".join(labels)
    marked = list(words or [])
    for start, stop, kind in spans_of(labels):
        marked[start] = f"[{marked[start]}"
        marked[stop - 1] = f"{marked[stop - 1]}]({kind})"
    return " ".join(marked)


def _names(cell: str, words: list[str] | None, names: list[str], where: str) -> list[str]:
    """The labels in a cell."""
    is_tokens = words is not None
    if words is not None and has_spans(names):
        return tags_of_spans(_spans(" ".join(cell.split()), words, where), len(words), names)
    if cell.startswith("[") and _is_json(names, is_tokens):
        try:
            listed: list[str] = json.loads(cell)
        except ValueError as error:
            raise ValueError(f"{where} has a list of classes that cannot be read ({error})") from error
        return listed
    if not is_tokens:
        return [one.strip() for one in cell.split(_BETWEEN) if one.strip()]
    return ["" if one == "-" and one not in names else one for one in cell.split()]


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
