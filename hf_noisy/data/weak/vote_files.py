"""Votes in files: a line for each answer, a column for each annotator, or what Label Studio and Argilla export."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_noisy.core.columns import CHECKED_LABEL, CLEAN_LABEL, FEATURES, IMAGE, LABEL, TEXT, TEXT_PAIR, VOTES
from hf_noisy.data.reading.file_types import read_file
from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.weak.vote_exports import Answer, exported_answers
from hf_noisy.data.weak.vote_table import Votes, votes_from_answers

ANNOTATOR, ROW = "annotator", "row"
_TRUTH = (LABEL, CLEAN_LABEL, "gold", "gold_label", "true_label", "truth")
_NO_ANNOTATOR = (TEXT, TEXT_PAIR, IMAGE, FEATURES, CHECKED_LABEL, ROW, "id", "index")
_MOST_CLASSES = 50  # a column of more values is no annotator unless it is named
_ABSTENTIONS = (None, "", -1, "-1")


@dataclass(frozen=True)
class VoteFile:
    """The content of a file of votes.

    Attributes:
        votes: The votes.
        rows: `[rows]`, the identity of each row: as the file names it, else its number from 0.
        texts: `[rows]`, the text of each row; None if the file has none.
        checked: `[rows]`, what the column `checked_label` says, None where nobody looked; None without the column.
        named: Whether the file names its rows.
        exported: Whether an annotation tool wrote it, whose numbers of rows are its own.
    """

    votes: Votes
    rows: list[str]
    texts: list[str | None] | None
    checked: list[Any] | None
    named: bool = True
    exported: bool = False


def read_votes(
    path: str | Path,
    *,
    vote_columns: Sequence[str] = (),
    annotator_column: str | None = None,
    row_column: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    classes: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> VoteFile:
    r"""Read votes from CSV, TSV, JSON, JSON lines, Parquet or Excel.

    * A line for each answer: the columns `annotator`, `row` (or `id`, or `text`) and `label`. If an annotator answers
      a row twice, the last answer counts.
    * A line for each row: `vote_columns`, a column `votes` with a list or a name and an answer for each annotator, or
      else all columns but texts, ids and `checked_label`.
    * An export of Label Studio (JSON) or Argilla (`records.to_json`): all submitted answers of every annotator.

    Empty cells and -1 are no answer. Classes are numbers if all answers are whole numbers, else names.

    Args:
        path: The file, or `-` for the standard input.
        vote_columns: The columns of the annotators.
        annotator_column: Column of the annotators' names; `annotator` by default.
        row_column: Column that says which row an answer is for.
        label_column: Column of the answers, `label` by default; of an export, the question.
        text_column: Column of the texts; `text` by default.
        classes: Names of all classes, in the order of their ids; by default those of the answers, sorted.
        delimiter: Between columns of a table.
        encoding: Of a text file.

    Returns:
        [`VoteFile`].

    Raises:
        ValueError: If the file holds no votes, a column is missing, a label is not among `classes`, or a column looks
            like the true label or like no annotator. The message names the line and what would do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "votes.csv")
        ...     _ = path.write_text("text,ann,ben\nGood,yes,yes\nBad,no,\n")
        ...     found = read_votes(path)
        >>> found.votes.annotators, found.votes.classes, found.votes.matrix().tolist(), found.texts
        (('ann', 'ben'), ('no', 'yes'), [[1, 1], [0, -1]], ['Good', 'Bad'])
    """
    exported = exported_answers(path, label_column)
    if exported is not None:
        answers, texts = exported
        names = list(texts)
        votes = _votes(answers, names, classes, str(path), None)
        return VoteFile(votes, names, list(texts.values()), None, exported=True)
    label, text = label_column or LABEL, text_column or TEXT
    wanted = Wanted(text_columns=(text,), label_column=label, delimiter=delimiter, encoding=encoding)
    raw = read_file(path, wanted)
    table = raw.table.to_pydict()
    for option, column in (
        ("vote_columns", vote_columns),
        ("annotator_column", annotator_column),
        ("row_column", row_column),
        ("label_column", label_column),
        ("text_column", text_column),
    ):
        for name in [column] if isinstance(column, str) else column or ():
            if name not in table:
                raise ValueError(f"{option}='{name}' is no column of '{path}', which has {', '.join(table)}")
    if not vote_columns and (annotator_column or (ANNOTATOR in table and label in table)):
        return _long(table, annotator_column or ANNOTATOR, row_column, label, text, classes, str(path), raw.places)
    return _wide(table, vote_columns, row_column, text, classes, str(path), raw.places)


def _long(
    table: dict[str, list[Any]],
    annotator: str,
    row: str | None,
    label: str,
    text: str,
    classes: Sequence[str] | None,
    name: str,
    places: Places,
) -> VoteFile:
    """A line for each answer."""
    row = row or next((column for column in (ROW, "id", text) if column in table), None)
    if row is None:
        raise ValueError(f"'{name}' does not say which row an answer is for; name that column with row_column=")
    lines = range(len(table[label]))
    if unnamed := [line for line in lines if table[annotator][line] in (None, "") or table[row][line] in (None, "")]:
        raise ValueError(f"{places.of(unnamed)}: no {annotator} or no {row}; fill it in, or remove the line")
    answers = [Answer(str(table[row][n]), str(table[annotator][n]), table[label][n], n) for n in lines]
    names = list(dict.fromkeys(answer.row for answer in answers))
    texts = None
    if text in table:
        of_row = dict(zip((answer.row for answer in reversed(answers)), reversed(table[text]), strict=True))
        texts = [of_row[one] for one in names]
    return VoteFile(_votes(answers, names, classes, name, places), names, texts, None)


def _wide(
    table: dict[str, list[Any]],
    columns: Sequence[str],
    row: str | None,
    text: str,
    classes: Sequence[str] | None,
    name: str,
    places: Places,
) -> VoteFile:
    """A line for each row."""
    count = len(next(iter(table.values())))
    if not columns and VOTES in table:
        answers = [
            Answer(str(line), str(annotator), value, line)
            for line, cell in enumerate(table[VOTES])
            for annotator, value in (cell.items() if isinstance(cell, dict) else enumerate(cell or []))
        ]
    else:
        columns = columns or _annotators(table, {text, row}, name)
        answers = [Answer(str(n), column, table[column][n], n) for column in columns for n in range(count)]
    numbers = [str(line) for line in range(count)]
    votes = _votes(answers, numbers, classes, name, places)
    key = row or ("id" if "id" in table else None)
    rows = numbers if key is None else [str(value) for value in table[key]]
    return VoteFile(votes, rows, table.get(text), table.get(CHECKED_LABEL), named=key is not None)


def _annotators(table: dict[str, list[Any]], others: set[str | None], name: str) -> list[str]:
    """The columns of a wide table that look like annotators."""
    found = [column for column in table if column not in others and column not in _NO_ANNOTATOR]
    if true := [column for column in found if column.lower() in _TRUTH]:
        raise ValueError(
            f"column '{true[0]}' of '{name}' looks like the true or given label, not an annotator; name the columns "
            "of the annotators with vote_columns="
        )
    for column in found:
        values = len({str(value) for value in table[column]})
        if values > _MOST_CLASSES:
            raise ValueError(
                f"column '{column}' of '{name}' has {values} different values, so it is no annotator; name the "
                "columns of the annotators with vote_columns="
            )
    if not found:
        raise ValueError(f"'{name}' has no column of votes, only {', '.join(table)}; name them with vote_columns=")
    return found


def _votes(
    answers: list[Answer], rows: list[str], classes: Sequence[str] | None, name: str, places: Places | None
) -> Votes:
    """Votes from answers by name."""
    values = [_plain(answer.label) for answer in answers]
    given = {value for value in values if value is not None}
    if not given:
        raise ValueError(f"'{name}' holds no answer of any annotator")
    if classes is None:
        numbers = all(value.isdigit() for value in given)
        classes = [str(n) for n in range(max(map(int, given)) + 1)] if numbers else sorted(given)
    if len(classes) < 2:
        raise ValueError(f"all answers in '{name}' are '{classes[0]}', but there must be at least 2 classes")
    ids = {label: number for number, label in enumerate(classes)}
    outside = [n for n, value in enumerate(values) if value is not None and value not in ids]
    if outside:
        answer = answers[outside[0]]
        where = f"'{name}'" if places is None else places.of([answer.position])
        raise ValueError(
            f"{where}: {answer.annotator} gave '{values[outside[0]]}', which is not among the classes "
            f"{', '.join(classes)}"
        )
    position = {row: number for number, row in enumerate(rows)}
    labels = np.array([-1 if value is None else ids[value] for value in values], dtype=np.int64)
    places_of = np.array([position[answer.row] for answer in answers], dtype=np.int64)
    return votes_from_answers(
        places_of, [answer.annotator for answer in answers], labels, num_rows=len(rows), classes=list(classes)
    )


def _plain(value: Any) -> str | None:
    """The answer as text; None for an abstention."""
    if value in _ABSTENTIONS or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
