"""Each guard of the contract catches the fault it is there for."""

import pytest

from hf_noisy.losses import CrossEntropy
from tests.contract import faults
from tests.contract.runs import CLASSES, STEPS_AN_EPOCH, distance, make_rows, make_trainer, run

CAUGHT = 1e-4  # a hundred times what the guards tolerate


def accumulated(folder, method, **changes):
    whole = run(folder, method, **changes)
    return distance(
        whole, run(folder, method, per_device_train_batch_size=2, gradient_accumulation_steps=4, **changes)
    )


@pytest.mark.parametrize("model", ["plain", "tokens", "cells"])
@pytest.mark.parametrize("fault", [faults.GlobalRandom, faults.PlaceInBatch])
def test_accumulation_catches_numbers_that_are_not_of_the_row(fault, model, tmp_path):
    assert accumulated(tmp_path, fault(), model=model) > CAUGHT


@pytest.mark.parametrize("model", ["plain", "tokens", "cells"])
@pytest.mark.parametrize("trainer_class", [faults.MeanOfMicroBatch, faults.DividedTwice])
def test_accumulation_catches_a_wrong_scale(trainer_class, model, tmp_path):
    assert accumulated(tmp_path, "cross_entropy", trainer_class=trainer_class, model=model) > CAUGHT


def test_ragged_accumulation_catches_what_even_batches_hide(tmp_path):
    # The mean of means is right as long as all micro-batches have one size, and wrong at the end of the data.
    class MeanOfMeans(faults.MeanOfMicroBatch):
        loss_is_scaled_for_ga = False

    even = {"rows": make_rows("plain", 24), "trainer_class": MeanOfMeans}
    assert accumulated(tmp_path, "cross_entropy", **even) < 1e-6
    ragged = {"rows": make_rows("plain", 21), "trainer_class": MeanOfMeans}
    assert accumulated(tmp_path, "cross_entropy", **ragged) > CAUGHT


def memory(method_class, model):
    """A method with an entry for each of the 21 rows, each labelled token of them, or each of their cells."""
    labelled = sum(label != -100 for row in make_rows("tokens")["labels"] for label in row)
    sizes = {"plain": (21, CLASSES), "tokens": (labelled, CLASSES), "cells": (21 * CLASSES, 2)}
    return method_class(*sizes[model])


def resumed(folder, method_class, model):
    settings = {"model": model, "save_strategy": "steps", "save_steps": 1}
    whole = run(folder, memory(method_class, model), **settings)
    checkpoint = str(folder / f"checkpoint-{STEPS_AN_EPOCH + 1}")
    return distance(whole, run(folder / "again", memory(method_class, model), resume=checkpoint, **settings))


@pytest.mark.parametrize("model", ["plain", "tokens", "cells"])
def test_resume_keeps_the_state_of_a_method(model, tmp_path):
    assert resumed(tmp_path, faults.Memory, model) == 0.0
    assert (tmp_path / f"checkpoint-{STEPS_AN_EPOCH}" / "method.safetensors").is_file()


@pytest.mark.parametrize("model", ["plain", "tokens", "cells"])
def test_resume_catches_a_forgotten_state(model, tmp_path):
    assert resumed(tmp_path, faults.Forgetful, model) > CAUGHT


@pytest.mark.parametrize("model", ["plain", "tokens", "cells"])
def test_state_keyed_by_row_is_the_same_however_batches_are_cut(model, tmp_path):
    whole = run(tmp_path, memory(faults.Memory, model), model)
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert distance(whole, run(tmp_path, memory(faults.Memory, model), model, **parts)) < 1e-6


def test_checkpoint_of_another_method_is_refused(tmp_path):
    run(tmp_path, CrossEntropy(), save_strategy="steps", save_steps=3)
    trainer = make_trainer(tmp_path, faults.Memory(21, CLASSES))
    with pytest.raises(ValueError, match=r"methods differ \(CrossEntropy then, Memory now\)"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
