"""The example as its users run it: a process of its own, on files of theirs."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from hf_noisy.data import load_noisy_dataset, noise_record

SCRIPT = Path(__file__).parents[2] / "examples" / "make_noisy_dataset.py"
NAMES, ROWS = ("ant", "bee", "cat"), 90


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("make_noisy_dataset", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def run(example, tmp_path, monkeypatch):
    """Run the script in this process on a file of 90 rows, output in `tmp_path / "made"`."""
    rows = tmp_path / "rows.csv"
    lines = [f"word{i % 7} word{i % 5} {NAMES[i % 3]}{i % 4},{NAMES[i % 3]}" for i in range(ROWS)]
    rows.write_text("\n".join(["sentence,animal", *lines]) + "\n")

    def call(*options: str) -> Path:
        words = ["--dataset", str(rows), "--text_column", "sentence", "--label_column", "animal"]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--output_dir", str(tmp_path / "made"), *words, *options])
        example.main()
        return tmp_path / "made"

    return call


@pytest.mark.parametrize("kind", ["symmetric", "pair", "instance_dependent", "part_dependent"])
def test_a_file_becomes_a_folder_that_is_loaded_again(run, kind, capsys):
    folder = run("--noise", kind, "--rate", "0.4", "--seed", "3")
    train = load_noisy_dataset(str(folder))["train"]
    assert train["clean_label"][:] == [i % 3 for i in range(ROWS)]
    wrong = np.mean(np.array(train["label"][:]) != np.array(train["clean_label"][:]))
    assert wrong == 0.4
    record = noise_record(train)
    assert (record["kind"], record["rate_asked"], record["rate_measured"], record["seed"]) == (kind, 0.4, 0.4, 3)
    assert json.loads((folder / "noise.json").read_text()) == {"train": record}
    assert f'"kind": "{kind}"' in capsys.readouterr().out


def test_parquet_holds_the_same_rows(run, tmp_path):
    folder = run("--rate", "0.4", "--format", "parquet")
    folder.rename(tmp_path / "parquet")
    files = sorted(path.name for path in (tmp_path / "parquet").iterdir())
    assert files == [".hf_noisy.json", "noise.json", "train.parquet"]
    found = datasets.Dataset.from_parquet(str(tmp_path / "parquet" / "train.parquet"), cache_dir=str(tmp_path / "c"))
    expected = datasets.load_from_disk(run("--rate", "0.4"))["train"]
    assert found.to_dict() == expected.to_dict()
    assert found.features == expected.features


def test_a_matrix_and_a_label_file(run, tmp_path):
    matrix = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]]
    (tmp_path / "matrix.json").write_text(json.dumps(matrix))
    folder = run("--noise", "transition", "--matrix", str(tmp_path / "matrix.json"))
    made = datasets.load_from_disk(folder)["train"]
    np.testing.assert_allclose(noise_record(made)["transition_matrix"], matrix)
    np.save(tmp_path / "labels.npy", np.array(made["label"][:]))
    folder.rename(tmp_path / "first")
    again = datasets.load_from_disk(run("--noise", "replay", "--labels", str(tmp_path / "labels.npy")))["train"]
    assert again["label"][:] == made["label"][:]
    assert noise_record(again)["file"] == "labels.npy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--noise", "pair"), "--noise pair needs --rate"),
        (("--noise", "transition"), "--noise transition needs --matrix"),
        (("--noise", "replay"), "--noise replay needs --labels"),
        (("--rate", "0.4", "--splits", "train", "dev"), "--splits must be among train, got dev"),
    ],
)
def test_what_is_unclear_is_refused_and_nothing_written(run, tmp_path, options, message):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        run(*options)
    assert sorted(path for path in tmp_path.iterdir() if path.name != "rows.csv") == [
        path for path in before if path.name != "rows.csv"
    ]


def test_a_folder_that_exists_and_labels_that_are_noisy_are_left_alone(run, tmp_path):
    (tmp_path / "made").mkdir()
    with pytest.raises(FileExistsError, match="made' exists already; name another folder"):
        run("--rate", "0.4")
    (tmp_path / "made").rmdir()
    made = run("--rate", "0.4")
    made.rename(tmp_path / "first")
    with pytest.raises(ValueError, match="the labels of train are noisy already"):
        run("--dataset", str(tmp_path / "first"), "--text_column", "text", "--label_column", "label", "--rate", "0.4")
    assert not (tmp_path / "made").exists()


@pytest.mark.slow  # importing everything once more takes longer than all else in this file
def test_as_a_process(tmp_path):
    command = [sys.executable, str(SCRIPT), "--noise", "pair", "--rate", "0.2", "--output_dir", str(tmp_path / "made")]
    environment = {"PYTHONPATH": str(SCRIPT.parents[1]), "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    record = noise_record(datasets.load_from_disk(tmp_path / "made")["train"])
    assert record["kind"] == "pair"
    assert record["rate_measured"] == pytest.approx(0.2, abs=1e-3)
    assert "made written" in done.stdout
