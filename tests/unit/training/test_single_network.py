"""After several networks were trained, users hold and save one ordinary network; DyGEN predicts its posterior."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, ViTForImageClassification

from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.methods import DyGenMethod, make_method
from hf_noisy.models import BranchedModel
from hf_noisy.training.best_network import best_network
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, distance, make_args, make_model, make_rows
from tests.unit.dygen.test_serving import learn, text_model, text_rows, tokenizer

ROOT = Path(__file__).parents[3]


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def trained(folder, method="dygen", model=None, rows=None, later=None, **changes):
    rows = make_rows(count=48) if rows is None else rows
    given = {"eval_dataset": later, "compute_metrics": accuracy}
    model = make_model("plain") if model is None else model
    trainer = NoisyTrainer(model, make_args(folder, **changes), train_dataset=rows, method=method, **given)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def one_line(tmp_path_factory):
    folder, later = tmp_path_factory.mktemp("dygen"), make_rows(count=13, seed=4)
    model = make_model("plain")
    trainer = trained(folder, model=model, later=later, eval_strategy="epoch", save_strategy="epoch")
    return trainer, model, later


def test_predictions_are_the_posterior(one_line):
    trainer, _, later = one_line
    own = softmax(trainer.predict(trainer.train_dataset).predictions, axis=-1)
    assert np.abs(own - trainer.dygen.posterior("train")).max() < 2e-3  # float16 on disk
    found = trainer.predict(later)
    assert np.abs(np.exp(found.predictions).sum(-1) - 1).max() < 1e-5
    assert found.metrics["test_accuracy"] == accuracy(found)["accuracy"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(found.metrics["test_loss"], abs=1e-6)


def test_evaluation_during_training_is_that_of_the_branches(one_line):
    trainer, _, later = one_line
    logged = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][1]
    rows = later.with_format("torch")[:]
    labels = rows.pop("label")
    with torch.no_grad():
        logits = trainer.model.eval()(**rows).logits
    batches = [torch.nn.functional.cross_entropy(*part) for part in zip(logits.split(5), labels.split(5), strict=True)]
    # Trainer repeats the mean of a batch for each of its rows.
    assert logged == pytest.approx(np.repeat(batches, 5)[:13].mean().item(), abs=1e-5)


def test_the_user_holds_and_saves_one_ordinary_network(one_line, tmp_path):
    trainer, model, later = one_line
    trainer.save_model(str(tmp_path))
    assert isinstance(trainer.model, BranchedModel)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is BertForSequenceClassification
    assert distance(loaded, model) == 0.0
    assert distance(model, make_model("plain")) > 1e-3
    assert distance(BranchedModel.from_pretrained(tmp_path / "branches"), trainer) == 0.0
    recorded = Trajectories(Path(trainer.args.output_dir) / "_dygen" / "_trajectories")
    dygen = DyGen.from_pretrained(tmp_path / "dygen", recorded)
    assert dygen.noise_rate == trainer.dygen.noise_rate
    assert (dygen.posterior("train") == trainer.dygen.posterior("train")).all()
    checkpoint = max(Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "branched"
    assert (trainer.predict(later).predictions == trainer.predict(later).predictions).all()


@pytest.mark.slow
def test_what_is_learned_is_distilled(tmp_path):
    rows = text_rows(60)
    # Every fifth label is wrong.
    noisy = [(label + 1) % CLASSES if i % 5 == 0 else label for i, label in enumerate(rows["label"])]
    given = rows.remove_columns("label").add_column("label", noisy).cast_column("label", rows.features["label"])
    model, true = text_model(), np.array(rows["label"])
    args = learn(tmp_path, num_train_epochs=12)
    trainer = NoisyTrainer(model, args, train_dataset=given, processing_class=tokenizer(), method="dygen")
    trainer.train()
    assert (trainer.predict(rows).predictions.argmax(-1) == true).mean() > 0.95
    words = tokenizer()(["good film", "bad film", "dull film"], return_tensors="pt")
    words.pop("token_type_ids", None)
    assert model(**words.to(model.device)).logits.argmax(-1).tolist() == [0, 1, 2]
    assert model.config.id2label == {0: "praise", 1: "blame", 2: "neither"}


def test_without_snapshots_the_distilled_network_predicts(tmp_path):
    model = make_model("plain")
    trainer = trained(tmp_path, make_method("dygen", exact=False, vae_epochs=1), model)
    assert not (tmp_path / "_dygen" / "_snapshots").exists()
    rows = make_rows(count=5, seed=8).with_format("torch")
    with torch.no_grad():
        logits = model(**{name: rows[name][:] for name in ("input_ids", "attention_mask")}).logits
    assert np.abs(trainer.predict(rows).predictions - logits.numpy()).max() < 1e-6


@pytest.mark.parametrize("method", [DyGenMethod(distill=False, vae_epochs=1), "jocor"], ids=["dygen", "jocor"])
def test_undistilled_the_best_branch_is_saved(tmp_path, method):
    model = make_model("plain")
    trainer = trained(tmp_path / "run", method, model)
    expected = best_network(trainer).model
    assert distance(model, expected) == 0.0
    trainer.save_model(str(tmp_path / "saved"))
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert distance(saved, expected) == 0.0
    assert (tmp_path / "saved" / "dygen").is_dir() == (method != "jocor")


def test_given_branches_stay_and_the_best_one_is_saved(tmp_path):
    model = make_model("lora")
    trainer = trained(tmp_path / "run", model=model)
    assert trainer.model is model
    trainer.save_model(str(tmp_path / "saved"))
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert distance(saved, best_network(trainer).model) == 0.0
    assert distance(BranchedModel.from_pretrained(tmp_path / "saved" / "branches"), model) == 0.0


def test_each_training_of_a_trainer_starts_afresh(tmp_path):
    rows, args = make_rows(count=24), make_args(tmp_path, num_train_epochs=1)
    method = make_method("dygen", vae_epochs=1)
    trainer = NoisyTrainer(None, args, train_dataset=rows, model_init=lambda: make_model("plain"), method=method)
    found = []
    for _ in range(2):
        trainer.train()
        found.append(trainer.predict(rows).predictions)
    assert np.array_equal(*found)
    assert sum(type(one).__name__ == "DynamicsRecorder" for one in trainer.callback_handler.callbacks) == 1


def test_snapshots_of_a_frozen_encoder_are_its_heads(tmp_path):
    model = make_model("plain")
    model.bert.requires_grad_(False)
    trainer = trained(tmp_path, model=model, num_train_epochs=1)
    heads = sum(value.numel() for value in model.classifier.parameters())
    assert (tmp_path / "_dygen" / "_snapshots" / "epoch-001.safetensors").stat().st_size < 4 * heads * 2 + 1000
    own = softmax(trainer.predict(trainer.train_dataset).predictions, axis=-1)
    assert np.abs(own - trainer.dygen.posterior("train")).max() < 2e-3


@pytest.mark.parametrize("transformed", [False, True])
def test_images(tmp_path, transformed):
    rows = make_rows("vit", 24)
    if transformed:  # the labels are those that the transform gives
        lazy = rows.with_format("torch")
        rows = lazy.with_transform(
            lambda batch: {"pixel_values": torch.tensor(batch["pixel_values"]), "label": batch["label"]}
        )
    trainer = trained(tmp_path, make_method("dygen", vae_epochs=1), make_model("vit"), rows, bf16=True)
    own = softmax(trainer.predict(rows).predictions, axis=-1)
    assert np.abs(own - trainer.dygen.posterior("train")).max() < 0.02  # bfloat16
    trainer.save_model()
    assert type(ViTForImageClassification.from_pretrained(tmp_path)) is ViTForImageClassification


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_rate": 1.2}, r"noise_rate must be a number in \[0, 1\), got 1.2"),
        ({"rho": 1}, "method 'dygen' has no argument rho"),
    ],
)
def test_arguments_are_refused_before_training(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_method("dygen", **arguments)


ORDINARY = """
import json, sys
sys.modules["hf_noisy"] = None  # any import of it fails
from transformers import pipeline
print(json.dumps([one["label"] for one in pipeline("text-classification", sys.argv[1])(["good film", "bad film"])]))
"""


@pytest.mark.slow
def test_a_pipeline_loads_what_was_saved_without_this_package(tmp_path):
    args = learn(tmp_path, num_train_epochs=12)
    trainer = NoisyTrainer(
        text_model(), args, train_dataset=text_rows(60), processing_class=tokenizer(), method="dygen"
    )
    trainer.train()
    trainer.save_model()
    command = [sys.executable, "-c", ORDINARY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["praise", "blame"]
