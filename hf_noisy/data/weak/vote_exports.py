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


def exported_answers(path: str | Path) -> tuple[list[Answer], dict[str, str | None]] | None:
    """Answers and texts by row in an export of Label Studio or Argilla; None for any other file."""
    if not str(path).lower().endswith(".json") or not Path(path).is_file():
        return None
    try:
        items = json.loads(Path(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError):  # JSON lines, or damaged: the reader of tables reports it
        return None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return None
    reader = _label_studio if "annotations" in items[0] and "data" in items[0] else None
    reader = _argilla if "responses" in items[0] and "fields" in items[0] else reader
    if reader is None:
        return None
    answers, texts = [], {}
    for number, item in enumerate(items):
        row = str(item.get("id", number))
        shown = item["data"] if reader is _label_studio else item["fields"]
        texts[row] = shown.get(TEXT) or next((value for value in shown.values() if isinstance(value, str)), None)
        answers += [Answer(row, who, label, number) for who, label in reader(item)]
    return answers, texts


def _label_studio(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Annotator and class of each submitted annotation of a task."""
    for annotation in item["annotations"] or []:
        who = annotation.get("completed_by")
        name = who.get("email", who.get("id")) if isinstance(who, dict) else who
        for result in annotation.get("result") or []:
            choices = result.get("value", {}).get("choices")
            if choices and not annotation.get("was_cancelled"):
                yield str(name), choices[0]


def _argilla(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Annotator and class of each submitted response of a record, by its first question with classes."""
    for responses in (item["responses"] or {}).values():
        kept = [one for one in responses if one.get("status") not in _UNSUBMITTED and isinstance(one["value"], str)]
        if kept:
            yield from ((str(one.get("user_id")), one["value"]) for one in kept)
            return
