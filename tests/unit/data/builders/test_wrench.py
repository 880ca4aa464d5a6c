import gzip
import json

import numpy as np
import pytest
from datasets import Dataset

from hf_noisy.data import load_noisy_dataset, majority_vote, noise_record

NAMES = {"0": "Part of", "1": "Regulator", "2": "NOT"}
ROWS = [
    (0, [0, -1, -1], "Mutants replace amino acids."),
    (1, [-1, 1, 0], "The agent binds."),
    (2, [1, 1, -1], "It does not interact."),
    (2, [-1, -1, -1], "Nothing is seen."),
]
EXTRA = {"entity1": "agent", "span1": [0, 5]}


def wrench_file(rows, first=100):
    objects = ({"label": label, "weak_labels": votes, "data": {"text": text, **EXTRA}} for label, votes, text in rows)
    return json.dumps({str(first + index): row for index, row in enumerate(objects)}, indent=1)


@pytest.fixture(params=["wrench", "trec", "semeval", "chemprot", "sms"])
def name(request):
    return request.param


@pytest.fixture
def folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "label.json").write_text(json.dumps(NAMES))
    for file, rows in {"train": ROWS, "valid": ROWS[:2], "test": ROWS[1:]}.items():
        (folder / f"{file}.json").write_text(wrench_file(rows))
    return folder


def test_given_labels_are_the_majority_of_the_votes(folder, name):
    loaded = load_noisy_dataset(name, data_dir=folder)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "validation": 2, "test": 3}
    train = loaded["train"]
    assert train.column_names == ["text", "label", "clean_label", "votes"]
    assert train.features["label"].names == list(NAMES.values())
    assert train["text"][:] == [text for _, _, text in ROWS]
    assert train["clean_label"][:] == [0, 1, 2, 2]
    assert train["votes"][:] == [votes for _, votes, _ in ROWS]
    expected, _ = majority_vote(np.array([votes for _, votes, _ in ROWS]), 3)
    assert train["label"][:] == expected.tolist()
    assert train["label"][0] == 0
    assert train["label"][2] == 1
    train.to_parquet(folder / "train.parquet")
    again = Dataset.from_parquet(str(folder / "train.parquet"))
    assert (again.features, again[:]) == (train.features, train[:])
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == ("rules", np.mean(expected != [0, 1, 2, 2]))


def test_true_labels_can_be_had(folder, name):
    train = load_noisy_dataset(name, "clean", data_dir=folder.parent)["train"]
    assert train["label"][:] == train["clean_label"][:] == [0, 1, 2, 2]
    noisy = load_noisy_dataset(name, "clean", data_dir=folder, noise_type="pair", noise_rate=0.5)["train"]
    assert noise_record(noisy)["rate_measured"] == 0.5
    assert "votes" not in noisy.column_names


def test_examples_of_the_rules_are_no_training_rows(folder, name):
    (folder / "labeled_ids.json").write_text(json.dumps({"labeled_ids": ["103"], "lf_exemplar_ids": ["100", "103"]}))
    loaded = load_noisy_dataset(name, data_dir=folder)
    assert loaded["train"]["clean_label"][:] == [1, 2]
    # The ids of another file are not meant.
    assert len(loaded["test"]) == 3


def test_gzip_json_lines_are_read_too(folder, name):
    for file in folder.iterdir():
        file.unlink()
    (folder / "labels.json").write_text(json.dumps({"classes": list(NAMES.values())}))
    rows = [{"text": text, "label": label, "weak_label": 1, "weak_votes": votes} for label, votes, text in ROWS]
    with gzip.open(folder / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    train = load_noisy_dataset(name, data_dir=folder)["train"]
    assert train.column_names == ["text", "label", "clean_label", "votes"]
    assert train["label"][:] == [1, 1, 1, 1]
    assert load_noisy_dataset(name, "clean", data_dir=folder)["train"]["label"][:] == [0, 1, 2, 2]


def test_a_folder_without_rows_is_refused(folder, name):
    for file in ("train", "valid", "test"):
        (folder / f"{file}.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds label.json but no train.json; download"):
        load_noisy_dataset(name, data_dir=folder)
    (folder / "labels.json").write_text(json.dumps({"classes": ["a", "b"]}))
    with pytest.raises(FileNotFoundError, match=r"holds labels.json but no train.jsonl.gz"):
        load_noisy_dataset(name, data_dir=folder)
