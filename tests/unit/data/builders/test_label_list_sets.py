import gzip
import json

import pytest

from hf_noisy.data import load_noisy_dataset, noise_record

ROWS = {
    "wikigold_distant": [
        {"tokens": ["a", "b"], "ner_tags": ["B-X", "I-X"], "distant": ["B-X", "O"]},
        {"tokens": ["c"], "ner_tags": ["O"]},
    ],
    "goemotions": [{"text": "a", "labels": [0, 2]}, {"text": "b", "labels": []}],
    "redocred": [{"text": "a", "labels": [0, 2], "noisy_labels": [2]}, {"text": "b", "labels": [1]}],
}
NAMES = {"wikigold_distant": ["O", "B-X", "I-X"], "goemotions": ["x", "y", "z"], "redocred": ["x", "y", "z"]}


@pytest.fixture
def load(tmp_path):
    def loaded(name, *args, rows=None, **options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "labels.json").write_text(json.dumps({"classes": NAMES[name]}))
        with gzip.open(folder / "train.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows or ROWS[name])
        return load_noisy_dataset(name, *args, data_dir=folder, **options)["train"]

    return loaded


def test_distant_tags_are_given_where_there_are_some(load):
    rows = load("wikigold_distant")
    assert rows.column_names == ["tokens", "label", "clean_label"]
    assert rows["label"][:] == [[1, 0], [0]]
    assert rows["clean_label"][:] == [[1, 2], [0]]
    record = noise_record(rows)
    assert (record["kind"], record["unit"], record["rate_measured"]) == ("distant", "token", pytest.approx(1 / 3))
    assert record["transition_matrix"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert load("wikigold_distant", "clean")["label"][:] == [[1, 2], [0]]


def test_missing_labels_are_counted_by_class(load):
    rows = load("redocred")
    assert (rows["label"][:], rows["clean_label"][:]) == ([[2], [1]], [[0, 2], [1]])
    record = noise_record(rows)
    assert (record["unit"], record["rate_measured"]) == ("cell", pytest.approx(1 / 6))
    assert (record["missing_rate"], record["spurious_rate"]) == ([1, 0, 0], [0, 0, 0])
    assert noise_record(load("redocred", "clean")) is None


def test_an_empty_set_is_a_label(load):
    rows = load("goemotions")
    assert rows["label"][:] == rows["clean_label"][:] == [[0, 2], []]
    assert rows.info.license


def test_a_broken_file_is_named(load):
    with pytest.raises(ValueError, match=r"'goemotions' cannot be read.*of another form .KeyError"):
        load("goemotions", rows=[{"text": "a"}])
    with pytest.raises(ValueError, match="'goemotions' cannot be read"):
        load("goemotions", rows=[{"text": "a", "labels": [3]}])
