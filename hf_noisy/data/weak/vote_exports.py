"""The answers of all annotators in what Label Studio and Argilla export."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hf_noisy.core.columns import TEXT

_UNSUBMITTED = ("draft", "discarded")


class Answer(NamedTuple):
    """One answer as a file holds it."""

    row: str
    annotator: str
    label: Any
    position: int  # of the line in the file


def exported_answers(
    path: str | Path, question: str | None = None
) -> tuple[list[Answer], dict[str, str | None]] | None:
    """Answers and texts by row in an export of Label Studio or Argilla; None for any other file."""
    if not str(path).lower().endswith(".json") or not Path(path).is_file():
        return None
    try:
        items = json.loads(Path(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError):  # JSON lines, or damaged: the reader of tables reports it
        return None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return None
    tools = [("Label Studio", "data", "annotations", _label_studio), ("Argilla", "fields", "responses", _argilla)]
    tool = next((one for one in tools if one[1] in items[0] and one[2] in items[0]), None)
    if tool is None:
        return None
    name, shown_in, _, reader = tool
    answers: list[tuple[str, Answer]] = []
    texts: dict[str, str | None] = {}
    for number, item in enumerate(items):
        row = str(item.get("id", number))
        try:
            values = item[shown_in].values()
            text = item[shown_in].get(TEXT)
            texts[row] = text or next((value for value in values if isinstance(value, str)), None)
            answers += [(asked, Answer(row, who, label, number)) for asked, who, label in reader(item)]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"item {number + 1} of '{path}' is damaged: it is not as {name} writes it; export the file again"
            ) from error
    asked_for = list(dict.fromkeys(asked for asked, _ in answers))
    if question is not None and question not in asked_for:
        raise ValueError(f"label_column='{question}' is no question of '{path}', which has {', '.join(asked_for)}")
    if question is None and len(asked_for) > 1:
        raise ValueError(f"'{path}' has answers to {', '.join(asked_for)}; name one of these with label_column=")
    return [answer for asked, answer in answers if question in (None, asked)], texts


def _label_studio(item: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Question, annotator and class of each submitted annotation of a task."""
    for annotation in item["annotations"] or []:
        who = annotation.get("completed_by")
        name = who.get("email", who.get("id")) if isinstance(who, dict) else who
        for result in annotation.get("result") or []:
            choices = result.get("value", {}).get("choices")
            if choices and not annotation.get("was_cancelled"):
                _refuse_several(choices, item)
                yield str(result.get("from_name")), str(name), choices[0]


def _argilla(item: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Question, annotator and class of each submitted response of a record."""
    for asked, responses in (item["responses"] or {}).items():
        for one in responses:
            if one.get("status") not in _UNSUBMITTED and isinstance(one["value"], str):
                yield asked, str(one.get("user_id")), one["value"]


def _refuse_several(choices: list[str], item: dict[str, Any]) -> None:
    """Refuse an answer of several classes."""
    if len(choices) > 1:
        raise ValueError(
            f"an answer to task {item.get('id')} has the classes {' and '.join(map(repr, choices))}; votes are one "
            "class each"
        )
