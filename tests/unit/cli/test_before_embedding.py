"""What can be known from the table is refused before anything is embedded, tokenised or loaded."""

import csv

import pytest
from typer.testing import CliRunner

from hf_noisy.cli import commands, inputs, source
from hf_noisy.cli.app import app
from hf_noisy.data.checked import checked_rows, write_checked
from hf_noisy.data.load import load_noisy_dataset

WORDS = ["good", "fine", "bad", "poor", "long", "short", "old", "new"]


def table(path, labels=("a", "b"), **columns):
    """Thirty rows, with the labels in turn, and further columns of one value."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", *columns])
        rows.writerows([f"{WORDS[i % 8]} {i}", labels[i % len(labels)], *columns.values()] for i in range(30))
    return path


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch):
    def too_late(*arguments, **options):
        pytest.fail("features were computed, or a model was loaded")

    monkeypatch.setattr(commands, "add_features", too_late)
    monkeypatch.setattr(inputs.TextInputs, "prepare", too_late)
    monkeypatch.setattr(inputs.TextInputs, "make_model", too_late)


def refused(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, (result.output, result.exception)
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["audit", "purify"])
@pytest.mark.parametrize(
    ("labels", "columns", "sentence"),
    [
        (["a"], {}, "must hold at least 2 classes, got 'a' alone"),
        (["a", "b"] * 14 + ["rare", "a"], {}, "1 row alone has 'rare' (row 28)"),
        ([""], {}, "has a label"),
    ],
)
def test_classes(tmp_path, command, labels, columns, sentence):
    path = table(tmp_path / "rows.csv", labels, **columns)
    assert sentence in refused(command, path, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "columns", "sentence"),
    [
        (["audit"], {"label_quality": 1}, "a column 'label_quality', which an audit adds"),
        (["purify"], {"label_given": "a"}, "a column 'label_given', so it was purified before"),
        (["purify"], {"label_confidence": 1}, "a column 'label_confidence', which purify adds"),
        (["purify", "--purifier", "checked"], {}, "purifier 'checked' needs checked rows"),
        (["purify", "--min-confidence", "2"], {}, "--min-confidence must be in [0, 1], got 2"),
        (["purify", "--max-wrong", "0.1"], {}, "--max-wrong needs rows that a person has checked"),
    ],
)
def test_columns_and_options(tmp_path, words, columns, sentence):
    path = table(tmp_path / "rows.csv", **columns)
    assert sentence in refused(*words, path, "--output", tmp_path / "out")


def test_dmlp_with_one_checked_row(tmp_path):
    path = table(tmp_path / "rows.csv")
    rows = load_noisy_dataset(str(path))["train"]
    write_checked(tmp_path / "checked.csv", rows, checked_rows(rows, [1] + [-1] * (len(rows) - 1)))
    options = ["--purifier", "dmlp", "--checked", tmp_path / "checked.csv", "--output", tmp_path / "out"]
    assert "purifier 'dmlp' needs at least 2 checked rows, got 1" in refused("purify", path, *options)


def test_training(tmp_path):
    path = table(tmp_path / "rows.csv", ["a"])
    assert "at least 2 classes" in refused("train", path, "--output", tmp_path / "out")
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "train.csv", ["a"])
    table(folder / "test.csv")
    sentence = "training needs rows of at least 2 classes, got 'a' alone in 30 rows"
    assert sentence in refused("train", folder, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_number_format(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "add_features", source.add_features)
    path = table(tmp_path / "rows.csv", ["a", "b"])
    sentence = refused("audit", path, "--dtype", "half", "--output", tmp_path / "out")
    assert "--dtype must be one of auto, float32, bfloat16, got 'half'" in sentence
    numbers = table(tmp_path / "numbers.csv", ["a", "b"], one=1.5)
    words = ["--feature-columns", "one", "--dtype", "float32", "--output", tmp_path / "out"]
    assert "--dtype is not used, since the features are the columns one" in refused("purify", numbers, *words)
