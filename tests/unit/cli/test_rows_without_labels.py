"""Rows without a label, true labels of a part of the rows, and splits beside the one that a command works on."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, DatasetDict, load_dataset, load_from_disk

from hf_noisy.cli.arguments import TextArguments
from hf_noisy.cli.inputs import load_splits
from hf_noisy.cli.recipes import parse
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.row_digest import row_digests
from hf_noisy.purification import purify, restore_labels, summarise
from tests.unit.cli.conftest import CLASSES, noisy_rows
from tests.unit.cli.test_commands import done, page_rows, run

MISSING = np.arange(240) % 3 == 1


def with_gaps(rows, column, gaps):
    values = [None if gap else value for value, gap in zip(rows[column], gaps, strict=True)]
    return rows.remove_columns(column).add_column(column, values, feature=ClassLabel(names=CLASSES))


@pytest.fixture
def source(tmp_path):
    """Labels and true labels with gaps; a test split without true labels, and one without any label."""
    train = with_gaps(with_gaps(noisy_rows(), "label", MISSING), "clean_label", np.arange(240) % 2 == 0)
    test = noisy_rows(30).remove_columns("clean_label")
    splits = DatasetDict(train=train, test=test, kaggle=test.remove_columns("label"))
    splits["kaggle"] = with_gaps(test, "label", [True] * 30)
    splits.save_to_disk(tmp_path / "source")
    return tmp_path / "source"


def load(folder, tmp_path) -> DatasetDict:
    """As a user does, by the card of the folder."""
    return load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def test_purify_leaves_rows_without_labels_and_other_splits_as_they_are(source, tmp_path):
    printed = done("purify", source, "--output", tmp_path / "out")
    assert "80 of 240 rows have no label" in printed
    before, after = load_from_disk(str(source)), load(tmp_path / "out", tmp_path)
    assert list(after) == ["train", "test", "kaggle"]
    assert after["train"].features == after["test"].features == after["kaggle"].features
    for split in after:
        for column in before[split].column_names:
            if (split, column) != ("train", "label"):
                assert after[split][column][:] == before[split][column][:], (split, column)
        assert after[split]["label_given"][:] == before[split]["label"][:]
    train, test = after["train"], after["test"]
    assert [label is None for label in train["label"]] == MISSING.tolist()
    assert set(test["label_posterior"]) == set(test["purifier"]) == {None}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["summary"]
    assert (summary["rows"], summary["unlabelled"], summary["predicted"]) == (160, 80, 0)
    known = [row for row in range(240) if not MISSING[row] and row % 2]
    wrong = [train["label"][row] != train["clean_label"][row] for row in known]
    assert summary["true_noise_after"] == pytest.approx(np.mean(wrong))
    restored = restore_labels(after)
    assert restored["train"]["label"][:] == before["train"]["label"][:]
    assert restored["test"]["label"][:] == before["test"]["label"][:]
    assert summarise(after).to_dict() == summary
    rows, tested = training_rows(tmp_path / "out", tmp_path)
    assert rows["label"][:] == [label for label in train["label"] if label is not None]
    assert (tested["text"][:], tested["label"][:]) == (before["test"]["text"][:], before["test"]["label"][:])
    assert "label_given" not in tested.column_names
    card = (tmp_path / "out" / "README.md").read_text()
    assert "80 rows have no given label." in card
    assert "| `test` | `default` | 30 | unchanged |" in card


@pytest.mark.parametrize(
    "policy", ["drop", pytest.param("soft", marks=pytest.mark.slow), pytest.param("weight", marks=pytest.mark.slow)]
)
def test_rows_without_labels_are_labelled_on_request(source, tmp_path, policy):
    done("purify", source, "--policy", policy, "--label-missing", "--output", tmp_path / "out")
    before, after = load_from_disk(str(source))["train"], load(tmp_path / "out", tmp_path)
    train = after["train"]
    predicted = [row for row, purifier in enumerate(train["purifier"]) if purifier == "prediction"]
    texts = [before["text"][row] for row in np.flatnonzero(MISSING)]
    assert [train["text"][row] for row in predicted] == texts
    labels = np.array([train["label"][row] for row in predicted])
    classes = labels.argmax(1) if policy == "soft" else labels
    true = [noisy_rows()["clean_label"][row] for row in np.flatnonzero(MISSING)]
    assert np.mean(classes == true) > 0.9
    assert {train["label_given"][row] for row in predicted} == {None}
    confidence = np.array([train["label_posterior"][row] for row in predicted]).max(1)
    np.testing.assert_allclose([train["label_confidence"][row] for row in predicted], confidence)
    assert after["test"].features == train.features
    assert restore_labels(after)["train"]["label"][:] == before["label"][:]
    if policy != "soft":
        assert len(training_rows(tmp_path / "out", tmp_path)[0]) == len(train)
    if policy == "drop":
        assert train["row_given"][:] == sorted(train["row_given"][:])
        assert [before["text"][row] for row in train["row_given"]] == train["text"][:]
    if policy == "soft":
        np.testing.assert_array_equal(after["test"]["label"], np.eye(3)[after["test"]["label_given"]])
    if policy == "weight":
        assert set(after["test"]["label_weight"]) == {1.0}


def test_audit_gives_numbers_of_the_whole_data_and_apply_takes_them(source, tmp_path):
    done("audit", source, "--output", tmp_path / "out")
    before, audited = load_from_disk(str(source))["train"], load(tmp_path / "out", tmp_path)["train"]
    assert audited["text"][:] == before["text"][:]
    assert audited["label"][:] == before["label"][:]
    assert [quality is None for quality in audited["label_quality"]] == MISSING.tolist()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    known = [row for row in range(240) if not MISSING[row] and row % 2]
    assert summary["true_noise_rate"] == np.mean([before["label"][r] != before["clean_label"][r] for r in known])
    shown = page_rows(tmp_path / "out")
    assert all(before["text"][row["row"]] == row["text"] for row in shown)
    (worst,) = (row for row in shown[:1])
    given, label = (CLASSES[worst[name]] for name in ("given", "suggested"))
    lines = f"row,digest,label_given,label,decision\n{worst['row']},{worst['digest']},{given},{label},relabel\n"
    (tmp_path / "decisions.csv").write_text(lines)
    done("apply", tmp_path / "decisions.csv", source, "--output", tmp_path / "applied")
    applied = load(tmp_path / "applied", tmp_path)["train"]
    changed = [row for row in range(240) if applied["label"][row] != before["label"][row]]
    assert changed == [worst["row"]]
    assert applied["label"][worst["row"]] == worst["suggested"]


def test_check_draws_labelled_rows_and_numbers_them_in_the_whole(source, tmp_path):
    done("check", source, "--rows", 20, "--format", "label-studio", "--output", tmp_path / "out")
    tasks = [task["data"] for task in json.loads((tmp_path / "out" / "tasks.json").read_text())]
    before = load_from_disk(str(source))["train"]
    assert len(tasks) == 20
    for task in tasks:
        assert before["text"][task["row"]] == task["text"]
        assert before["label"][task["row"]] is not None
        assert row_digests(before.select([task["row"]])) == [task["digest"]]


def test_injected_noise_keeps_rows_without_labels_and_true_labels_of_other_splits(source, tmp_path):
    splits = load_from_disk(str(source)).remove_columns("features")
    clean = splits["train"].remove_columns("clean_label")
    DatasetDict(train=clean, test=splits["test"]).save_to_disk(tmp_path / "clean")
    done("inject", tmp_path / "clean", "--noise-rate", 0.5, "--output", tmp_path / "out")
    noisy = load(tmp_path / "out", tmp_path)
    assert noisy["train"]["clean_label"][:] == clean["label"][:]
    differ = [a != b for a, b in zip(noisy["train"]["label"], clean["label"], strict=True)]
    assert sum(differ) == 80
    assert noisy["test"]["clean_label"][:] == noisy["test"]["label"][:] == splits["test"]["label"][:]


def test_no_label_at_all_is_refused(source, tmp_path):
    result = run("audit", source, "--split", "kaggle", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "hf-noisy: no row of split 'kaggle' has a label; name the column with --label-column",
    )


def training_rows(source, tmp_path):
    arguments, training = parse(TextArguments, ["--dataset", str(source), "--output_dir", str(tmp_path / "run")])
    train, test, _ = load_splits(arguments, training, lambda rows: rows)
    return train, test


def test_training_takes_labelled_rows_and_the_test_split_of_the_user(source, tmp_path, capsys):
    train, test = training_rows(source, tmp_path)
    assert (len(train), len(test)) == (160, 30)
    assert "80 of 240 rows of split 'train' have no label and are left out" in capsys.readouterr().out
    splits = load_from_disk(str(source))
    DatasetDict(train=splits["train"], test=splits["kaggle"]).save_to_disk(tmp_path / "kaggle")
    train, test = training_rows(tmp_path / "kaggle", tmp_path)
    assert (len(train), len(test)) == (128, 32)


@pytest.mark.parametrize("policy", ["relabel", "drop"])
def test_purified_rows_are_tested_on_given_labels(tmp_path, capsys, policy):
    rows = noisy_rows().remove_columns("clean_label")
    purified = purify(DatasetDict(train=rows), policy=policy)
    purified.save_to_disk(tmp_path / "purified")
    train, test = training_rows(tmp_path / "purified", tmp_path)
    given = dict(zip(rows["text"], rows["label"], strict=True))
    assert test["label"][:] == [given[text] for text in test["text"]]
    assert len(test) == 48
    assert not set(test["text"]) & set(train["text"])
    assert any(label != given[text] for text, label in zip(train["text"], train["label"], strict=True)) == (
        policy == "relabel"
    )
    assert ("label_given" in test.column_names) is False
    overruled = set(purified["dropped"]["text"]) if policy == "drop" else set()
    assert bool(set(test["text"]) & overruled) == (policy == "drop")  # else only easy rows would be tested
    assert "keep their given labels" in capsys.readouterr().out


def write_csv(path, labels, start=0):
    lines = [f"{label},text {start + row}" for row, label in enumerate(labels)]
    path.write_text("\n".join(["label,text", *lines]) + "\n")
    return path


@pytest.mark.parametrize("labels", [["-1", "0", "1", "-100"] * 5, ["", "no", "yes", "-1"] * 5])
def test_marks_of_other_tools_are_missing_labels(tmp_path, labels, caplog):
    rows = load_noisy_dataset(str(write_csv(tmp_path / "rows.csv", labels)))["train"]
    names = [label for label in labels[:4] if label not in ("", "-1", "-100")]
    assert rows.features["label"].names == names
    expected = [names.index(label) if label in names else None for label in labels]
    assert rows["label"][:] == expected
    assert "5 labels -1" in caplog.text


def test_minus_one_is_a_class_if_only_one_other_is_left(tmp_path):
    rows = load_noisy_dataset(str(write_csv(tmp_path / "rows.csv", ["-1", "1"] * 5)))["train"]
    assert rows.features["label"].names == ["-1", "1"]
    assert None not in rows["label"][:]


def test_a_trusted_test_file_has_the_classes_of_the_data(tmp_path):
    train = write_csv(tmp_path / "train.csv", ["a", "b", "c", "a"])
    test = write_csv(tmp_path / "more.csv", ["c", "b", "d"], start=10)
    splits = load_noisy_dataset(str(train), test_file=str(test), test_labels="true")
    assert splits["train"].features["label"].names == splits["test"].features["label"].names == list("abcd")
    assert splits["test"]["label"][:] == splits["test"]["clean_label"][:] == [2, 1, 3]
    assert "clean_label" not in splits["train"].column_names
    given = load_noisy_dataset(str(train), test_file=str(test), test_labels="given")
    assert "clean_label" not in given["test"].column_names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--test-labels", "maybe"], "--test-labels must be one of given, true, got 'maybe'"),
        (["--test-labels", "true"], "needs a test split, but the data has train"),
        (["--test-file", "none.csv"], "'none.csv' looks like a file but there is none"),
    ],
)
def test_test_files_that_do_not_fit_are_refused(tmp_path, words, sentence):
    train = write_csv(tmp_path / "train.csv", ["a", "b"] * 3)
    result = run("check", train, *words, "--output", tmp_path / "out")
    assert (result.exit_code, sentence in result.stderr.splitlines()[-1]) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["c", "d", "c"], "no class of the test rows (c, d) is one of the training rows (a, b)"),
        (["", "", ""], "no row of --test-file '{}' has a label; pass a file with labels"),
    ],
)
def test_a_test_file_that_cannot_test_is_refused_before_the_training(tmp_path, labels, sentence):
    train = write_csv(tmp_path / "train.csv", ["a", "b"] * 3)
    test = write_csv(tmp_path / "other.csv", labels, start=10)
    result = run("train", train, "--test-file", test, "--output", tmp_path / "out")
    assert (result.exit_code, sentence.format(test) in result.stderr.splitlines()[-1]) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (None, ["--min-confidence", "2"], "--min-confidence must be in [0, 1], got 2"),
        (None, ["--purifier", "checked"], "purifier 'checked' needs checked rows"),
        ("label_given", [], "so it was purified before"),
        ("single", [], "each class needs 2 rows in column 'label' for an audit, but 1 row alone has 'fish' (row 7)"),
    ],
)
def test_what_the_table_tells_is_refused_before_anything_is_embedded(tmp_path, monkeypatch, change, words, sentence):
    rows = noisy_rows(60)
    if change == "label_given":
        rows = rows.add_column("label_given", rows["label"][:])
    if change == "single":
        labels = [3 if row == 7 else label for row, label in enumerate(rows["label"])]
        rows = rows.remove_columns("label").add_column("label", labels, feature=ClassLabel(names=[*CLASSES, "fish"]))
    rows.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr("hf_noisy.cli.commands.add_features", None)
    result = run("purify", tmp_path / "rows.parquet", *words, "--output", tmp_path / "out")
    assert (result.exit_code, sentence in result.stderr.splitlines()[-1]) == (2, True), result.stderr
