import gzip
import json

import pytest

from hf_noisy.data import load_noisy_dataset, noise_record

NAMES = ["ant", "bee", "cat"]
ROWS = [{"text": f"text {i}", "label": i % 3, "weak_label": i % 2, "weak_votes": [i % 2]} for i in range(6)]
TRUE_ROWS = [{"text": "true", "label": 2}]
KINDS = {"mr_chatgpt": "llm", "semeval_llm": "llm", "yelp_rules": "rules", "yoruba_newsclass": "distant"}


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


@pytest.fixture
def folder(tmp_path, name):
    write(tmp_path / name, train=ROWS, test=TRUE_ROWS)
    return tmp_path / name


def write(folder, **splits):
    folder.mkdir(exist_ok=True)
    (folder / "labels.json").write_text(json.dumps({"classes": NAMES}))
    for split, rows in splits.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def test_given_labels_are_the_weak_ones(folder, name):
    loaded = load_noisy_dataset(name, data_dir=folder)
    train = loaded["train"]
    assert train.column_names == ["text", "label", "clean_label"]
    assert train.features["label"].names == NAMES
    assert train["text"][:] == [row["text"] for row in ROWS]
    assert train["label"][:] == [0, 1, 0, 1, 0, 1]
    assert train["clean_label"][:] == [0, 1, 2, 0, 1, 2]
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == (KINDS[name], pytest.approx(4 / 6))
    assert train.info.license


def test_rows_without_a_weak_label_are_given_the_true_one(folder, name):
    test = load_noisy_dataset(name, data_dir=folder)["test"]
    assert test["label"][:] == test["clean_label"][:] == [2]
    assert noise_record(test) is None


def test_true_labels_are_a_configuration(folder, name):
    train = load_noisy_dataset(name, "clean", data_dir=folder.parent)["train"]
    assert train["label"][:] == train["clean_label"][:] == [0, 1, 2, 0, 1, 2]
    noisy = load_noisy_dataset(name, "clean", data_dir=folder, noise_type="symmetric", noise_rate=0.5)["train"]
    assert noise_record(noisy)["rate_measured"] == 0.5


def test_a_weak_label_that_is_no_class_is_refused(folder, name):
    write(folder, train=[*ROWS, {**ROWS[0], "weak_label": -1}])
    with pytest.raises(ValueError, match="got -1 in row 6"):
        load_noisy_dataset(name, data_dir=folder)
