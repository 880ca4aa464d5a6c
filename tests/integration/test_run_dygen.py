"""The example as its users run it: a process of its own, on a file and an encoder of theirs."""

import csv
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)

ROOT = Path(__file__).parents[2]
CLASSES = ("animal", "number", "place")
ROWS = 400
KEYS = {
    "dataset",
    "num_train",
    "num_classes",
    "noise_rate_true",
    "noise_rate_estimated",
    "test_accuracy_ce",
    "test_accuracy_stage1",
    "test_accuracy_prior",
    "test_accuracy",
    "test_ece_stage1",
    "test_ece",
    "train_label_accuracy_before",
    "train_label_accuracy_after",
    "selected_by",
    "seed",
    "phases",
    "training",
    "versions",
}
SCORES = (
    "test_accuracy_ce",
    "test_accuracy_stage1",
    "test_accuracy_prior",
    "test_accuracy",
    "test_ece_stage1",
    "test_ece",
    "train_label_accuracy_before",
    "train_label_accuracy_after",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny BERT without a head, and a WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"{name}{i}" for name in CLASSES for i in range(5))]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=16, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def write_rows(path: Path, wrong: float = 0.0, clean_label: bool = True) -> Path:
    """Texts whose words name the class; a share of the labels is the next class."""
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        columns = ["sentence", "category", *(["clean_label"] if clean_label else [])]
        rows = csv.DictWriter(file, columns, extrasaction="ignore")
        rows.writeheader()
        for row in range(ROWS):
            true = row % 3
            given = (true + 1) % 3 if rng.random() < wrong else true
            words = [CLASSES[true]] * 6 + [CLASSES[rng.integers(3)]]
            sentence = " ".join(f"{word}{rng.integers(5)}" for word in words)
            rows.writerow({"sentence": sentence, "category": CLASSES[given], "clean_label": CLASSES[true]})
    return path


def run(data: Path, encoder: Path, output: Path, *options: str, launcher: tuple[str, ...] = ()) -> dict:
    command = [sys.executable, *launcher, str(ROOT / "examples" / "run_dygen.py")]
    command += ["--dataset", str(data), "--text_column", "sentence", "--label_column", "category"]
    command += ["--model_name_or_path", str(encoder), "--output_dir", str(output), "--use_cpu", "true"]
    command += ["--num_train_epochs", "8", "--learning_rate", "5e-3", "--disable_tqdm", "true", *options]
    environment = {
        **os.environ,
        "HF_DATASETS_CACHE": str(output.parent / "cache"),
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, cwd=output.parent)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    result: dict = json.loads((output / "dygen_results.json").read_text())
    assert result.keys() >= KEYS
    assert "DyGEN" in done.stdout  # the table
    return result


def assert_pictures(output: Path, *names: str) -> None:
    assert {file.stem for file in output.glob("*.png")} == set(names)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in output.glob("*.png"))


def assert_scores(result: dict) -> None:
    assert all(0 <= result[name] <= 1 for name in SCORES)
    assert result["train_label_accuracy_before"] == pytest.approx(1 - result["noise_rate_true"])
    assert result["train_label_accuracy_after"] > result["train_label_accuracy_before"]
    assert result["test_accuracy"] > 0.8
    assert 0 <= result["noise_rate_estimated"] < 1


def test_on_a_file_with_known_noise(encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", wrong=0.25)
    result = run(data, encoder, tmp_path / "output", "--seed", "3")
    assert_scores(result)
    assert (result["dataset"], result["arguments"]["dataset"]) == (data.name, data.name)  # no local folder
    assert (result["num_train"], result["num_classes"], result["seed"]) == (320, 3, 3)
    assert 0.15 < result["noise_rate_true"] < 0.35
    assert result["selected_by"] == "last epoch"
    assert result["phases"].keys() >= {"training with cross-entropy", "training with DyGEN"}
    assert all(phase["seconds"] >= 0 for phase in result["phases"].values())
    assert result["versions"].keys() >= {"torch", "transformers", "datasets", "hf-noisy"}
    assert result["versions"]["torch"] == version("torch")
    assert_pictures(tmp_path / "output", "dynamics_map", "reliability")
    assert (tmp_path / "output" / "dygen" / "dygen.safetensors").is_file()


@pytest.mark.slow
def test_without_true_labels_there_are_no_scores(encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", wrong=0.25, clean_label=False)
    options = ("--max_steps", "6", "--estimated_noise_rate", "0.25", "--compare", "false")
    result = run(data, encoder, tmp_path / "output", *options)
    assert all(result[name] is None for name in (*SCORES, "noise_rate_true"))
    assert result["noise_rate_estimated"] == 0.25
    assert_pictures(tmp_path / "output", "dynamics_map")


@pytest.mark.slow
def test_injected_noise_is_known(encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", clean_label=False)
    options = ("--noise_type", "symmetric", "--noise_rate", "0.3")
    result = run(data, encoder, tmp_path / "output", *options)
    assert_scores(result)
    assert result["noise_rate_true"] == pytest.approx(0.3, abs=0.08)  # of all rows, before some became the test split
    assert run(data, encoder, tmp_path / "again", *options)["test_accuracy"] == result["test_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--branches", "lora"), ("--num_branches", "3")])
def test_other_branches_and_priors(options, encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", wrong=0.25)
    result = run(data, encoder, tmp_path / "output", *options)
    assert result["arguments"][options[0].lstrip("-")] == (int(options[1]) if options[1].isdigit() else options[1])
    assert all(0 <= result[name] <= 1 for name in SCORES)
    if "lora" in options:
        assert_scores(result)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "distilled"])
def test_a_model_for_new_rows_is_left(kind, encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", wrong=0.25)
    run(data, encoder, tmp_path / "output", "--max_steps", "6", "--export", kind)
    folder = tmp_path / "output" / kind
    import hf_noisy.dygen.exact  # noqa: F401  (registers the exact model)

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(["animal1 animal2", "place0"], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert model.eval()(**tokens).logits.shape == (2, 3)
    assert (type(model).__module__.startswith("transformers.")) == (kind == "distilled")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend")
def test_two_processes_find_what_one_does(encoder, tmp_path):
    data = write_rows(tmp_path / "rows.csv", wrong=0.25)
    alone = run(data, encoder, tmp_path / "one", "--per_device_train_batch_size", "16")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d")
    launcher += ("--rdzv-endpoint=localhost:0",)
    both = run(data, encoder, tmp_path / "two", "--per_device_train_batch_size", "8", launcher=launcher)
    assert both["texts"] == alone["texts"]
    for name in ("num_train", "num_test", "num_classes", "noise_rate_true", "train_label_accuracy_before", "seed"):
        assert both[name] == alone[name]
    assert_scores(both)
    assert_pictures(tmp_path / "two", "dynamics_map", "reliability")
