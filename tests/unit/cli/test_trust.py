"""Nothing that comes with data or a model runs, leaves its folder or is published unasked."""

import json

import pytest
from datasets import load_dataset
from transformers import BertConfig
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.inputs import ImageInputs, TextInputs
from hf_noisy.cli.source import add_features
from hf_noisy.models.branched_config import BranchedConfig
from hf_noisy.models.branches import BranchedModel
from tests.unit.cli.conftest import noisy_rows

AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModel": "code.Model",
    "AutoModelForSequenceClassification": "code.Model",
    "AutoModelForImageClassification": "code.Model",
    "AutoTokenizer": [None, "code.Tokenizer"],
    "AutoImageProcessor": "code.Processor",
}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder with code that would leave a file, and a user who answers yes to every question."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "unheard_of", "auto_map": AUTO_MAP}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": AUTO_MAP}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"auto_map": AUTO_MAP}))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return folder


LOADERS = {
    "audit": lambda folder: add_features(noisy_rows(8).remove_columns("features"), folder),
    "tokenizer": lambda folder: TextInputs(TextArguments(model_name_or_path=folder)),
    "processor": lambda folder: ImageInputs(ImageArguments(model_name_or_path=folder)),
    "architecture": lambda folder: ImageInputs(ImageArguments(architecture=folder)).make_model(noisy_rows(8)),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_code_of_a_model_does_not_run(load, model, tmp_path):
    with pytest.raises(ValueError, match=r"model '.*' comes with Python code of its own, which was not run"):
        load(str(model))
    assert not (tmp_path / "ran").exists()


def test_code_of_a_model_runs_for_who_asks_for_it(model, tmp_path):
    with pytest.raises(AttributeError):  # the code defines nothing
        TextInputs(TextArguments(model_name_or_path=str(model), trust_remote_code=True))
    assert (tmp_path / "ran").exists()


def test_code_of_a_branch_does_not_run(model, tmp_path):
    branch = BertConfig(auto_map=AUTO_MAP, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    branch._name_or_path = str(model)
    BranchedModel(BranchedConfig(branch=branch))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["audit", "purify", "next", "train"])
def test_each_command_with_a_model_offers_to_trust_it(command, parquet, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("hf_noisy.cli.commands.add_features", lambda *given: seen.append(given[2]) or 1 / 0)
    monkeypatch.setattr("hf_noisy.cli.checked_commands.add_features", lambda *given: seen.append(given[2]) or 1 / 0)
    monkeypatch.setattr(
        "hf_noisy.cli.commands.run_training", lambda given, _: seen.append(given.trust_remote_code) or 1 / 0
    )
    rows = load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(tmp_path))
    rows.add_column("checked_label", rows["clean_label"][:]).to_parquet(tmp_path / "checked.parquet")
    words = [command, str(tmp_path / "checked.parquet"), "--output", str(tmp_path / "out")]
    for given in ([], ["--trust-remote-code"]):
        CliRunner().invoke(app, [*words, *given])
    assert seen == [False, True]
