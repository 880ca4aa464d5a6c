"""The example as its users run it, on a file and an encoder of theirs."""

import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_noisy import rows_to_check
from hf_noisy.data import checked_rows, load_noisy_dataset, write_checked
from hf_noisy.purification import restore_labels

SCRIPT = Path(__file__).parents[2] / "examples" / "purify_dataset.py"
WORDS = ["red", "blue", "cat", "dog"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny BERT and a tokenizer that knows four words."""
    folder = tmp_path_factory.mktemp("encoder")
    known = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(known), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    """Colours and animals, of which a fifth is labelled as the other."""
    path, draw = tmp_path_factory.mktemp("reviews") / "reviews.csv", np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "kind"])
        for row in range(120):
            words = draw.choice(WORDS[2 * (row % 2) :][:2], 5)
            rows.writerow([" ".join(words), ["colour", "animal"][row % 2 ^ int(draw.random() < 0.2)]])
    return path


@pytest.fixture
def run(reviews, encoder, tmp_path, monkeypatch):
    """The script in this process, since importing transformers takes longer than all the rest."""

    def runs(*words: str) -> None:
        named = {
            "dataset": reviews,
            "text_column": "review",
            "label_column": "kind",
            "model_name_or_path": encoder,
            "output_dir": tmp_path / "out",
        }
        options = [str(word) for name, value in named.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options, *words])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return runs


@pytest.mark.parametrize(
    "words",
    [
        ("--purifier", "evidence"),
        ("--purifier", "confident_learning"),
        ("--purifier", "knn", "--policy", "drop"),
        ("--purifier", "dmlp", "--policy", "soft", "--max_train_samples", "100"),
    ],
)
def test_it_leaves_a_better_dataset_that_can_be_undone(run, tmp_path, capsys, words):
    run(*words)
    assert words[1] in capsys.readouterr().out
    splits = load_from_disk(tmp_path / "out")
    assert ("dropped" in splits) == ("drop" in words)
    rows = restore_labels(splits)
    rows = rows if "label" in rows.column_names else rows["train"]
    assert rows.column_names == ["text", "label"]
    assert len(rows) == (100 if "100" in words else 120)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    before, after = summary["estimated_noise_before"], summary["estimated_noise_after"]
    # So few rows are not enough evidence for the default purifier to change one.
    assert before is after is None if words[1] == "evidence" else after < before
    assert "## Noisy labels" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(FileExistsError, match="exists already; name another folder"):
        run(*words)


def test_it_uses_checked_rows(run, reviews, tmp_path):
    rows = load_noisy_dataset(str(reviews), text_column="review", label_column="kind")["train"]
    names, drawn = ["colour", "animal"], rows_to_check(rows, 30).index
    true = [names[row % 2] if row in drawn else None for row in range(120)]
    write_checked(tmp_path / "checked.csv", rows, checked_rows(rows, true))
    run("--checked", str(tmp_path / "checked.csv"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["purifier"], summary["checked"]) == ("checked", 30)
    purified = load_from_disk(tmp_path / "out")["train"]
    found = [purified.features["label"].int2str(label) for label in purified["label"]]
    assert np.mean([found[row] == names[row % 2] for row in range(120)]) > 0.9
