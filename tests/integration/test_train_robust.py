"""The two examples of robust training, on digits and on texts of a few words."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, BertConfig, BertModel, PreTrainedTokenizerFast, pipeline
from typer.testing import CliRunner

from hf_noisy import Trajectories
from hf_noisy.cli.app import app
from hf_noisy.data import checked_rows, load_noisy_dataset, write_checked
from hf_noisy.training.trainer import NoisyTrainer

ROOT = Path(__file__).parents[2]
CLASSES = ("animal", "number", "place")
QUIET = [
    "--use_cpu",
    "true",
    "--report_to",
    "none",
    "--disable_tqdm",
    "true",
    "--seed",
    "3",
    "--num_train_epochs",
    "2",
]
IMAGES = ["--image_size", "16", "--max_train_samples", "96", "--max_test_samples", "40", "--max_watched_samples", "48"]
NOISE = ["--noise_type", "symmetric", "--noise_rate", "0.4"]
KEYS = {
    "arguments",
    "citation",
    "dataset",
    "device",
    "epochs",
    "learning_rate",
    "method",
    "method_args",
    "noise_rate",
    "noise_rate_asked",
    "noise_seed",
    "noise_type",
    "num_classes",
    "num_test",
    "num_train",
    "phases",
    "seed",
    "selected_by",
    "test_accuracy_best",
    "test_accuracy_by_epoch",
    "test_accuracy_last",
    "test_accuracy_of_branches",
    "test_accuracy_of_others",
    "test_ece_last",
    "test_labels",
    "training",
    "versions",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call an example with words of a command line, and read what it wrote."""

    def run(example: str, *words: str, folder: str = "output") -> dict:
        path = ROOT / "examples" / f"{example}.py"
        spec = importlib.util.spec_from_file_location(example, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        output = tmp_path / folder
        monkeypatch.setattr("sys.argv", [str(path), *words, *QUIET, "--output_dir", str(output)])
        module.main()
        assert not list(output.glob("*.tmp"))
        return json.loads((output / "results.json").read_text())

    return run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny BERT without a head, and a tokenizer of its few words."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"{name}{i}" for name in CLASSES for i in range(5))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=16, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def write_texts(folder: Path, clean_label: bool = True, shuffled: bool = False) -> Path:
    """Texts whose words name the class; a fifth of the training labels is the next class."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for split, rows in (("train", 300), ("test", 60)):
        true = np.arange(rows) % 3
        given = np.where(rng.random(rows) < 0.2, (true + 1) % 3, true) if split == "train" else true
        told = np.random.default_rng(1).permutation(true) if shuffled and split == "train" else true
        with open(folder / f"{split}.jsonl", "w") as file:
            for row in range(rows):
                text = " ".join(f"{CLASSES[true[row]]}{rng.integers(5)}" for _ in range(5))
                known = {"clean_label": CLASSES[told[row]]} if clean_label else {}
                file.write(json.dumps({"text": text, "label": CLASSES[given[row]], **known}) + "\n")
    return folder


def assert_results(result: dict, output: Path) -> None:
    assert result.keys() >= KEYS
    assert result["selected_by"] == "last epoch"
    by_epoch = result["test_accuracy_by_epoch"]
    assert len(by_epoch) == 2
    assert (result["test_accuracy_last"], result["test_accuracy_best"]) == (by_epoch[-1], max(by_epoch))
    assert 0 <= result["test_ece_last"] <= 1
    trajectories = Trajectories(output)
    assert trajectories.num_rows("test") == result["num_test"]
    if (output / "memorisation.png").is_file():
        assert (output / "memorisation.png").read_bytes().startswith(b"\x89PNG")
        watched = result["watched"]
        assert trajectories.num_rows("watched") == watched["rows"]
        for name in ("memorised", "corrected", "learned", "loss_wrong", "loss_right"):
            assert len(watched[name]) == 2
            assert result[f"{name}_last"] == watched[name][-1]


@pytest.mark.parametrize(
    ("method", "pairs", "branches", "others"),
    [("cross_entropy", [], 1, set()), ("nct", ["r_max=0.5"], 2, set()), ("nrd", ["decay=0.9"], 1, {"teacher"})],
)
def test_images(run, tmp_path, method, pairs, branches, others):
    words = ["--method", method, *(["--method_args", *pairs] if pairs else [])]
    result = run("train_robust_image", *words, *NOISE, *IMAGES)
    assert_results(result, tmp_path / "output")
    assert (result["num_train"], result["num_test"], result["num_classes"]) == (96, 40, 10)
    assert (result["method"], len(result["method_args"])) == (method, len(pairs))
    assert len(result["test_accuracy_of_branches"]) == branches
    assert result["test_accuracy_of_others"].keys() == others
    assert result["watched"]["rows"] == 48
    assert result["noise_rate_asked"] == 0.4
    assert result["noise_rate"] == pytest.approx(0.4, abs=0.15)  # of 96 rows out of many
    assert result["test_labels"] == "true"


def test_images_without_watched_rows(run, tmp_path):
    result = run("train_robust_image", *NOISE, *IMAGES, "--max_watched_samples", "0", "--augmentation", "none")
    assert_results(result, tmp_path / "output")
    assert "watched" not in result
    assert not list((tmp_path / "output").glob("*.png"))


@pytest.mark.parametrize("method", ["cross_entropy", "nct", "elr"])
def test_texts(run, tmp_path, encoder, method):
    data = write_texts(tmp_path / "data")
    words = ["--dataset", str(data), "--method", method, "--model_name_or_path", str(encoder)]
    result = run("train_robust_text", *words, "--learning_rate", "5e-3", "--per_device_train_batch_size", "10")
    assert_results(result, tmp_path / "output")
    assert (result["noise_rate_asked"], result["test_labels"], result["watched"]["rows"]) == (None, "true", 300)
    assert result["noise_rate"] == pytest.approx(0.2, abs=0.06)
    assert result["test_accuracy_last"] > 0.5
    assert result["corrected_last"] > result["memorised_last"]  # the words give the class away


def test_true_labels_change_nothing_but_the_report(run, tmp_path, encoder):
    results, logits = [], []
    for name, shuffled in (("right", False), ("shuffled", True)):
        data = write_texts(tmp_path / f"data_{name}", shuffled=shuffled)
        words = ["--dataset", str(data), "--model_name_or_path", str(encoder)]
        results.append(run("train_robust_text", *words, folder=name))
        logits.append(Trajectories(tmp_path / name).logits("watched"))
    np.testing.assert_array_equal(*logits)
    assert results[0]["test_accuracy_by_epoch"] == results[1]["test_accuracy_by_epoch"]
    assert results[0]["noise_rate"] != results[1]["noise_rate"]


def test_without_true_labels_the_given_ones_are_tested(run, tmp_path, encoder):
    data = write_texts(tmp_path / "data", clean_label=False)
    result = run("train_robust_text", "--dataset", str(data), "--model_name_or_path", str(encoder))
    assert_results(result, tmp_path / "output")
    assert (result["test_labels"], result["noise_rate"]) == ("given", None)
    assert "watched" not in result
    assert not (tmp_path / "output" / "memorisation.png").is_file()


def test_a_recipe_and_what_stands_on_top(run, tmp_path, encoder):
    data = write_texts(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"dataset: {data}\nmethod: gce\nmethod_args: {{q: 0.5}}\nmodel_name_or_path: {encoder}\nseed: 9\n"
    )
    result = run("train_robust_text", str(recipe), "--learning_rate", "2e-3")
    assert (result["method"], result["method_args"], result["learning_rate"]) == ("gce", {"q": 0.5}, 2e-3)
    assert result["seed"] == 3  # the command line has another


@pytest.mark.parametrize("method", ["gce", "nct", "dygen"])
def test_a_saved_model_keeps_the_names_of_the_classes(run, tmp_path, encoder, method):
    data = write_texts(tmp_path / "data")
    words = ["--dataset", str(data), "--model_name_or_path", str(encoder), "--method", method, "--save_model", "true"]
    result = run("train_robust_text", *words, "--max_train_samples", "32", "--max_watched_samples", "0")
    loaded = AutoConfig.from_pretrained(tmp_path / "output")
    assert sorted(loaded.id2label.values()) == sorted(CLASSES)
    assert {name: label for label, name in loaded.id2label.items()} == loaded.label2id
    assert loaded.model_type == "bert"
    assert ("test_accuracy_dygen" in result) == (method == "dygen")


@pytest.mark.slow
def test_dygen_records_images_without_augmentation(run, tmp_path):
    words = ["--method", "dygen", "--augmentation", "standard", "--save_model", "true"]
    result = run("train_robust_image", *words, *NOISE, *IMAGES)
    assert_results(result, tmp_path / "output")
    assert 0 <= result["noise_rate_estimated"] < 1
    assert AutoConfig.from_pretrained(tmp_path / "output").model_type == "resnet"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "nrd", "--method_args", "weight=1"], "method 'nrd' has no argument weight; it takes weights, "),
        (["--method", "dividemix"], r"method 'dividemix' is not known \(did you mean 'divide_mix'\?\); choose one of"),
        (["--method", "auto", "--method_args", "r_max=0.5"], "method_args belong to a method that is named"),
        (["--method_args", "0.5"], "method_args must be key=value pairs, got '0.5'"),
    ],
)
@pytest.mark.parametrize("example", ["train_robust_text", "train_robust_image"])
def test_what_a_method_does_not_know_is_said_in_one_sentence(run, example, words, message):
    with pytest.raises(ValueError, match=message):
        run(example, *words)


def test_the_command_line_leaves_a_model_with_its_card(tmp_path, encoder):
    data, out = write_texts(tmp_path / "data"), tmp_path / "out"
    words = ["train", data, "--output", out, "--method", "gce", "--model", encoder, "--method_args", "q=0.5", *QUIET]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    summary = json.loads((out / "summary.json").read_text())
    results = json.loads((out / "results.json").read_text())
    assert summary == {"command": "train", **results}
    assert (results["method"], results["method_args"], results["epochs"]) == ("gce", {"q": 0.5}, 2)
    assert "Trained with `gce`" in (out / "README.md").read_text()
    assert pipeline("text-classification", str(out), device="cpu")("animal1 animal2")[0]["label"] in CLASSES
    assert str(tmp_path) not in (out / "results.json").read_text()
    assert (results["dataset"], results["arguments"]["model_name_or_path"]) == ("data", encoder.name)
    assert not list(out.glob("checkpoint-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    refused = CliRunner().invoke(app, [str(word) for word in [*words, "--overwrite", "--no_such_option", "1"]])
    assert (refused.exit_code, "--no_such_option" in refused.stderr) == (2, True)


def test_an_interrupted_command_keeps_its_checkpoints_and_resumes(tmp_path, encoder, monkeypatch):
    data, whole, out = write_texts(tmp_path / "data"), tmp_path / "whole", tmp_path / "out"

    def train(output, *more):
        words = ["train", data, "--output", output, "--method", "elr", "--model", encoder, *QUIET, *more]
        return CliRunner().invoke(app, [str(word) for word in words])

    assert train(whole).exit_code == 0
    refused = train(out, "--resume_from_checkpoint", "true")
    assert (refused.exit_code, "finds no whole checkpoint for --output" in refused.stderr) == (2, True)
    run_epoch, epochs = NoisyTrainer._run_epoch, []

    def interrupted(*arguments, **options):
        epochs.append(run_epoch(*arguments, **options))
        raise KeyboardInterrupt  # after the first epoch

    monkeypatch.setattr(NoisyTrainer, "_run_epoch", interrupted)
    stopped = train(out)
    monkeypatch.undo()
    assert (stopped.exit_code != 0, len(epochs)) == (True, 1)
    assert "--resume_from_checkpoint true continues from" in stopped.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out.training", "whole"]
    again = train(out)
    assert (again.exit_code, "is of a training that was interrupted" in again.stderr) == (2, True)
    assert train(out, "--resume_from_checkpoint", "true").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "whole"]
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (out, whole))
    assert found["test_accuracy_by_epoch"] == expected["test_accuracy_by_epoch"]


@pytest.mark.parametrize("method", ["gce", "auto"])
def test_the_command_line_trains_on_checked_rows(tmp_path, encoder, method):
    data, out, file = write_texts(tmp_path / "data"), tmp_path / "out", tmp_path / "checked.csv"
    rows = load_noisy_dataset(str(data))["train"]
    checked = [label if row < 60 else None for row, label in enumerate(rows["clean_label"])]
    write_checked(file, rows, checked_rows(rows, checked))
    words = ["train", data, "--checked", file, "--output", out, "--method", method, "--model", encoder, *QUIET]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    results = json.loads((out / "results.json").read_text())
    assert results["checked_rows"] == 60
    assert ("of 60 checked rows" in results.get("method_why", "")) == (method == "auto")
    assert "| rows checked by a person | 60 |" in (out / "README.md").read_text()
    file.write_text(file.read_text().replace(CLASSES[0], "nothing"))
    refused = CliRunner().invoke(app, [str(word) for word in [*words, "--overwrite"]])
    assert (refused.exit_code, "has 'nothing', which is not among the classes" in refused.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["vit", "preact_resnet18"])
@pytest.mark.parametrize("augmentation", ["nrd_student", "resized_crop", "augmix_crop"])
def test_other_networks_and_augmentations(run, tmp_path, architecture, augmentation):
    words = ["--method", "nrd", "--second_view", "auto", "--architecture", architecture]
    words += ["--augmentation", augmentation]
    assert_results(run("train_robust_image", *words, *NOISE, *IMAGES), tmp_path / "output")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nct", "nrd"])
def test_a_resumed_run_ends_where_the_whole_one_does(run, tmp_path, method):
    words = ["--method", method, *NOISE, *IMAGES, "--momentum", "0.9", "--lr_gamma", "0.1", "--lr_milestones", "1"]
    words += ["--learning_rate", "0.05", "--save_strategy", "epoch"]
    whole = run("train_robust_image", *words)
    checkpoint = min((tmp_path / "output").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    resumed = run("train_robust_image", *words, "--resume_from_checkpoint", str(checkpoint))
    assert whole.keys() == resumed.keys()
    for name in whole.keys() - {"phases"}:
        assert whole[name] == resumed[name], name


@pytest.mark.parametrize(
    "method",
    [
        "co_teaching",
        *(pytest.param(method, marks=pytest.mark.slow) for method in ("divide_mix", "elr_plus", "cdr")),
    ],
)
def test_dmlp_before_a_method_is_one_command(tmp_path, method):
    rows = load_noisy_dataset("digits", noise_type="symmetric", noise_rate=0.4)["train"]
    file, out = tmp_path / "checked.csv", tmp_path / "out"
    checked = [label if row % 8 == 0 else None for row, label in enumerate(rows["clean_label"])]
    write_checked(file, rows, checked_rows(rows, checked))
    words = ["train", "digits", *NOISE, "--checked", file, "--purifier", "dmlp", "--method", method, "--output", out]
    result = CliRunner().invoke(app, [str(word) for word in [*words, *QUIET, *IMAGES[:2], "--max_train_samples", 400]])
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text())
    changed = results["labels_changed"]
    assert f"{changed} of 400 training labels overruled by dmlp, policy relabel" in result.output
    assert results["noise_rate_purified"] < 0.3 < results["noise_rate"]
    card = (out / "README.md").read_text()
    assert "on corrected labels" in card
    assert f"| purifier | dmlp, policy relabel: {changed} labels overruled |" in card


@pytest.mark.parametrize(
    "policy", [pytest.param("relabel", marks=pytest.mark.slow), "soft", pytest.param("weight", marks=pytest.mark.slow)]
)
def test_text_labels_are_purified_first(tmp_path, encoder, policy):
    data, out = write_texts(tmp_path / "data"), tmp_path / "out"
    words = ["train", data, "--purifier", "evidence", "--policy", policy, "--method", "gce", "--output", out]
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--model", encoder, *QUIET]])
    assert result.exit_code == 0, result.output
    assert f"overruled by evidence, policy {policy}" in result.output
    results = json.loads((out / "results.json").read_text())
    assert (results["noise_rate_purified"] == results["noise_rate"]) == (policy == "weight")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--purifier", "cleanlab"], "--purifier must be one of checked, confident_learning"),
        (["--purifier", "knn", "--policy", "drop"], "--policy must be one of relabel, soft, weight, got 'drop'"),
        (["--purifier", "dmlp", "--policy", "soft", "--method", "elr"], "method 'elr' does not train on soft labels"),
        (["--purifier", "evidence", "--method", "auto"], "method 'auto' corrects labels itself"),
        (["--policy", "soft"], "--policy soft belongs to --purifier"),
    ],
)
def test_a_wrong_purifier_is_refused(tmp_path, words, message):
    result = CliRunner().invoke(app, ["train", "digits", *words, "--output", str(tmp_path / "out"), *QUIET, *IMAGES])
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
