"""Canaries on the private parts of `transformers.Trainer` that `NoisyTrainer` builds on."""

import inspect
import re

import pytest
from transformers import Trainer

from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.faults import DividedTwice
from tests.contract.runs import bert, make_args, run

OVERRIDDEN = {
    "_issue_warnings_after_load": ["load_result"],
    "_run_epoch": [
        "model",
        "epoch",
        "train_dataloader",
        "steps_in_epoch",
        "num_update_steps_per_epoch",
        "trial",
        "ignore_keys_for_eval",
        "start_time",
        "resume_from_checkpoint",
        "epochs_trained",
        "steps_trained_in_current_epoch",
    ],
    "_save_checkpoint": ["model", "trial"],
    "_save_rng_state": ["output_dir"],
    "call_model_init": ["trial"],
    "compute_loss": ["model", "inputs", "return_outputs", "num_items_in_batch"],
    # `NoisyTrainer` passes on whatever it is given.
    "create_model_card": [
        "language",
        "license",
        "tags",
        "model_name",
        "finetuned_from",
        "tasks",
        "dataset_tags",
        "dataset",
        "dataset_args",
    ],
    "evaluation_loop": [
        "dataloader",
        "description",
        "prediction_loss_only",
        "ignore_keys",
        "metric_key_prefix",
    ],
    "get_train_dataloader": [],
    "train": ["resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
}
CALLED = {
    "_set_signature_columns_if_needed": [],
    "get_tp_size": [],
    "_get_output_dir": ["trial"],
    "_get_dataloader": ["dataset", "description", "batch_size", "sampler_fn", "is_training", "dataloader_key"],
    "_get_train_sampler": ["train_dataset"],
}


@pytest.mark.parametrize(("name", "parameters"), [*OVERRIDDEN.items(), *CALLED.items()], ids=str)
def test_signature_is_the_one_built_on(name, parameters):
    assert list(inspect.signature(getattr(Trainer, name)).parameters) == ["self", *parameters]


def test_every_override_is_pinned_here():
    own = {name for name, value in vars(NoisyTrainer).items() if inspect.isfunction(value)}
    assert {name for name in own if hasattr(Trainer, name)} - {"__init__"} == OVERRIDDEN.keys()


@pytest.mark.parametrize("name", [name for name in OVERRIDDEN if name != "train"])  # which users call
def test_trainer_still_calls_what_is_overridden(name):
    callers = inspect.getsource(inspect.getmodule(Trainer))
    # One of them is first given a shorter name, another is handed over.
    assert re.search(rf"self\.{name}(\(|\n|,)", callers)


def test_attributes_are_the_ones_built_on(tmp_path):
    trainer = Trainer(bert(), make_args(tmp_path))
    assert Trainer.loss_is_scaled_for_ga is None
    assert trainer._signature_columns is None
    assert trainer.model_accepts_loss_kwargs is True
    assert trainer._train_batch_size == 8
    assert trainer.label_names == ["labels"]
    trainer._set_signature_columns_if_needed()
    assert "input_ids" in trainer._signature_columns


def first_gradient(folder, trainer_class, **settings) -> float:
    trainer = run(folder, "cross_entropy", bert(), trainer_class=trainer_class, max_steps=1, **settings)
    return trainer.state.log_history[0]["grad_norm"]


@pytest.mark.parametrize(("trainer_class", "ratio"), [(NoisyTrainer, 1.0), (DividedTwice, 0.25)])
def test_gradient_does_not_depend_on_accumulation(trainer_class, ratio, tmp_path):
    whole = first_gradient(tmp_path, trainer_class)
    parts = first_gradient(tmp_path, trainer_class, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert parts / whole == pytest.approx(ratio, abs=1e-5)
