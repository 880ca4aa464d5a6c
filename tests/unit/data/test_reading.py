"""What a user hopes for when a file is not as it should be: its rows unchanged, or one sentence with file and line."""

import csv
import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data import ImageViews, load_noisy_dataset
from hf_noisy.data.reading import image_columns, source_splits
from hf_noisy.data.reading.file_types import _standard_input
from hf_noisy.data.records import rows_left_out
from tests.unit.data.messy_inputs import CASES, TWO, Case, make, png

pytestmark = pytest.mark.usefixtures("own_cache")


def named(rows, column):
    return [None if label is None or label < 0 else rows.features[column].int2str(label) for label in rows[column]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_messy_input(case: Case, tmp_path, caplog):
    source = make(case, tmp_path)
    if case.labels is None:
        with pytest.raises((ValueError, OSError, ImportError)) as caught:
            load_noisy_dataset(str(source), **case.options)
        said = str(caught.value)
        assert "\n" not in said
        assert re.search(case.message, said), said
        return
    rows = load_noisy_dataset(str(source), **case.options)[case.split]
    assert named(rows, "label") == case.labels
    if "text" in rows.column_names:
        assert rows["text"][:] == case.texts
    else:
        assert [image.size for image in rows["image"]] == [(8, 8)] * len(case.texts)
    if case.message:
        assert re.search(case.message, caplog.text), caplog.text


REFUSED = [case for case in CASES if case.labels is None]


def test_a_refusal_names_the_file_and_the_option_as_typed(tmp_path):
    for number, case in enumerate(REFUSED):
        source = make(case, tmp_path / str(number))
        words = ["audit", str(source), "--output", str(tmp_path / "out")]
        for name, value in case.options.items():
            option = f"--{name.replace('_', '-')}"
            for one in value if isinstance(value, list) else [value]:
                words += [option] if one is True else [option, one]
        if "--sep" in words:  # no option of a command
            continue
        result = CliRunner().invoke(app, words)
        said = result.stderr.splitlines()[-1]
        assert (result.exit_code, said[:10]) == (2, "hf-noisy: "), (case.name, result.exception)
        assert "Traceback" not in result.output
        assert not re.search(r"[a-z]_column|skip_unreadable", said), said
        assert str(tmp_path / str(number)) in said or re.search(
            r"--(text-column|label-column|feature-columns|encoding|delimiter)", said
        )


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PIECES = st.lists(
    st.sampled_from([",", ";", "\t", '"', "'", "\n", "\r\n", " ", "\\", "NA", "é", "1.0", "#"]), max_size=6
)
TEXTS = CELLS | PIECES.map("".join)
LABELS = st.sampled_from(["Human", "001", "NA", "None", "nan", "true", "  AI ", "", " "])
ROWS = st.lists(st.tuples(TEXTS, LABELS, st.from_regex(r"\A[0-9a-zA-Z]{1,6}\Z")), max_size=8)


def write_csv(path, columns, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_json(path, columns):
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row, ensure_ascii=len(columns) == 2) + "\n" for row in rows), encoding="utf-8")


WRITERS = {
    "a.csv": write_csv,
    "a.tsv": lambda path, columns: write_csv(path, columns, "\t"),
    "b.csv": lambda path, columns: write_csv(path, columns, ";"),
    "a.jsonl": write_json,
    "a.parquet": lambda path, columns: pq.write_table(pa.table(columns), path),
}


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_any_table_is_read_as_it_was_written(tmp_path, rows):
    texts, labels, ids = map(list, zip(("first", "Human", "0000"), *rows, strict=True))
    for name, write in WRITERS.items():
        write(tmp_path / name, {"text": texts, "label": labels, "id": ids})
        found = load_noisy_dataset(str(tmp_path / name))["train"]
        assert found["text"][:] == texts
        assert named(found, "label") == [label.strip() or None for label in labels]
        assert found["id"][:] == ids


def test_numbers_stay_numbers_where_nothing_is_lost(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,n,share,code,user_id,when\na,x,1,0.5,007,5,2020-01-01\nb,y,,2,8,6,\n")
    rows = load_noisy_dataset(str(tmp_path / "a.csv"))["train"]
    assert {name: rows[name][:] for name in ("n", "share", "code", "user_id", "when")} == {
        "n": [1, None],
        "share": [0.5, 2.0],
        "code": ["007", "8"],
        "user_id": ["5", "6"],
        "when": ["2020-01-01", None],
    }


def test_true_and_checked_labels_share_the_classes(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,gold,checked_label\na,x,,\nb,y,z,x\nc,x,x,-1\n")
    rows = load_noisy_dataset(str(tmp_path / "a.csv"), clean_column="gold")["train"]
    assert rows.features["label"].names == rows.features["clean_label"].names == ["x", "y", "z"]
    assert named(rows, "clean_label") == [None, "z", "x"]
    assert named(rows, "checked_label") == [None, "x", None]


def test_true_labels_keep_their_names_when_classes_are_declared_in_another_order(tmp_path):
    features = {"label": ClassLabel(names=["y", "x"]), "clean_label": ClassLabel(names=["x", "y"])}
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "clean_label": [0, 1]})
    for name, feature in features.items():
        rows = rows.cast_column(name, feature)
    rows.to_parquet(tmp_path / "a.parquet")
    found = load_noisy_dataset(str(tmp_path / "a.parquet"))["train"]
    assert (named(found, "label"), named(found, "clean_label")) == (["y", "x"], ["x", "y"])


def test_the_standard_input_is_read_once_and_found_again(monkeypatch):
    _standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TWO.encode())))
    for _ in range(2):
        assert load_noisy_dataset("-")["train"]["text"][:] == ["a", "b"]
    _standard_input.cache_clear()


@pytest.mark.parametrize("limit", [2**30, 0], ids=["memory", "disk"])
def test_new_content_of_the_same_size_and_time_is_read(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(source_splits, "_IN_MEMORY", limit)
    path, texts = tmp_path / "a.parquet", []
    for text in ("one", "two"):
        pq.write_table(pa.table({"text": [text, "x"], "label": ["p", "q"]}), path)
        os.utime(path, (1e9, 1e9))
        texts.append(load_noisy_dataset(str(path))["train"]["text"][0])
    assert texts == ["one", "two"]


def test_image_folders_of_the_same_name_are_not_confused(tmp_path):
    for number, names in enumerate((("cat", "dog"), ("cow", "pig"))):
        for name in names:
            (tmp_path / str(number) / "data" / name).mkdir(parents=True)
            (tmp_path / str(number) / "data" / name / "1.png").write_bytes(png(number))
        found = load_noisy_dataset(str(tmp_path / str(number) / "data"))["train"]
        assert found.features["label"].names == list(names)
        paths = found.cast_column("image", datasets.Image(decode=False))["image"]
        assert [Path(image["path"]).parts[-4:-1] for image in paths] == [(str(number), "data", name) for name in names]


def test_images_that_are_left_out_are_recorded(tmp_path):
    case = next(case for case in CASES if case.name == "missing images left out")
    rows = load_noisy_dataset(str(make(case, tmp_path)), **case.options)["train"]
    assert rows_left_out(rows) == 1
    assert rows_left_out(rows.add_column("n", [1])) == 1


def test_many_images_are_only_looked_for(tmp_path, monkeypatch):
    case = next(case for case in CASES if case.name == "an image cut short")
    monkeypatch.setattr(image_columns, "_DECODED", 1)
    assert len(load_noisy_dataset(str(make(case, tmp_path)))["train"]) == 2
    with pytest.raises(ValueError, match="is not there"):
        load_noisy_dataset(str(make(next(case for case in CASES if case.name == "a missing image"), tmp_path / "b")))


def grey(dtype, low, high):
    return np.linspace(low, high, 64).reshape(8, 8).astype(dtype)


@pytest.mark.parametrize(
    ("values", "ending", "expected"),
    [
        (grey(np.uint8, 0, 255), ".png", grey(np.uint8, 0, 255)),
        (grey(np.uint16, 0, 65535), ".png", grey(np.float64, 0, 255)),
        (grey(np.uint16, 0, 200), ".png", np.zeros((8, 8))),
        (grey(np.float32, 0, 1), ".tiff", grey(np.float64, 0, 255)),
        (grey(np.int32, 0, 65535), ".tiff", grey(np.float64, 0, 255)),
    ],
)
def test_grey_values_are_scaled_by_the_range_of_the_format(tmp_path, values, ending, expected):
    Image.fromarray(values).save(tmp_path / f"a{ending}")
    (tmp_path / "a.csv").write_text(f"image,label\na{ending},x\na{ending},y\n")
    rows = load_noisy_dataset(str(tmp_path / "a.csv"))["train"]
    pixels = ImageViews(rows)[0]["pixel_values"].numpy() * 255
    np.testing.assert_allclose(pixels, np.stack([expected] * 3), atol=1)


@pytest.mark.parametrize("values", [grey(np.float32, 0, 300), grey(np.float32, -1, 1), grey(np.int32, 0, 70000)])
def test_grey_values_beyond_the_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tiff")
    (tmp_path / "a.csv").write_text("image,label\na.tiff,x\n")
    with pytest.raises(ValueError, match=r"a\.tiff': grey values from .*line 2 of"):
        load_noisy_dataset(str(tmp_path / "a.csv"))


def test_pairs_of_texts_are_read_again_under_their_names(tmp_path):
    (tmp_path / "a.csv").write_text("text,text_pair,label\na,c,x\nb,,y\n")
    rows = load_noisy_dataset(str(tmp_path / "a.csv"))["train"]
    assert (rows["text"][:], rows["text_pair"][:]) == (["a", "b"], ["c", ""])
