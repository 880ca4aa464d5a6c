"""Rows to check as files for Label Studio and Argilla, and the labels in what these export.

Nothing of either is installed: the files are JSON, and XML for the labelling interface of Label Studio.

Sources: https://labelstud.io/guide/task_format.html (tasks, annotations), https://labelstud.io/guide/export.html (JSON
and JSON_MIN), https://labelstud.io/tags/choices.html; https://docs.argilla.io/latest/how_to_guides/import_export
(`Dataset.from_disk`, `records.to_json`), https://docs.argilla.io/latest/reference/argilla/records/records.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from hf_noisy.core.columns import CHECKED_LABEL, IMAGE, TEXT

_DRAW = ("row", "digest", "strategy", "probability", "batch")
_KEYS = 9  # classes that one can find without a search
_UNSUBMITTED = ("draft", "discarded")
_METADATA = {"row": "integer", "digest": "terms", "strategy": "terms", "probability": "float", "batch": "integer"}


def label_studio_tasks(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tasks to import into Label Studio, from rows with `text` or `image` and how each was drawn."""
    return [{"data": _present(row, (TEXT, IMAGE, *_DRAW))} for row in rows]


def label_studio_interface(class_names: Sequence[str], columns: Sequence[str]) -> str:
    """The labelling interface for these tasks: what to show, and one class to choose."""
    objects = {
        TEXT: '<Text name="text" value="$text" valueType="text"/>',
        IMAGE: '<Image name="image" value="$image"/>',
    }
    shown = [column for column in (TEXT, IMAGE) if column in columns]
    lines = [objects[column] for column in shown]
    if len(class_names) > _KEYS:
        lines.append(f'<Filter toName="{CHECKED_LABEL}" name="filter" minlength="0" placeholder="Find a class"/>')
    lines.append(f'<Choices name="{CHECKED_LABEL}" toName="{shown[0]}" choice="single" required="true">')
    lines += [f"  <Choice value={quoteattr(name)}/>" for name in class_names]
    return "\n".join(["<View>", *(f"  {line}" for line in [*lines, "</Choices>"]), "</View>", ""])


def argilla_records(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records as `Dataset.from_disk` reads them, without suggestions."""
    return [
        {
            "id": f"{row['row']}-{row['digest']}",
            "fields": _present(row, (TEXT, IMAGE)),
            "metadata": _present(row, _DRAW),
            "suggestions": {},
            "responses": {},
            "vectors": {},
        }
        for row in rows
    ]


def argilla_settings(class_names: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
    """The settings of the dataset of these records: what to show, one class to choose, and how a row was drawn."""
    options = [{"value": name, "text": name} for name in class_names]
    question = {"type": "label_selection", "options": options}
    shown = [name for name in (TEXT, IMAGE) if name in columns]
    return {
        "guidelines": None,
        "allow_extra_metadata": True,
        "fields": [{"name": name, "title": name, "required": True, "settings": {"type": name}} for name in shown],
        "questions": [{"name": CHECKED_LABEL, "title": "Class", "required": True, "settings": question}],
        "metadata": [{"name": name, "title": name, "settings": {"type": kind}} for name, kind in _METADATA.items()],
        "vectors": [],
    }


def exported_labels(exported: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows that a tool exported, each with its name in messages and the columns of a `checked.csv`.

    A row that was skipped or that nobody labelled has an empty `checked_label`; one that several people gave different
    labels is refused.
    """
    items = exported if isinstance(exported, list) else [exported]
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise ValueError(f"item {number} is no task or record, but {type(item).__name__}")
        name, draw, labels = _label_studio_task(item) or _label_studio_short(item) or _argilla_record(item)
        if "digest" not in draw:
            raise ValueError(
                f"{name} {number} has no digest; import what 'hf-noisy check' wrote, and export all of it"
            )
        if len(labels) > 1:
            raise ValueError(
                f"{name} {number} (row {draw.get('row', 'unknown')}) has the labels "
                f"{' and '.join(map(repr, sorted(labels)))}; keep one of them"
            )
        columns = {column: str(draw[column]) for column in _DRAW if draw.get(column) is not None}
        yield f"{name} {number}", {**columns, CHECKED_LABEL: next(iter(labels), "")}


Item = tuple[str, Mapping[str, Any], set[str]]  # what it is called, how the row was drawn, its labels


def _label_studio_task(item: dict[str, Any]) -> Item | None:
    """A task of the format JSON."""
    if not isinstance(item.get("data"), dict) or not isinstance(item.get("annotations"), list):
        return None
    labels = set()
    for annotation in _objects(item["annotations"]):
        if not annotation.get("was_cancelled"):
            for result in _objects(annotation.get("result")):
                if result.get("from_name") == CHECKED_LABEL:  # one of several questions, perhaps
                    (value,) = _objects([result.get("value")])
                    labels |= _texts(value.get("choices"))
    return "task", item["data"], labels


def _label_studio_short(item: dict[str, Any]) -> Item | None:
    """A task of the format JSON_MIN, once for each annotation."""
    if "annotation_id" not in item:
        return None
    chosen = item.get(CHECKED_LABEL)
    several = chosen if isinstance(chosen, list) else [chosen]
    labels = [_texts(one["choices"] if isinstance(one, dict) and "choices" in one else [one]) for one in several]
    return "task", item, set().union(*labels)


def _argilla_record(item: dict[str, Any]) -> Item:
    if not isinstance(item.get("fields"), dict) or not isinstance(item.get("metadata"), dict):
        raise ValueError(
            "the file is neither an export of Label Studio (as JSON or JSON_MIN) nor one of Argilla (records.to_json)"
        )
    (responses,) = _objects([item.get("responses") or {}])
    submitted = [one for one in _objects(responses.get(CHECKED_LABEL)) if one.get("status") not in _UNSUBMITTED]
    return "record", item["metadata"], _texts([one.get("value") for one in submitted])


def _present(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values of a row that JSON can hold; NaN is not among them."""
    return {name: row[name] for name in names if row.get(name) is not None and row[name] == row[name]}


def _objects(values: Any) -> list[dict[str, Any]]:
    """A list of objects, or none where it is missing."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError("annotations, results and responses must be lists of objects; export the file again")
    return values


def _texts(values: Any) -> set[str]:
    return {value for value in values if isinstance(value, str) and value} if isinstance(values, list) else set()
