"""Rows to check go out to Label Studio and Argilla, and their labels come back."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from hf_noisy.data.annotation_tools import (
    argilla_records,
    argilla_settings,
    label_studio_interface,
    label_studio_tasks,
)
from hf_noisy.data.checked import read_checked
from hf_noisy.data.row_digest import row_digests

CLASSES = ["cat", 'a "dog" & <b>\nlarge']
DATA = Dataset.from_dict({"text": ["first", "second", "third", "first"], "label": [0, 1, 0, 1]}).cast_column(
    "label", ClassLabel(names=CLASSES)
)
DIGESTS = row_digests(DATA)
DRAW = {"strategy": "random", "probability": 0.5, "batch": 1}
ROWS = [
    {"row": row, "digest": DIGESTS[row], "text": DATA[row]["text"], "image": None, "given": 1, **DRAW}
    for row in (3, 1)
]


def annotation(*labels: str, **more) -> dict:
    value = {"choices": list(labels)}
    result = {"from_name": "checked_label", "to_name": "text", "type": "choices", "id": "x", "value": value}
    return {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [result] if labels else [], **more}


def tasks(*annotations: list[dict]) -> list[dict]:
    """The export JSON of Label Studio, with the annotations of each task."""
    return [
        {"id": 10 + number, **task, "annotations": annotations[number], "drafts": [], "predictions": []}
        for number, task in enumerate(label_studio_tasks(ROWS))
    ]


def short_tasks(*labels: object) -> list[dict]:
    """The export JSON_MIN of Label Studio."""
    return [
        {**task["data"], "id": 1, "annotator": 1, "annotation_id": 5}
        | ({} if label is None else {"checked_label": label})
        for task, label in zip(label_studio_tasks(ROWS), labels, strict=True)
    ]


def records(*responses: list[dict]) -> list[dict]:
    """What `records.to_json` of Argilla writes."""
    return [
        {**record, "responses": {"checked_label": given} if given else {}, "status": "completed", "_server_id": "u"}
        for record, given in zip(argilla_records(ROWS), responses, strict=True)
    ]


def response(value: object, **more) -> dict:
    return {"value": value, "user_id": "1234", **more}


def read(exported: object, tmp_path):
    path = tmp_path / "exported.json"
    path.write_text(json.dumps(exported))
    return read_checked(path, DATA)


@pytest.mark.parametrize(
    "exported",
    [
        tasks([annotation("cat")], [annotation(CLASSES[1])]),
        short_tasks("cat", CLASSES[1]),
        records([response("cat")], [response(CLASSES[1])]),
    ],
)
def test_labels_come_back_with_their_draw(exported, tmp_path):
    checked = read(exported, tmp_path)
    assert checked.index.tolist() == [1, 3]
    assert checked.labels.tolist() == [1, 0]
    assert checked.strategy == ["random", "random"]
    assert checked.probability.tolist() == [0.5, 0.5]
    assert checked.batch.tolist() == [1, 1]


@pytest.mark.parametrize(
    "exported",
    [
        tasks([annotation("cat"), annotation("cat"), annotation()], [annotation(CLASSES[1], was_cancelled=True)]),
        tasks([annotation("cat"), annotation(CLASSES[1], was_cancelled=True)], []),
        short_tasks("cat", None),
        records([response("cat"), response("cat")], []),
        records([response("cat"), response(None)], [response("cat", status="discarded")]),
    ],
)
def test_people_may_agree_and_skip(exported, tmp_path):
    checked = read(exported, tmp_path)
    assert checked.index.tolist() == [3]
    assert checked.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("exported", "sentence"),
    [
        (tasks([annotation("cat"), annotation(CLASSES[1])], []), r"task 1 \(row 3\) has the labels .* and 'cat'"),
        (tasks([annotation(*CLASSES)], []), r"task 1 \(row 3\) has the labels"),
        (short_tasks([{"choices": CLASSES}], None), r"task 1 \(row 3\) has the labels"),
        (records([], [response("cat"), response(CLASSES[1])]), r"record 2 \(row 1\) has the labels"),
        (tasks([annotation("bird")], []), r"task 1 of .* has 'bird', which is not among the classes"),
        (tasks([], []), "no line of .* has a checked label"),
        ([{"data": {"text": "a"}, "annotations": [annotation("cat")]}], "task 1 has no digest; import what"),
        ([{"fields": {}, "metadata": {}, "responses": 3}], "must be lists of objects"),
        ([{"text": "a", "label": 1}], "neither an export of Label Studio .* nor one of Argilla"),
        ({"a": 1}, "neither an export of Label Studio"),
        ([1], "item 1 is no task or record, but int"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_row(exported, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        read(exported, tmp_path)


def test_two_annotations_of_one_task_in_the_short_form_must_agree(tmp_path):
    with pytest.raises(ValueError, match=r"task 2 of .* has another checked label for row 3 than task 1"):
        read([*short_tasks("cat", None)[:1], *short_tasks(CLASSES[1], None)[:1]], tmp_path)


def test_given_labels_and_what_is_missing_stay_out():
    rows = [ROWS[0] | {"probability": np.nan}]
    assert label_studio_tasks(rows) == [
        {"data": {"text": "first", "row": 3, "digest": DIGESTS[3], "strategy": "random", "batch": 1}}
    ]
    (record,) = argilla_records(rows)
    assert record["fields"] == {"text": "first"}
    assert record["suggestions"] == {}
    assert "given" not in json.dumps(record)


def test_records_of_equal_content_have_ids_of_their_own():
    first, second = argilla_records([ROWS[0], ROWS[0] | {"row": 0}])
    assert first["id"] != second["id"]


@pytest.mark.parametrize(("columns", "shown"), [(["text"], ["Text"]), (["image", "text"], ["Text", "Image"])])
def test_the_interface_holds_the_classes_as_they_are_written(columns, shown):
    view = ET.fromstring(label_studio_interface(CLASSES, columns))
    assert [tag.tag for tag in view] == [*shown, "Choices"]
    choices = view.find("Choices")
    assert [choice.get("value") for choice in choices] == CLASSES
    assert choices.get("toName") == view[0].get("name")
    many = ET.fromstring(label_studio_interface([str(label) for label in range(10)], columns))
    assert many.find("Filter").get("toName") == "checked_label"


def test_the_settings_hold_the_classes_and_the_metadata():
    settings = argilla_settings(CLASSES, ["text", "label"])
    assert [option["value"] for option in settings["questions"][0]["settings"]["options"]] == CLASSES
    assert [field["name"] for field in settings["fields"]] == ["text"]
    assert {one["name"] for one in settings["metadata"]} == set(argilla_records(ROWS)[0]["metadata"])
