"""Votes of several annotators on the rows of an audit: read, and shown in its report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Int64

from hf_noisy.core.columns import LABEL_DISAGREEMENT, TEXT, TEXT_PAIR
from hf_noisy.data.checked import class_names
from hf_noisy.data.labelled_rows import LabelledRows
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.texts import shown_texts
from hf_noisy.data.weak.vote_files import VoteFile, read_votes
from hf_noisy.data.weak.vote_table import Votes, votes_from_answers
from hf_noisy.detection.audit import Audit
from hf_noisy.reports.html import Table

_ID = "id"
_SHOWN = 20  # rows in the table
_MAX_TEXT = 150  # characters


def votes_of_rows(path: Path | None, labelled: LabelledRows) -> Votes | None:
    """The votes of a file on the labelled rows, found by their texts, ids or numbers; those on other rows are left."""
    if path is None:
        return None
    names = class_names(labelled.whole)
    file = read_votes(path, classes=names)
    places = _places(file, labelled.whole, path)
    position = np.full(len(labelled.whole), -1)
    position[labelled.index] = np.arange(len(labelled.index))
    answers = [
        (row, vote)
        for vote, name in enumerate(file.votes.row.tolist())
        for row in position[places[name]].tolist()
        if row >= 0
    ]
    rows, of = np.array(answers, dtype=np.int64).reshape(-1, 2).T
    who = [file.votes.annotators[number] for number in file.votes.annotator[of]]
    return votes_from_answers(rows, who, file.votes.label[of], num_rows=len(labelled.index), classes=names)


def _places(file: VoteFile, rows: Dataset, path: Path) -> list[list[int]]:
    """The positions of each row of the file; rows of equal text share their votes."""
    ways: list[tuple[Sequence[Any], list[Any]]] = []
    # A text alone does not say which pair is meant.
    by_text = file.texts is not None and TEXT in rows.column_names and TEXT_PAIR not in rows.column_names
    if file.texts is not None and by_text:
        ways.append((file.texts, rows[TEXT][:]))
    if file.named and _ID in rows.column_names:
        ways.append((file.rows, [str(one) for one in rows[_ID][:]]))
    # Lines in the order of the rows would have the same texts, and annotation tools number their tasks from 1.
    if not file.exported and (file.named or not by_text):
        ways.append((file.rows, [str(number) for number in range(len(rows))]))
    unknown = "" if ways else file.rows[0]
    for names, known in ways:
        places: dict[Any, list[int]] = {}
        for number, one in enumerate(known):
            places.setdefault(one, []).append(number)
        missing = [name for name in names if name not in places]
        if not missing:
            return [places[name] for name in names]
        unknown = unknown or str(missing[0])[:_MAX_TEXT]
    raise ValueError(
        f"row '{unknown}' of '{path}' is none of the {len(rows):,} audited ones; name each row there by its text, its "
        f"'{_ID}' or its number from 0"
    )


def vote_figures(votes: Votes | None) -> dict[str, Any]:
    """What the summary says of the votes."""
    if votes is None:
        return {}
    without = votes.num_rows - len(np.unique(votes.row))
    return {"votes": {"annotators": len(votes.annotators), "answers": len(votes), "rows_without_vote": without}}


def with_disagreement(rows: Dataset, audit: Audit) -> Dataset:
    """The rows with the score of disagreement, if there were votes."""
    found = audit.issues.opinions
    return rows if found is None else with_column(rows, LABEL_DISAGREEMENT, found.disagreement.astype(np.float32))


def with_votes(text: str | None, counts: Int64[np.ndarray, " classes"], classes: Sequence[str]) -> str:
    """The text of a row and its votes."""
    votes = ", ".join(f"{classes[label]}: {counts[label]}" for label in np.flatnonzero(counts).tolist())
    return f"[{votes}] {text or ''}".strip()


def disagreement_tables(
    rows: Dataset, audit: Audit, votes: Votes | None, numbers: Int64[np.ndarray, " rows"]
) -> list[Table]:
    """The rows on which people differ most without an error."""
    found = audit.issues.opinions
    if found is None or votes is None:
        return []
    counts = votes.counts()
    split = (np.count_nonzero(counts, axis=1) > 1) & ~audit.issues.is_wrong
    order = np.argsort(-np.where(split, found.disagreement, -1), kind="stable")[: min(_SHOWN, int(split.sum()))]
    texts = shown_texts(rows.select(order)) or [""] * len(order)
    lines = [
        [
            str(numbers[row]),
            audit.class_names[audit.labels[row]],
            f"{found.disagreement[row]:.3f}",
            with_votes(None, counts[row], audit.class_names),
            text[:_MAX_TEXT],
        ]
        for row, text in zip(order.tolist(), texts, strict=True)
    ]
    caption = f"The first of {int(split.sum()):,} rows with different votes whose label is no error."
    return [Table("Legitimate disagreement", caption, ["row", "given label", "score", "votes", "text"], lines)]
