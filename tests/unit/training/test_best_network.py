"""The network to serve is chosen by given labels, saved whole, and says why it was chosen."""

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from hf_noisy.models import BranchedModel
from hf_noisy.training.best_network import FILE, best_network, ensemble
from hf_noisy.training.distill import distill
from tests.contract.runs import CLASSES, distance, make_args, make_rows, make_trainer, parameters


def trained(folder, method="cross_entropy", kind="branches", **given):
    trainer = make_trainer(folder / "run", method, kind, num_train_epochs=1, trainer=given)
    trainer.train()
    return trainer


def record(folder):
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
    return trained(tmp_path_factory.mktemp("branches"), "nct", "lora", eval_dataset=make_rows(count=17, seed=3))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("averaged"), "nrd", "plain")


@pytest.mark.parametrize("rows", ["eval_dataset", "train_dataset"])
def test_the_best_branch_is_an_ordinary_model(rows, branches, tmp_path, monkeypatch):
    if rows == "train_dataset":
        monkeypatch.setattr(branches, "eval_dataset", None)
    before, model = parameters(branches), branches.model
    found = best_network(branches)
    found.save_pretrained(tmp_path)
    assert branches.model is model
    assert distance(before, model) == 0
    data = getattr(branches, rows)
    labels, scores = np.array(data["label"]), own(branches, data)
    accuracy = (scores.argmax(-1) == labels).mean(1)
    loss = -np.take_along_axis(scores, labels[None, :, None], 2).mean((1, 2))
    best = min(range(2), key=lambda index: (-accuracy[index], loss[index]))
    assert (found.chosen, found.rows) == (f"branch {best}", rows)
    assert ("memorised" in found.reason) == (rows == "train_dataset")
    for index in range(2):
        candidate = found.candidates[f"branch {index}"]
        assert candidate == pytest.approx({"accuracy": accuracy[index], "loss": loss[index]}, abs=1e-5)
    kept = {"chosen": found.chosen, "reason": found.reason, "rows": rows, "candidates": found.candidates}
    assert record(tmp_path) == {**kept, "architecture": "BertForSequenceClassification", "needs_hf_noisy": False}
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is BertForSequenceClassification
    assert distance(loaded, model.unbranch(best)) == 0


def test_the_worse_branch_is_not_chosen(tmp_path):
    trainer = trained(tmp_path, kind="branches", eval_dataset=make_rows(count=40, seed=3))
    right, rows = trainer.model.branches[1], trainer.eval_dataset
    args = make_args(tmp_path / "x", num_train_epochs=8, optim="adamw_torch", learning_rate=0.01)
    distill(np.eye(CLASSES)[rows["label"]], right, rows, args)
    found = best_network(trainer)
    assert found.chosen == "branch 1"
    assert distance(found.model, right) == 0


def test_a_chosen_network_has_the_names_of_the_classes(tmp_path):
    names = ["one", "two", "three"]
    rows = make_rows().cast_column("label", ClassLabel(names=names))
    trainer = make_trainer(tmp_path, "nct", "branches", rows=rows, max_steps=1)
    trainer.train()
    assert best_network(trainer).model.config.id2label == dict(enumerate(names))


def test_the_ensemble_stays_whole_and_says_what_it_needs(branches, tmp_path):
    found = ensemble(branches)
    found.save_pretrained(tmp_path)
    assert record(tmp_path)["needs_hf_noisy"]
    assert found.chosen == "all 2 branches as one model"
    assert distance(BranchedModel.from_pretrained(tmp_path), branches.model) == 0


def test_the_teacher_is_an_ordinary_model(averaged, tmp_path):
    mean = ensemble(averaged)
    mean.save_pretrained(tmp_path)
    assert mean.chosen == "the averaged teacher"
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert distance(loaded, averaged.method.teacher) == 0
    assert distance(loaded, averaged.model) > 0
    best = best_network(averaged)
    assert set(best.candidates) == {"student", "teacher"}
    chosen = averaged.model if best.chosen == "student" else averaged.method.teacher
    assert distance(best.model, chosen) == 0
    assert best.model is not chosen


def test_what_cannot_be_chosen_is_refused(averaged, tmp_path):
    for choose in (best_network, ensemble):
        with pytest.raises(ValueError, match=r"an ordinary model already: take trainer\.model"):
            choose(make_trainer(tmp_path, "dal"))
        with pytest.raises(ValueError, match="with a teacher after training"):
            choose(make_trainer(tmp_path, "nrd"))
    averaged.eval_dataset = averaged.train_dataset.remove_columns("label")
    try:
        with pytest.raises(ValueError, match="eval_dataset must have labels to choose a network by"):
            best_network(averaged)
        averaged.eval_dataset = averaged.train_dataset.to_iterable_dataset()
        with pytest.raises(ValueError, match="must have a length to choose by"):
            best_network(averaged)
    finally:
        averaged.eval_dataset = None
