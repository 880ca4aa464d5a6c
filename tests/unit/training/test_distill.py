"""Ordinary models learn what teachers of every kind predict."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel
from transformers import AutoModelForSequenceClassification, ViTForImageClassification

from hf_noisy.models import BranchedModel
from hf_noisy.training.best_network import best_network
from hf_noisy.training.distill import distill
from tests.contract.runs import CLASSES, bert, distance, make_args, make_rows, make_trainer, parameters, vit


@pytest.mark.parametrize(("method", "kind"), [("nrd", "plain"), ("nct", "lora")])
def test_distilled_is_near_to_what_taught_it(method, kind, tmp_path):
    trainer = make_trainer(tmp_path / "run", method, kind, num_train_epochs=1)
    trainer.train()
    source = trainer.method.teacher if method == "nrd" else trainer.model
    before, taught = parameters(trainer), parameters(source)
    begun = bert() if method == "nrd" else best_network(trainer).model
    rows = trainer.train_dataset.with_format("torch")
    inputs = {name: rows[name][:] for name in ("input_ids", "attention_mask")}

    def probabilities(model):
        with torch.no_grad():
            return model.eval()(**inputs).logits.softmax(-1)

    start = probabilities(begun)
    long = make_args(tmp_path / "out", num_train_epochs=40, optim="adamw_torch", learning_rate=3e-3)
    distill(source, begun, trainer.train_dataset, long)
    assert distance(before, trainer.model) == distance(taught, source) == 0
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    wanted, got = probabilities(source), probabilities(loaded)
    assert (got - wanted).abs().mean() < (start - wanted).abs().mean() / 2
    assert (got - wanted).abs().max() < 0.05


def test_soft_labels_are_exact_under_accumulation(tmp_path):
    rows, random = make_rows(), np.random.default_rng(0)
    soft = random.dirichlet(np.ones(CLASSES), len(rows))
    whole, parts = bert(), bert()
    distill(soft, whole, rows, make_args(tmp_path))
    distill(soft, parts, rows, make_args(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4))
    assert distance(whole, bert()) > 1e-3
    assert distance(whole, parts) < 1e-6
    certain = bert()  # of certain rows the loss is that of their labels
    distill(np.eye(CLASSES)[rows["label"]], certain, rows, make_args(tmp_path))
    trainer = make_trainer(tmp_path, rows=rows)
    trainer.train()
    assert distance(certain, trainer.model) < 1e-6


def test_lazy_images_keep_their_transform_and_classes_get_names(tmp_path):
    names = ["a", "b", "c"]
    rows = (
        make_rows("vit")
        .with_format(None)
        .rename_column("pixel_values", "raw")
        .cast_column("label", ClassLabel(names=names))
    )
    lazy = rows.with_transform(lambda batch: {"pixel_values": torch.tensor(batch["raw"]), "labels": batch["label"]})
    model = vit()
    assert isinstance(model, ViTForImageClassification)
    distill(np.full((21, 3), 1 / 3), model, lazy, make_args(tmp_path, max_steps=1))
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("soft", "error"),
    [
        (np.full((20, 3), 1 / 3), "one row for each of the 21 rows, got 20"),
        (np.full((21, 4), 1 / 4), "each of the 3 classes, got 4"),
        (np.full((21, 3), 1 / 2), "sum to 1 in each row"),
    ],
)
def test_what_is_no_distribution_is_refused(soft, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        distill(soft, bert(), make_rows(), make_args(tmp_path))


def test_what_is_no_ordinary_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="one plain classifier of transformers"):
        distill(np.full((21, 3), 1 / 3), BranchedModel.from_model(bert()), make_rows(), make_args(tmp_path))
