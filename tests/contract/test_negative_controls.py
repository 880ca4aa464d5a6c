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


def test_accumulation_catches_numbers_of_the_global_generator(tmp_path):
    assert accumulated(tmp_path, faults.GlobalRandom()) > CAUGHT


@pytest.mark.parametrize("trainer_class", [faults.MeanOfMicroBatch, faults.DividedTwice])
def test_accumulation_catches_a_wrong_scale(trainer_class, tmp_path):
    assert accumulated(tmp_path, "cross_entropy", trainer_class=trainer_class) > CAUGHT


def test_ragged_accumulation_catches_what_even_batches_hide(tmp_path):
    # The mean of means is right as long as all micro-batches have one size, and wrong at the end of the data.
    class MeanOfMeans(faults.MeanOfMicroBatch):
        loss_is_scaled_for_ga = False

    even = {"rows": make_rows("plain", 24), "trainer_class": MeanOfMeans}
    assert accumulated(tmp_path, "cross_entropy", **even) < 1e-6
    ragged = {"rows": make_rows("plain", 21), "trainer_class": MeanOfMeans}
    assert accumulated(tmp_path, "cross_entropy", **ragged) > CAUGHT


def resumed(folder, method_class):
    settings = {"save_strategy": "steps", "save_steps": 1}
    whole = run(folder, method_class(21, CLASSES), **settings)
    checkpoint = str(folder / f"checkpoint-{STEPS_AN_EPOCH + 1}")
    return distance(whole, run(folder / "again", method_class(21, CLASSES), resume=checkpoint, **settings))


def test_resume_keeps_the_state_of_a_method(tmp_path):
    assert resumed(tmp_path, faults.Memory) == 0.0
    assert (tmp_path / f"checkpoint-{STEPS_AN_EPOCH}" / "method.safetensors").is_file()


def test_resume_catches_a_forgotten_state(tmp_path):
    assert resumed(tmp_path, faults.Forgetful) > CAUGHT


def test_state_keyed_by_row_is_the_same_however_batches_are_cut(tmp_path):
    assert (
        distance(
            run(tmp_path, faults.Memory(21, CLASSES)),
            run(tmp_path, faults.Memory(21, CLASSES), per_device_train_batch_size=2, gradient_accumulation_steps=4),
        )
        < 1e-6
    )


def test_checkpoint_of_another_method_is_refused(tmp_path):
    run(tmp_path, CrossEntropy(), save_strategy="steps", save_steps=3)
    trainer = make_trainer(tmp_path, faults.Memory(21, CLASSES))
    with pytest.raises(ValueError, match=r"methods differ \(CrossEntropy then, Memory now\)"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
