"""The commands on numeric tables and on sentence pairs, as a user types them."""

import csv
import json

import numpy as np
import pytest
import torch
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    TrainingArguments,
)
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.arguments import DyGenArguments
from hf_noisy.cli.run_dygen import run_dygen

KINDS = ("setosa", "virginica")
WORDS = [f"{kind}{number}" for kind in ("red", "blue", "old") for number in range(5)]
COLUMNS = ("--text-column", "premise", "--text-column", "hypothesis")


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result.output


def refused(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    return result.stderr


def written(folder, tmp_path):
    return load_dataset("parquet", data_files=str(folder / "data" / "train-*"), cache_dir=str(tmp_path / "c"))["train"]


@pytest.fixture
def table(tmp_path):
    """Two classes by the distance from the middle, a fifth of the labels wrong."""
    rng = np.random.default_rng(0)
    places, true = rng.normal(size=(200, 2)), np.arange(200) % 2
    places = places / np.linalg.norm(places, axis=1, keepdims=True) * (1 + 2 * true[:, None]) + 50
    wrong = rng.random(200) < 0.2
    with (tmp_path / "plants.csv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["length", "width", "kind"])
        rows.writerows([*place, KINDS[label]] for place, label in zip(places, true ^ wrong, strict=True))
    return tmp_path / "plants.csv", wrong


def test_a_table_from_audit_to_apply(table, tmp_path):
    path, wrong = table
    options = ["--feature-columns", "length,width", "--label-column", "kind"]
    done("audit", path, "--output", tmp_path / "audited", *options)
    summary = json.loads((tmp_path / "audited" / "summary.json").read_text())
    assert summary["encoder"] == "the columns length, width"
    rows = written(tmp_path / "audited", tmp_path)
    assert rows.column_names == ["length", "width", "label", "label_quality", "label_suspected", "label_suggested"]
    assert (np.array(rows["label_suspected"]) == wrong).mean() > 0.9
    assert "`features`" not in (tmp_path / "audited" / "README.md").read_text()
    report = (tmp_path / "audited" / "report.html").read_text("utf-8")
    assert "length: " in report

    one_by_one = ["--feature-columns", "length", "--feature-columns", "width", "--label-column", "kind"]
    done("purify", path, "--output", tmp_path / "purified", "--purifier", "knn", *one_by_one)
    purified = written(tmp_path / "purified", tmp_path)
    assert not {"features", "text"} & set(purified.column_names)
    assert np.array(purified["label_changed"])[wrong].mean() > 0.8
    done("check", path, "--output", tmp_path / "check", "--rows", 20, *options)
    done("inject", path, "--output", tmp_path / "noisy", "--noise-type", "instance", "--noise-rate", 0.1, *options)
    assert {*written(tmp_path / "noisy", tmp_path).column_names} == {"length", "width", "label", "clean_label"}


@pytest.mark.slow
def test_a_table_with_a_test_split_and_rows_without_a_label(tmp_path):
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for split, rows in (("train", 60), ("test", 10)):
        lines = [f"{row},{row % 3 * 5 + rng.normal():.3f},{'' if row % 7 == 3 else row % 3}" for row in range(rows)]
        (tmp_path / "data" / f"{split}.csv").write_text("\n".join(["id,size,label", *lines]))
    options = ["--feature-columns", "size", "--output"]
    for command in ("audit", "purify", "inject"):
        more = {"purify": ["--policy", "drop", "--purifier", "knn"], "inject": ["--noise-rate", 0.2]}.get(command, [])
        done(command, tmp_path / "data", *options, tmp_path / command, *more)
        for part in sorted((tmp_path / command / "data").iterdir()):
            assert not {"features", "text"} & set(load_dataset("parquet", data_files=str(part))["train"].column_names)
        card = (tmp_path / command / "README.md").read_text()
        assert "`size`" in card
        assert "`features`" not in card
        assert "`text`" not in card
    done("purify", tmp_path / "data", *options, tmp_path / "all", "--label-missing", "--purifier", "knn")
    assert None not in written(tmp_path / "all", tmp_path)["label"][:]


def test_what_a_table_cannot_do_is_one_sentence(table, tmp_path):
    path, _ = table
    options = ["--output", tmp_path / "out", "--label-column", "kind"]
    assert "--feature-columns names columns of numbers" in refused("audit", path, *options)
    said = refused("train", path, *options, "--feature-columns", "length,width")
    assert "training is for texts and images, so --feature-columns belongs to the other commands" in said
    said = refused("audit", path, *options, "--feature-columns", "length,width", "--model", "bert")
    assert "--model is not used, since the features are the columns length, width" in said
    assert not (tmp_path / "out").exists()


@pytest.fixture
def encoder(tmp_path):
    """A tiny BERT for two other classes, and its tokenizer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(tmp_path / "encoder")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=32, initializer_range=0.3, **sizes)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "encoder")
    config.id2label = {0: "NEGATIVE", 1: "POSITIVE", 2: "MIXED"}
    BertForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(tmp_path / "classifier")
    return tmp_path / "encoder"


@pytest.fixture
def pairs(tmp_path):
    """Pairs of the same colour or not, one of them empty, and some labels wrong."""
    rng, lines = np.random.default_rng(0), []
    for row in range(120):
        first, second = ("red", "red") if row % 2 else ("red", "blue")
        texts = (" ".join(f"{kind}{rng.integers(5)}" for _ in range(5)) for kind in (first, second))
        premise, hypothesis = texts
        label = "same" if (row % 2 == 1) ^ (row % 10 == 7) else "other"
        lines.append({"row": row, "premise": premise, "hypothesis": hypothesis, "label": label})
    lines[4]["hypothesis"] = None
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_sentence_pairs_in_every_command(pairs, encoder, tmp_path, caplog):
    done("audit", pairs, "--output", tmp_path / "audited", *COLUMNS, "--model", encoder)
    assert "1 of 120 texts are empty: line 5 of" in caplog.text
    rows = written(tmp_path / "audited", tmp_path)
    assert rows.column_names[:4] == ["row", "text", "text_pair", "label"]
    assert rows["text_pair"][4] == ""
    report = (tmp_path / "audited" / "report.html").read_text("utf-8")
    first, second = rows[7]["text"], rows[7]["text_pair"]
    assert f"{first}\\n\\u25b8 {second}" in report or f"{first}\\n▸ {second}" in report
    done("purify", pairs, "--output", tmp_path / "purified", *COLUMNS, "--model", encoder)
    done("check", tmp_path / "audited", "--output", tmp_path / "check", "--rows", 3)
    assert "▸" in (tmp_path / "check" / "check.html").read_text("utf-8").replace("\\u25b8", "▸")

    said = done(
        *("train", pairs, "--output", tmp_path / "model", *COLUMNS, "--model", tmp_path / "classifier"),
        *("--num_train_epochs", 1, "--use_cpu", "true", "--disable_tqdm", "true", "--learning_rate", "1e-3"),
    )
    assert "is for other classes (NEGATIVE, POSITIVE, MIXED); the model gets a new one for the 2 classes" in said
    assert 'classify({"text": "the first text", "text_pair"' in (tmp_path / "model" / "README.md").read_text()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["label2id"] == {"other": 0, "same": 1}


def test_dygen_on_pairs_with_a_column_of_its_own_name(pairs, encoder, tmp_path):
    columns = {"text_column": ["premise", "hypothesis"], "label_column": "label"}
    arguments = DyGenArguments(dataset=str(pairs), model_name_or_path=str(encoder), **columns)
    settings = {"num_train_epochs": 2, "use_cpu": True, "report_to": "none", "save_strategy": "no"}
    run_dygen(arguments, TrainingArguments(str(tmp_path / "out"), disable_tqdm=True, learning_rate=1e-3, **settings))
    with (tmp_path / "out" / "suspects.csv").open() as file:
        suspects = list(csv.DictReader(file))
    assert all({one["label"], one["proposed_label"]} == {"same", "other"} for one in suspects)
    header = (tmp_path / "out" / "suspects.csv").read_text().splitlines()[0]
    assert header == "row,text,text_pair,label,proposed_label,probability"
