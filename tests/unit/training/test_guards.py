"""Training that has gone wrong stops with the row and the step, and saves nothing over what was right."""

import math

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from hf_noisy.methods import Batch, Method, Step
from hf_noisy.training.checkpoints import last_whole_checkpoint
from hf_noisy.training.guards import LossWatch, refuse_broken_weights
from tests.contract.runs import distance, file_contents, make_rows, make_trainer, run

SAVING = {"save_strategy": "steps", "save_steps": 3}


class Breaks(Method):
    """Cross-entropy whose loss of row 5 is not finite in the second epoch."""

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        outputs = model(**batch.inputs)
        losses = nn.functional.cross_entropy(outputs.logits, batch.labels, reduction="none")
        return Step(torch.where((batch.index == 5) & (batch.epoch == 1), math.nan, losses), outputs)


class Spoils(TrainerCallback):
    """Makes a weight infinite after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            next(model.parameters()).data[0, 0] = math.inf


# Logged at each step, never before the checkpoint, and never before the end.
@pytest.mark.parametrize("settings", [SAVING, {**SAVING, "logging_strategy": "no"}, {"logging_strategy": "no"}])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_loss_that_is_not_finite_stops_training(settings, accumulation, tmp_path):
    cut = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    trainer = make_trainer(tmp_path, Breaks(), **settings, **cut)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in step [456] .* 1 of \d rows, first for row 5 of train_"
    ):
        trainer.train()
    if "save_strategy" in settings:
        assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
        before = file_contents(tmp_path)
        with pytest.raises(FloatingPointError):
            make_trainer(tmp_path, Breaks(), **settings, **cut).train(resume_from_checkpoint=True)
        assert file_contents(tmp_path) == before


@pytest.mark.parametrize("step", [6, 8])
def test_weights_that_are_not_finite_are_not_saved(step, tmp_path):
    """Of the step that broke them the loss is right, so that the losses do not tell."""
    settings = {**SAVING, "max_steps": 8, "logging_strategy": "no", "trainer": {"callbacks": [Spoils(step)]}}
    with pytest.raises(FloatingPointError, match=f"weight .* is not finite after step {step}"):
        run(tmp_path, **settings)
    # Of the last step Trainer would write a checkpoint too.
    last = str(tmp_path / ("checkpoint-3" if step == 6 else "checkpoint-6"))
    assert last_whole_checkpoint(tmp_path) == last
    run(tmp_path, resume=True, max_steps=8, **SAVING)


def test_weights_are_looked_at_when_training_ends(tmp_path):
    with pytest.raises(FloatingPointError, match="is not finite after step 6"):
        run(tmp_path, trainer={"callbacks": [Spoils(6)]}, logging_strategy="no")


def test_losses_are_looked_at_together():
    watch = LossWatch(0.1)
    bad = torch.tensor([1.0, math.inf])
    for step in range(1, 100):
        watch.add(bad if step == 7 else torch.ones(2), torch.tensor([step, step + 50]), step, step / 10)
    with pytest.raises(
        FloatingPointError,
        match=r"loss is inf in step 7 \(epoch 0.70\) for 1 of 2 rows, first for row 57 of train_dataset; .* below 0.1",
    ):
        watch.add(torch.ones(2), torch.tensor([0, 1]), 100, 10.0)
    watch.check()  # what was told once is not told again


def test_rows_without_numbers_are_not_named():
    watch = LossWatch(0.1)
    watch.add(torch.tensor([math.nan]), torch.tensor([-1]), 1, 0.0)
    with pytest.raises(FloatingPointError, match="for 1 of 1 rows; inspect"):
        watch.check()


def test_the_broken_weight_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    refuse_broken_weights(model, 1)
    model[1].bias.data[1] = math.nan
    with pytest.raises(FloatingPointError, match=r"weight 1.bias is not finite after step 4"):
        refuse_broken_weights(model, 4)


def test_evaluation_and_the_watch_do_not_change_training(tmp_path):
    plain = run(tmp_path / "plain")
    watched = run(tmp_path / "watched", eval_strategy="steps", eval_steps=1, trainer={"eval_dataset": make_rows()})
    assert distance(plain, watched) == 0.0
