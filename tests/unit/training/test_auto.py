import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import hf_noisy.training.auto as auto
from hf_noisy.core.task import LABEL_SETS
from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.noise_rate import NoiseRate
from hf_noisy.methods import make_method
from hf_noisy.training.auto_measure import Measured, NoiseEstimate
from hf_noisy.training.auto_rules import RULES, Choice, Rule, choose
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import distance, make_args, make_model, make_rows, parameters
from tests.unit.training.test_auto_measure import rows_with_features

NOTHING = Measured(rows=None, classes=None, modality="unknown", branches=False, views=False, reason="said so")


def noisy(rate: float, **changes: float) -> Measured:
    noise = NoiseEstimate(NoiseRate(rate, rate, rate), 1 - rate, 1 - rate, {"given": 0.9, "uniform": 0.1}, 500)
    noise = noise._replace(**changes)
    return Measured(rows=500, classes=4, modality="text", branches=True, views=True, noise=noise)


def test_every_rule_can_be_made_and_the_last_fits_always():
    for rule in RULES:
        make_method(rule.method, **rule.arguments)
        json.dumps(dict(rule.arguments))
    assert RULES[-1].fits(NOTHING)
    assert choose(NOTHING).why.startswith("the noise was not measured (said so), ")


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0])
def test_there_is_a_choice_for_everything(rate):
    measured = noisy(rate)
    for branches in (True, False):
        for views in (True, False):
            choice = choose(replace(measured, branches=branches, views=views))
            method = make_method(choice.method, **choice.arguments)
            assert branches or method.num_branches == 1
            assert views or method.second_view is None


@pytest.mark.parametrize(
    ("measured", "method"),
    [
        (noisy(0.3), "soft_correction"),
        (replace(noisy(0.3), branches=False, views=False), "soft_correction"),
        (replace(noisy(0.3), modality="image"), "soft_correction"),
        (noisy(0.3, beyond_chance=0.01), "gjs"),
        (noisy(0.3, beyond_chance=-0.01), "gjs"),
        (replace(noisy(0.3, beyond_chance=0.01), views=False), "elr"),
        (replace(noisy(0.3), noise=None), "gjs"),
        (replace(noisy(0.3), modality="image", noise=None), "nct"),
        (NOTHING, "dal"),
    ],
)
def test_what_is_taken(measured, method):
    assert choose(measured).method == method


def test_limits_of_a_rule():
    rule = Rule("gce", "", beyond_chance=(0.5, 1.0), modality=("text",))
    fits = noisy(0.1, beyond_chance=1.0)
    assert rule.fits(fits)
    assert rule.fits(noisy(0.1, beyond_chance=0.5))
    assert not rule.fits(noisy(0.1, beyond_chance=0.4))
    assert not rule.fits(replace(fits, modality="image"))
    assert not rule.fits(replace(fits, noise=None))
    assert not Rule("gce", "", unmeasured=True).fits(fits)
    assert not Rule("nct", "").fits(replace(fits, branches=False))
    assert not Rule("nrd", "").fits(replace(fits, views=False))
    assert not Rule("elr", "").fits(NOTHING)


@pytest.fixture
def trainer(tmp_path):
    def make(rate: float = 0.3, model: str = "plain", rows=None, folder="run", **changes) -> NoisyTrainer:
        rows = rows_with_features(rate, 300) if rows is None else rows
        rows = rows.map(lambda row: {"input_ids": [5, 6, row["label"]], "attention_mask": [1, 1, 1]})
        rows = rows.filter(lambda row: row["label"] < 3)
        arguments = make_args(tmp_path / folder, **({"max_steps": 4} | changes))
        return NoisyTrainer(make_model(model), arguments, train_dataset=rows, method="auto")

    return make


def forced(monkeypatch, *names: str) -> list[str]:
    """Replaces the choice: each measurement leads to the next of these methods."""
    left = list(names)
    monkeypatch.setattr(auto, "choose", lambda measured: Choice(left.pop(0), {}, "it was said"))
    return left


def test_it_trains_says_why_and_notes_it(trainer, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(auto.logger, "warning", said.append)
    made = trainer()
    made.train()
    assert said == [f"method auto: {made.choice.method}, because {made.choice.why}"]
    assert "of the labels are wrong at random" in made.choice.why
    noted = json.loads((tmp_path / "run" / "auto_method.json").read_text())
    assert noted["choice"]["method"] == made.choice.method
    assert 0.1 < noted["measured"]["noise"][0][0] < 0.4
    made.create_model_card()
    assert "Chosen before training" in (tmp_path / "run" / "README.md").read_text()


def test_nothing_is_measured_before_training(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "measure", None)
    made = trainer()
    assert made.choice is None
    assert not list((tmp_path / "run").rglob("*"))
    # Until then it is the plain model, which may be looked at as it is.
    model = made.model
    assert made.evaluate(make_rows())["eval_loss"] > 0
    assert made.model is model


def test_branches_are_made_for_the_choice(trainer, monkeypatch):
    forced(monkeypatch, "coregularization")
    made = trainer()
    before = made.evaluate(make_rows())["eval_loss"]
    made.train()
    assert made.model.num_branches == 2
    assert made.evaluate(make_rows())["eval_loss"] != before
    first = parameters(made)
    made.train()  # goes on with the method and the branches of the first time
    assert distance(made, first) > 0


def test_it_is_the_training_of_the_method_by_name(trainer, tmp_path, monkeypatch):
    forced(monkeypatch, "coregularization")
    made = trainer()
    made.train()
    named = NoisyTrainer(
        make_model("plain"),
        make_args(tmp_path / "named", max_steps=4),
        train_dataset=made.train_dataset,
        method="coregularization",
    )
    named.train()
    assert distance(made, named) == 0.0


def test_a_model_made_later_gets_its_branches_too(trainer, tmp_path, monkeypatch):
    forced(monkeypatch, "coregularization")
    rows = trainer().train_dataset
    made = NoisyTrainer(
        args=make_args(tmp_path / "run", max_steps=4),
        model_init=lambda: make_model("plain"),
        train_dataset=rows,
        method="auto",
    )
    made.train()
    assert made.model.num_branches == 2


def test_an_optimizer_of_the_plain_model_is_refused(trainer, tmp_path, monkeypatch):
    forced(monkeypatch, "coregularization")
    model = make_model("plain")
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    made = NoisyTrainer(
        model,
        make_args(tmp_path, max_steps=1),
        train_dataset=trainer().train_dataset,
        optimizers=optimizers,
        method="auto",
    )
    with pytest.raises(ValueError, match="optimizers has the weights of BertForSequenceClassification"):
        made.train()


def test_an_optimizer_of_the_branches_can_be_made_once_the_method_is_chosen(trainer, monkeypatch):
    forced(monkeypatch, "coregularization")
    made = trainer()
    made.choose_method()
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    before = parameters(made)
    made.train()
    assert distance(made, before) > 0


def test_a_resumed_run_takes_the_method_of_the_first(trainer, tmp_path, monkeypatch):
    saving = {"save_strategy": "steps", "save_steps": 2}
    left = forced(monkeypatch, "elr", "gce")
    first = trainer(**saving)
    first.train()
    again = trainer(**saving)
    again.train(resume_from_checkpoint=True)
    assert again.choice == first.choice
    again = trainer(**saving)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert distance(parameters(first), parameters(again)) == 0.0
    assert left == ["gce"]


def test_other_rows_are_measured_anew(trainer, monkeypatch):
    def chosen(**changes: Any) -> str:
        made = trainer(**changes)
        made.train()
        return made.choice.method

    forced(monkeypatch, "elr", "gce", "sce", "tce")
    assert chosen(save_strategy="steps", save_steps=2) == "elr"
    assert chosen(rate=0.1) == "gce"
    assert chosen(seed=7) == "sce"
    assert chosen(folder="other") == "tce"


def test_another_run_is_measured_before_it_is_refused(trainer, monkeypatch):
    forced(monkeypatch, "elr", "gce")
    trainer(save_strategy="steps", save_steps=2).train()
    with pytest.raises(ValueError, match="belongs to another run"):
        trainer(rate=0.1).train(resume_from_checkpoint=True)


def test_features_of_random_weights_say_nothing(tmp_path):
    rows = rows_with_features(0.3, 300).rename_column("features", "vectors")
    rows = rows.map(lambda row: {"input_ids": [5, 6, row["label"]], "attention_mask": [1, 1, 1]})
    rows = rows.filter(lambda row: row["label"] < 3)
    made = NoisyTrainer(make_model("plain"), make_args(tmp_path, max_steps=1), None, rows, method="auto")
    made.train()
    assert "random weights" in made.choice.why


def test_features_decide_between_methods(trainer):
    informed = trainer(folder="informed")
    rows = informed.train_dataset.remove_columns("features")
    random = np.random.default_rng(0).normal(size=(len(rows), 16)).tolist()
    uninformed = trainer(rows=rows.add_column("features", random), folder="uninformed")
    for made in (informed, uninformed):
        made.train()
    assert informed.choice.method == "soft_correction"
    assert uninformed.choice.method == "gjs"


def test_the_reason_names_class_frequencies_and_noise():
    why = choose(noisy(0.3)).why
    assert "about 30% of the labels are wrong at random" in why
    assert "most likely those of the given labels (90%)" in why


@pytest.mark.parametrize(("missing_rate", "method"), [(False, "soft_correction"), (True, "cross_entropy")])
def test_checked_sets_are_corrected_unless_a_missing_rate_does_so(missing_rate, method):
    index = np.arange(2)
    checked = CheckedRows(index, index, ["random"] * 2, np.ones(2), np.zeros(2, np.int64), 2)
    assert auto._of_several_labels(LABEL_SETS, checked, missing_rate).method == method
