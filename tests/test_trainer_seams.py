"""Canaries on the parts of transformers, accelerate, datasets and peft that this package builds on."""

import inspect
import re

import pytest
from transformers import Trainer

from hf_noisy.training.trainer import NoisyTrainer
from tests import upstream
from tests.contract.faults import DividedTwice
from tests.contract.runs import bert, make_args, run

OVERRIDDEN = sorted(name for name in vars(NoisyTrainer) if inspect.isfunction(getattr(Trainer, name, None)))
OVERRIDDEN.remove("__init__")


def test_every_private_name_stands_in_the_table():
    assert upstream.table().keys() == upstream.used()


def test_the_table_says_what_is_overridden():
    said = {name for name, (how, _) in upstream.table().items() if "overridden" in how}
    public = {f"PreTrainedModel.{name}" for name in ("get_expanded_tied_weights_keys", "init_weights", "tie_weights")}
    assert said == upstream.overridden() | public


def test_few_methods_of_trainer_are_overridden():
    assert len(OVERRIDDEN) <= 13
    assert sum(name.startswith("_") for name in OVERRIDDEN) <= 4


@pytest.mark.skipif(upstream.are_older(), reason="the digests are of later versions of the libraries")
def test_no_function_in_the_table_has_changed_upstream():
    known, now = upstream.stored()[1], upstream.digests()
    assert known.keys() == now.keys(), "run python -m tests.upstream"
    changed = [name for name in now if known[name] != now[name]]
    assert not changed, f"read what changed upstream in {', '.join(changed)}, then run python -m tests.upstream"


def test_digests_see_the_body_and_nothing_else():
    def plain(value):
        return value + 1

    def documented(value):
        """With a docstring."""
        # And a comment.
        return value + 1

    def other(value):
        return value + 2

    names = [function.__name__ for function in (plain, documented, other)]
    sources = [inspect.getsource(function) for function in (plain, documented, other)]
    one, same, different = (
        upstream.digest_of(source.replace(name, "function")) for name, source in zip(names, sources, strict=True)
    )
    assert one == same != different


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_overrides_take_what_trainer_gives(name):
    theirs = inspect.signature(getattr(Trainer, name)).parameters
    ours = inspect.signature(getattr(NoisyTrainer, name)).parameters
    assert any(one.kind == one.VAR_POSITIONAL for one in ours.values()) or list(ours) == list(theirs)


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
