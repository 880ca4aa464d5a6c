"""`hf-noisy train` on tags of words and on sets of classes, as a new user runs it."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, BertConfig, BertModel, PreTrainedTokenizerFast, TrainingArguments, pipeline
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.arguments import DyGenArguments, TextArguments
from hf_noisy.cli.fast_defaults import fast_attention
from hf_noisy.cli.inputs import TextInputs, _with_test_rows, load_splits
from hf_noisy.cli.list_inputs import CLEAN_LABELS, set_rows, token_rows
from hf_noisy.cli.recipes import parse
from hf_noisy.cli.run_dygen import run_dygen
from hf_noisy.cli.train_scores import SetScores
from hf_noisy.data.decision_lines import COLUMNS
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.row_digest import row_digests

NAMES, PLACES = ["Anna", "Bob", "Carl"], ["Oslo", "Rome", "Lima"]
TOPICS = {"the dog sleeps": ["animal"], "it rains": ["weather"], "the cat hates rain": ["animal", "weather"]}
FAST = ["--num_train_epochs", 2, "--disable_tqdm", "true", "--report_to", "none", "--use_cpu", "true"]


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "lives", "in", *NAMES, *PLACES, *" ".join(TOPICS).split()]
    words = {word: place for place, word in enumerate(dict.fromkeys(known))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def conll(path, rows=30):
    """Sentences, of which every fifth lacks the tag of its name; the last column has the true tags."""
    lines = []
    for row in range(rows):
        tag = "O" if row % 5 == 0 else "B-PER"
        lines += [f"{NAMES[row % 3]} {tag} B-PER", "lives O O", "in O O", f"{PLACES[row % 3]} B-LOC B-LOC", ""]
    path.write_text("\n".join(lines))
    return path


def sets_file(path, rows=30):
    """Texts, of which every fifth lacks a class."""
    lines = []
    for row in range(rows):
        text, true = list(TOPICS.items())[row % 3]
        lines.append(json.dumps({"text": text, "label": true[row % 5 == 0 :], "clean_label": true}))
    path.write_text("\n".join(lines))
    return path


def train(*words):
    result = CliRunner().invoke(app, ["train", *map(str, words)])
    assert result.exit_code in (0, 2), result.exception
    return result


def test_a_conll_file(tmp_path, encoder):
    columns = ["--label-column", "2", "--clean-column", "3"]
    options = ["--model", encoder, "--method", "elr", *columns, "--output", tmp_path / "out"]
    result = train(conll(tmp_path / "people.conll"), *options, "--missing_rate", "0.2", *FAST)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "tokens"
    assert results["missing_rate"] == 0.2
    assert results["test_labels"] == "true"
    assert len(results["test_entity_f1_by_epoch"]) == 2
    assert results["noise_rate"] == pytest.approx(0.05, abs=0.03)
    assert results["watched"]["rows"] == 4 * results["num_train"]
    assert (tmp_path / "out" / "memorisation.png").is_file()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Entity F1 against true labels" in card
    assert 'aggregation_strategy="simple"' in card
    tag = pipeline("token-classification", model=str(tmp_path / "out"))
    assert {one["entity"] for one in tag("Anna lives in Oslo")} <= {"B-PER", "B-LOC"}
    refused = train(tmp_path / "people.conll", *options, *FAST)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.output


def test_a_multi_label_file(tmp_path, encoder):
    source = sets_file(tmp_path / "topics.jsonl")
    options = ["--model", encoder, "--method", "gce", "--missing_rate", "0.2", *FAST]
    result = train(source, "--output", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "multi-label"
    assert len(results["test_micro_f1_by_epoch"]) == len(results["test_macro_f1_by_epoch"]) == 2
    assert AutoConfig.from_pretrained(tmp_path / "out").problem_type == "multi_label_classification"
    assert "top_k=None" in (tmp_path / "out" / "README.md").read_text()
    classify = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)
    assert {one["label"] for one in classify("the dog sleeps")[0]} == {"animal", "weather"}


def test_checked_rows_are_trained_on_and_correct_the_others(tmp_path, encoder):
    lines = []
    for row in range(30):
        text, true = list(TOPICS.items())[row % 3]
        given = true[row % 5 == 0 :]
        lines.append({"text": text, "label": given, "checked_label": true if row < 12 else None})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ["--model", encoder, "--method", "auto", "--output", tmp_path / "out", *FAST]
    result = train(tmp_path / "a.jsonl", *options)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["method"], results["checked_rows"], results["num_test"]) == ("soft_correction", 12, 6)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("Anna O\nran O\n\nBob O\n\n", "one.conll", "tags of at least 2 classes, got O alone in"),
        ('{"text": "a", "label": ["x", "y"]}\n' * 3, "one.jsonl", "every row has every class"),
    ],
)
def test_labels_without_a_difference_are_refused(tmp_path, encoder, text, name, message):
    (tmp_path / name).write_text(text)
    result = train(tmp_path / name, "--model", encoder, "--output", tmp_path / "out", *FAST)
    assert result.exit_code == 2
    assert message in result.output


def test_a_missing_rate_is_refused_for_one_label(tmp_path, encoder):
    (tmp_path / "one.csv").write_text("text,label\n" + "a,x\nb,y\n" * 9)
    options = ["--model", encoder, "--missing_rate", "0.2", "--output", tmp_path / "out"]
    result = train(tmp_path / "one.csv", *options, *FAST)
    assert result.exit_code == 2
    assert "token and multi-label classification" in result.output


def test_dygen_is_refused_before_anything_is_trained(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr("hf_noisy.cli.run_dygen.NoisyTrainer", None)
    words = ["--dataset", str(conll(tmp_path / "a.conll")), "--model_name_or_path", str(encoder)]
    arguments, training = parse(DyGenArguments, [*words, "--output_dir", str(tmp_path / "out"), *map(str, FAST)])
    with pytest.raises(ValueError, match="DyGEN is for one class a row, not for the tags of words"):
        run_dygen(arguments, training)


def test_without_seqeval_nothing_is_trained(tmp_path, encoder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "seqeval.metrics", None)
    result = CliRunner().invoke(
        app, ["train", str(conll(tmp_path / "a.conll")), "--model", str(encoder), "--output", str(tmp_path / "out")]
    )
    assert "pip install 'hf-noisy[tokens]'" in f"{result.output}{result.exception}"


def test_true_tags_and_weights_stand_where_the_tags_stand(tmp_path, encoder, capsys):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder)
    source = str(conll(tmp_path / "a.conll", 2))
    rows = load_noisy_dataset(source, label_column="2", clean_column="3")["train"]
    rows = rows.add_column("label_weight", [[0.1, 0.2, 0.3, 0.4]] * 2)
    found = token_rows(rows, tokenizer, 5)
    names = rows.features["label"].feature.names
    first = [names.index("O")] * 3
    assert found[0]["labels"] == [-100, *first, -100]
    assert found[0][CLEAN_LABELS] == [-100, names.index("B-PER"), *first[1:], -100]
    assert np.allclose(found[0]["label_weight"], [1.0, 0.1, 0.2, 0.3, 1.0])
    assert "2 of 8 words are beyond --max_length 5" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["tokens", "sets"])
def test_decisions_of_the_report_check_their_labels_alone(kind, tmp_path, encoder):
    source = conll(tmp_path / "a.conll", 5) if kind == "tokens" else sets_file(tmp_path / "a.jsonl", 5)
    reading = {"label_column": "2", "clean_column": "3"} if kind == "tokens" else {}
    rows = load_noisy_dataset(str(source), **reading)["train"]
    decided = "0-1,O,B-PER,relabel" if kind == "tokens" else "0,not animal,animal,relabel"
    text = ",".join(COLUMNS) + f"\n0,{row_digests(rows)[0]}:{decided}\n"
    (tmp_path / "decisions.csv").write_text(text)
    arguments = TextArguments(
        dataset=str(source), checked=str(tmp_path / "decisions.csv"), model_name_or_path=str(encoder), **reading
    )
    training = TrainingArguments(str(tmp_path / "out"), use_cpu=True)
    train, _, _ = load_splits(arguments, training, TextInputs(arguments).prepare)
    names = rows.features["label"].feature.names
    expected = [-100, names.index("B-PER"), *[-100] * 4] if kind == "tokens" else [1, -100]
    looked_at = [one for one in train["checked_labels"] if one is not None and set(one) != {-100}]
    assert looked_at == [expected]
    assert len(train) == 4


def test_test_rows_of_other_classes_are_refused(tmp_path, encoder):
    one, other = (tmp_path / name for name in ("a.jsonl", "b.jsonl"))
    one.write_text('{"text": "a", "label": ["x", "y"]}')
    other.write_text('{"text": "a", "label": ["y", "z"]}')
    train, test = (load_noisy_dataset(str(path))["train"] for path in (one, other))
    inputs = TextInputs(TextArguments(model_name_or_path=str(encoder)))
    inputs.prepare(train)
    with pytest.raises(ValueError, match="the test rows have the classes y, z, but the training rows x, y"):
        inputs.prepare(test)


def test_a_column_of_lists_beside_one_label_is_no_checked_label():
    rows = Dataset.from_dict({"text": ["a", "b"] * 5, "label": [0, 1] * 5, "checked_labels": [["x"]] * 10})
    rows = rows.cast_column("label", ClassLabel(names=["x", "y"]))
    assert [len(one) for one in _with_test_rows(DatasetDict(train=rows), 0).values()] == [8, 2]


def test_as_many_labels_of_sets_are_watched_as_of_other_rows():
    rows = Dataset.from_dict({"labels": [[0.0, 1.0, 0.0]] * 9})
    assert SetScores().watched(rows, 7) == 3
    assert SetScores().watched(rows, 0) == 0


@pytest.mark.parametrize(("bf16", "attention"), [(True, "eager"), (False, "sdpa")])
def test_attention_is_not_fused_in_bfloat16_on_a_cpu(bf16, attention, tmp_path):
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    training = TrainingArguments(str(tmp_path), bf16=bf16, use_cpu=True)
    assert fast_attention(model, training).config._attn_implementation == attention


def test_a_set_that_is_not_known_is_none(tmp_path):
    lines = ['{"text": "a", "label": ["x"], "clean_label": ["x", "y"]}', '{"text": "b", "label": ["y"]}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = set_rows(load_noisy_dataset(str(tmp_path / "a.jsonl"))["train"])
    assert found["labels"][:] == [[1.0, 0.0], [0.0, 1.0]]
    assert found[CLEAN_LABELS][:] == [[1.0, 1.0], None]


def test_a_purifier_of_one_label_is_refused(tmp_path, encoder):
    columns = ["--label-column", "2", "--clean-column", "3"]
    options = ["--model", encoder, "--purifier", "evidence", *columns, "--output", tmp_path / "out"]
    result = train(conll(tmp_path / "people.conll"), *options, *FAST)
    assert (result.exit_code, "but the rows have the tags of words" in result.stderr) == (2, True), result.output
