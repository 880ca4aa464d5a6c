"""Unknown values and missing files are refused before anything slow is imported."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.checked_commands import WRITERS
from hf_noisy.cli.early_checks import CHOICES
from hf_noisy.core.precision import Dtype
from hf_noisy.data.flat_labels import TaskName
from hf_noisy.data.load import make_noise
from hf_noisy.data.reading.trusted_test import TEST_LABELS
from hf_noisy.detection.aggregate import METHODS
from hf_noisy.detection.rows_to_check import STRATEGIES
from hf_noisy.purification.policies import Policy

BAD = {
    "source": (["audit", "none.csv"], "name 'none.csv' looks like a file but there is none"),
    "output": (["audit", "data.csv", "--output", "."], "--output '.' exists already"),
    "checked": (["purify", "data.csv", "--checked", "no.csv"], "file of checked rows 'no.csv' is missing"),
    "test file": (["train", "data.csv", "--test-file", "t.csv"], "name 't.csv' looks like a file"),
    "decisions": (["apply", "no.csv", "data.csv"], "file of decisions 'no.csv' is missing"),
    "policy": (["purify", "data.csv", "--policy", "x"], "--policy must be one of relabel, drop, soft, weight, flag"),
    "format": (["check", "data.csv", "--format", "x"], "--format must be one of page, label-studio, argilla, got 'x'"),
    "strategy": (["next", "data.csv", "--strategy", "x"], "--strategy must be one of random, informative, got 'x'"),
    "noise type": (
        ["inject", "data.csv", "--noise-rate", "0.1", "--noise-type", "x"],
        "--noise-type must be one of symmetric, pair, asymmetric, instance, for tags entity, for sets of classes "
        "missing, got 'x'",
    ),
    "test labels": (["train", "data.csv", "--test-labels", "x"], "--test-labels must be one of given, true, got 'x'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_nothing_is_written(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("text,label\na,x\nb,y\n")
    words, sentence = BAD[case]
    words = words if "--output" in words else [*words, "--output", "out"]
    monkeypatch.setattr("hf_noisy.cli.app.importlib", None)  # no command is imported
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stderr.splitlines()[-1:]) != (0, [])
    assert result.stderr.startswith(f"hf-noisy: {sentence}"), result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv"]


def test_neither_torch_nor_datasets_is_imported_for_a_mistake(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\na,x\nb,y\n")
    code = """
import contextlib, sys
from hf_noisy.cli.app import app
for words in (["audit", "none.csv", "--output", "out"], ["audit", "data.csv", "--output", "."]):
    with contextlib.suppress(SystemExit):
        app(words)
print(*sorted({"torch", "transformers", "datasets", "scipy", "sklearn", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert len(done.stderr.splitlines()) == 2, done.stderr


def test_the_choices_are_those_of_the_library():
    assert set(CHOICES["policy"]) == set(Policy.__args__)
    assert list(CHOICES["strategy"]) == list(STRATEGIES)
    assert list(CHOICES["file_format"]) == list(WRITERS)
    assert CHOICES["test_labels"] == TEST_LABELS
    assert CHOICES["vote_method"] == METHODS
    assert CHOICES["dtype"] == Dtype.__args__
    assert CHOICES["task"] == TaskName.__args__
    with pytest.raises(ValueError, match=f"one of {', '.join(CHOICES['noise_type'])}, got"):
        make_noise("none", 0.1)


def test_an_unknown_method_is_refused_before_the_data_are_read_and_the_message_names_auto(tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("text,label\na,x\nb,y\n")
    monkeypatch.setattr("hf_noisy.cli.commands.load_noisy_dataset", None)
    words = ["train", str(tmp_path / "data.csv"), "--method", "x", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, "method 'x' is not known; choose one of " in result.stderr) == (2, True)
    assert "command line also take auto" in result.stderr
