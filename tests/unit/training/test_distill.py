import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, ViTForImageClassification

from hf_noisy.models import BranchedModel
from hf_noisy.training.distill import FILE, fit_to_probabilities
from tests.contract.runs import CLASSES, bert, distance, make_args, make_rows, make_trainer, vit

NRD, NCT = "nrd", "nct"


def trained(folder, method="cross_entropy", kind="branches", **given):
    trainer = make_trainer(folder / "run", method, kind, num_train_epochs=1, trainer=given)
    trainer.train()
    return trainer


def told(folder):
    return json.loads((folder / FILE).read_text())


def own(trainer, dataset):
    """Log-probabilities `[branch, row, class]` of a whole dataset at once."""
    rows = dataset.with_format("torch")
    inputs = {name: rows[name][:] for name in rows.column_names if name != "label"}
    trainer.model.eval()
    with torch.no_grad():
        return trainer.model(**inputs).branch_logits.log_softmax(-1).transpose(0, 1).numpy()


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("branches"), NCT, "lora", eval_dataset=make_rows(count=17, seed=3))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("averaged"), NRD, "plain")


@pytest.mark.parametrize("rows", ["eval_dataset", "train_dataset"])
def test_the_best_branch_is_an_ordinary_model(rows, branches, tmp_path, monkeypatch):
    if rows == "train_dataset":
        monkeypatch.setattr(branches, "eval_dataset", None)
    before, model = branches.model.state_dict(), branches.model
    branches.save_model(tmp_path, export="best_branch")
    assert branches.model is model
    assert distance(before, model) == 0
    data = getattr(branches, rows)
    labels, scores = np.array(data["label"]), own(branches, data)
    accuracy = (scores.argmax(-1) == labels).mean(1)
    loss = -np.take_along_axis(scores, labels[None, :, None], 2).mean((1, 2))
    record = told(tmp_path)
    best = min(range(2), key=lambda index: (-accuracy[index], loss[index]))
    assert (record["chosen"], record["rows"], record["needs_hf_noisy"]) == (f"branch {best}", rows, False)
    for index in range(2):
        candidate = record["candidates"][f"branch {index}"]
        assert candidate == pytest.approx({"accuracy": accuracy[index], "loss": loss[index]}, abs=1e-5)
    assert ("by heart" in record["reason"]) == (rows == "train_dataset")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is BertForSequenceClassification
    assert distance(loaded, model.unbranch(best)) == 0


def test_the_worse_branch_is_not_chosen(tmp_path):
    trainer = trained(tmp_path, kind="branches", eval_dataset=make_rows(count=40, seed=3))
    right = trainer.model.branches[1]
    args = make_args(tmp_path / "x", num_train_epochs=8, optim="adamw_torch", learning_rate=0.01)
    fit_to_probabilities(right, trainer.eval_dataset, np.eye(CLASSES)[trainer.eval_dataset["label"]], args)
    trainer.save_model(tmp_path / "best", export="best_branch")
    assert told(tmp_path / "best")["chosen"] == "branch 1"
    assert distance(AutoModelForSequenceClassification.from_pretrained(tmp_path / "best"), right) == 0


def test_an_exported_network_has_the_names_of_the_classes(tmp_path):
    names = ["one", "two", "three"]
    rows = make_rows().cast_column("label", ClassLabel(names=names))
    trainer = make_trainer(tmp_path, NCT, "branches", rows=rows, max_steps=1)
    trainer.train()
    trainer.save_model(tmp_path / "best", export="best_branch")
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "best").config.id2label == dict(
        enumerate(names)
    )


def test_the_ensemble_stays_whole_and_says_what_it_needs(branches, tmp_path):
    branches.save_model(tmp_path, export="ensemble")
    record = told(tmp_path)
    assert record["needs_hf_noisy"]
    assert record["chosen"] == "all 2 branches as one model"
    assert distance(BranchedModel.from_pretrained(tmp_path), branches.model) == 0


@pytest.mark.parametrize("method", [NRD, NCT])
def test_distilled_is_near_to_what_taught_it(method, branches, averaged, tmp_path):
    trainer = branches if method == NCT else averaged
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    long = make_args(tmp_path / "x", num_train_epochs=40, optim="adamw_torch", learning_rate=3e-3)
    trainer.save_model(tmp_path / "out", export="distilled", export_args=long)
    assert distance(before, trainer.model) == 0
    record = told(tmp_path / "out")
    assert record["start"] in ("branch 0", "branch 1") if method == NCT else record["start"] == "student"
    assert not record["needs_hf_noisy"]
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    rows = trainer.train_dataset.with_format("torch")
    inputs = {name: rows[name][:] for name in ("input_ids", "attention_mask")}
    source = trainer.model.eval() if method == NCT else trainer.method.teacher
    with torch.no_grad():
        wanted, got = (model(**inputs).logits.softmax(-1) for model in (source, loaded.eval()))
        if method == NCT:
            begun = trainer.model.unbranch(int(record["start"][-1])).eval()(**inputs).logits.softmax(-1)
            assert (got - wanted).abs().mean() < (begun - wanted).abs().mean() / 2
    assert (got - wanted).abs().max() < 0.05


def test_the_teacher_is_an_ordinary_model(averaged, tmp_path):
    averaged.save_model(tmp_path / "mean", export="ensemble")
    assert told(tmp_path / "mean")["chosen"] == "the averaged teacher"
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "mean")
    assert distance(loaded, averaged.method.teacher) == 0
    assert distance(loaded, averaged.model) > 0
    averaged.save_model(tmp_path / "best", export="best_branch")
    record = told(tmp_path / "best")
    assert set(record["candidates"]) == {"student", "teacher"}
    chosen = averaged.model if record["chosen"] == "student" else averaged.method.teacher
    assert distance(AutoModelForSequenceClassification.from_pretrained(tmp_path / "best"), chosen) == 0


def test_without_export_nothing_is_new(averaged, tmp_path):
    averaged.save_model(tmp_path, export="ensemble")
    averaged.save_model(tmp_path)
    assert not (tmp_path / FILE).exists()  # it would tell of another model
    assert distance(AutoModelForSequenceClassification.from_pretrained(tmp_path), averaged.model) == 0
    averaged.save_model(tmp_path, export="ensemble")
    averaged.save_model(tmp_path, _internal_call=True)  # as a push does, after an export
    assert (tmp_path / FILE).exists()


def test_what_cannot_be_exported_is_refused(branches, averaged, tmp_path):
    plain = make_trainer(tmp_path, "dal")
    with pytest.raises(ValueError, match="an ordinary model already: leave export away"):
        plain.save_model(tmp_path, export="best_branch")
    with pytest.raises(ValueError, match="must be one of 'ensemble', 'best_branch', 'distilled', or None"):
        branches.save_model(tmp_path, export="worst")
    with pytest.raises(ValueError, match="with a teacher after training"):
        make_trainer(tmp_path, NRD).save_model(tmp_path, export="ensemble")
    untold = averaged.train_dataset.remove_columns("label")
    averaged.eval_dataset = untold
    try:
        with pytest.raises(ValueError, match="eval_dataset must have labels to choose a network by"):
            averaged.save_model(tmp_path, export="best_branch")
    finally:
        averaged.eval_dataset = None
    assert not (tmp_path / FILE).exists()


def test_soft_labels_are_exact_under_accumulation(tmp_path):
    rows, random = make_rows(), np.random.default_rng(0)
    soft = random.dirichlet(np.ones(CLASSES), len(rows))
    whole, parts = bert(), bert()
    fit_to_probabilities(whole, rows, soft, make_args(tmp_path))
    fit_to_probabilities(
        parts, rows, soft, make_args(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    )
    assert distance(whole, bert()) > 1e-3
    assert distance(whole, parts) < 1e-6
    certain = bert()  # of certain rows the loss is that of their labels
    fit_to_probabilities(certain, rows, np.eye(CLASSES)[rows["label"]], make_args(tmp_path))
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
    fit_to_probabilities(model, lazy, np.full((21, 3), 1 / 3), make_args(tmp_path, max_steps=1))
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("soft", "error"),
    [
        (np.full((20, 3), 1 / 3), "one a row, 21, got 20"),
        (np.full((21, 4), 1 / 4), "each of the 3 classes, got 4"),
        (np.full((21, 3), 1 / 2), "sum to 1 in each row"),
    ],
)
def test_what_is_no_distribution_is_refused(soft, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        fit_to_probabilities(bert(), make_rows(), soft, make_args(tmp_path))


def test_what_is_no_ordinary_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="one plain classifier of transformers"):
        fit_to_probabilities(
            BranchedModel.from_model(bert()), make_rows(), np.full((21, 3), 1 / 3), make_args(tmp_path)
        )
