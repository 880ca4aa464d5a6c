"""The distilled artefact, and both artefacts in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from PIL import Image
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.models import BranchedModel
from hf_noisy.training.distill import distill
from tests.contract.runs import CLASSES, bert, make_args, make_rows, make_trainer
from tests.unit.dygen.synthetic import make, symmetric

ROOT = Path(__file__).parents[3]
OTHERS = ["and", "but", "the", "a", "one", "so", "seen", "today"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "dull", "film", *OTHERS]
NAMES = ["praise", "blame", "neither"]


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="[UNK]", pad_token="[PAD]")


def text_rows(count=24):
    words = tokenizer()
    # Two other words make each text another: copies of a row say nothing about its label.
    texts = [
        f"{['good', 'bad', 'dull'][i % CLASSES]} film {OTHERS[i // CLASSES % 8]} {OTHERS[i // CLASSES // 8 % 8]}"
        for i in range(count)
    ]
    rows = make_rows(count=count).select_columns("label").add_column("text", texts)
    rows = rows.remove_columns("label").add_column("label", [i % CLASSES for i in range(count)])
    return rows.cast_column("label", ClassLabel(names=NAMES)).map(lambda batch: words(batch["text"]), batched=True)


def text_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), num_labels=CLASSES, **sizes))


def colours(count=12):
    return [Image.new("RGB", (16, 16), ["red", "green", "blue"][i % CLASSES]) for i in range(count)]


def learn(folder, **changes):
    return make_args(folder, **{"num_train_epochs": 30, "optim": "adamw_torch", "learning_rate": 0.02} | changes)


ORDINARY = """
import json, sys
sys.modules["hf_noisy"] = None  # any import of it fails
from transformers import pipeline
from PIL import Image
texts = pipeline("text-classification", model=sys.argv[1])(["good film", "bad film", "dull film"])
pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
images = pipeline("image-classification", model=sys.argv[2])(pictures, top_k=1)
print(json.dumps([[one["label"] for one in texts], [one[0]["label"] for one in images]]))
"""


def child(code: str, *given: object) -> list:
    done = subprocess.run([sys.executable, "-c", code, *map(str, given)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_pipelines_load_what_was_distilled_without_this_package(tmp_path):
    rows = text_rows()
    # The posterior says of "good" what the labels say of "bad", and the other way round.
    posterior = np.eye(CLASSES)[[[1, 0, 2][label] for label in rows["label"]]] * 0.9 + 0.1 / CLASSES
    distill(posterior, text_model(), rows, learn(tmp_path / "text"), tokenizer())
    processor = ViTImageProcessor(size={"height": 8, "width": 8})
    pixels = processor(colours(), return_tensors="np")["pixel_values"]
    images = Dataset.from_dict({"pixel_values": pixels.tolist(), "label": [0] * 12}).with_format("torch")
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(NAMES)),
    )
    torch.manual_seed(0)
    distill(
        np.eye(CLASSES)[np.arange(12) % CLASSES],
        ViTForImageClassification(config),
        images,
        learn(tmp_path / "image"),
        processor,
    )
    texts, pictures = child(ORDINARY, tmp_path / "text", tmp_path / "image")
    assert texts == ["blame", "praise", "neither"]
    assert pictures == NAMES


EXACT = """
import json, sys
import hf_noisy.dygen.exact
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
exact = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
rows = Dataset.from_file(sys.argv[2])
print(json.dumps(exact.predict(rows, show_progress=False).tolist()))
"""


@pytest.mark.slow
def test_a_fresh_process_gives_the_posterior_of_training(tmp_path):
    rows = {"train": make_rows(), "test": make_rows(count=9, seed=1)}
    recorder, snapshots = DynamicsRecorder(rows, dtype="float32"), EpochSnapshots()
    trainer = make_trainer(
        tmp_path, "cross_entropy", "lora", rows=rows["train"], trainer={"callbacks": [recorder, snapshots]}
    )
    trainer.train()
    dygen = DyGen.fit(recorder.trajectories, np.array(rows["train"]["label"]), 0.3, vae_epochs=2, show_progress=False)
    DyGenForClassification.from_training(dygen, trainer.model, tmp_path).save_pretrained(tmp_path / "exact")
    rows["test"].save_to_disk(tmp_path / "rows")
    (file,) = (tmp_path / "rows").glob("*.arrow")
    np.testing.assert_allclose(child(EXACT, tmp_path / "exact", file), dygen.posterior("test"), atol=1e-5)


def test_of_a_fit_the_posterior_given_the_labels_is_taught(tmp_path, monkeypatch):
    made = make(tmp_path / "made", symmetric(0.3, CLASSES), rows=24)
    dygen = DyGen.fit(made.trajectories, made.given, 0.3, vae_epochs=2, show_progress=False)
    taught = []
    monkeypatch.setattr("hf_noisy.training.distill.Trainer.train", lambda self: taught.append(self.train_dataset))
    rows = text_rows().remove_columns("label").add_column("label", made.given)
    distill(dygen, bert(), rows, make_args(tmp_path / "out"))
    np.testing.assert_allclose(taught[0].probabilities, dygen.posterior("train", labels=made.given), atol=1e-7)
    with pytest.raises(ValueError, match="another dataset"):
        distill(dygen, bert(), rows.select([*range(1, 24), 0]), make_args(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"no column 'label' or 'labels' that can be read; pass dygen.posterior"):
        distill(dygen, bert(), rows.remove_columns("label"), make_args(tmp_path / "out"))


def test_what_is_distilled_is_saved_with_its_processor(tmp_path):
    rows = text_rows(6)
    model = distill(np.full((6, CLASSES), 1 / CLASSES), text_model(), rows, learn(tmp_path, max_steps=1), tokenizer())
    assert not model.training
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {str(i): n for i, n in enumerate(NAMES)}
    with pytest.raises(TypeError, match="one plain classifier"):
        distill(np.full((6, CLASSES), 1 / CLASSES), BranchedModel.from_model(bert()), rows, learn(tmp_path))
