"""The example of named entities, on a few sentences."""

import runpy
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForTokenClassification, BertConfig, BertModel, PreTrainedTokenizerFast

ROOT = Path(__file__).parents[2]
CONLL = "Anna B-PER\nran O\n\nto O\nOslo B-LOC\n\n"


@pytest.fixture
def encoder(tmp_path):
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "Anna": 2, "ran": 3, "to": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=5, **sizes)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["train_robust_tokens.py", *map(str, options)])
    runpy.run_path(str(ROOT / "examples" / "train_robust_tokens.py"), run_name="__main__")


def test_a_conll_file_is_trained_and_scored(encoder, tmp_path, monkeypatch, capsys):
    (tmp_path / "train.conll").write_text(CONLL * 4)
    (tmp_path / "test.conll").write_text("Anna B-PER\n\n")
    files = ("--train", tmp_path / "train.conll", "--test", tmp_path / "test.conll", "--model", encoder)
    run(monkeypatch, *files, "--method", "elr", "--missing_rate", "0.2", "--output_dir", tmp_path / "output")
    assert "eval_entity_f1" in capsys.readouterr().out
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "output")
    assert model.config.id2label == {0: "O", 1: "B-LOC", 2: "B-PER"}
    (tmp_path / "test.conll").write_text("Anna B-ORG\n\n")
    with pytest.raises(SystemExit, match=r"test.conll has tags that .*train.conll has not: B-ORG"):
        run(monkeypatch, *files)
