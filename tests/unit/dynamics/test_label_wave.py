import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from hf_noisy.dynamics import label_wave
from hf_noisy.dynamics.label_wave import FOLDER, LabelWave, first_minimum
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import distance, make_args, make_model, make_rows, make_trainer, parameters, run
from tests.unit.dynamics.test_recorder import Augmented

SCRIPT = [9, 6, 3, 2, 3, 9, 1, 0, 0]  # averages of three: 6, 3.67, 2.67 (epoch 6), 4.67 (epoch 7)
MINIMUM, STOP = 6, 7


@pytest.mark.parametrize(
    ("changes", "window", "patience", "candidate", "stop"),
    [
        ([], 3, 1, None, False),
        ([5, 4], 3, 1, None, False),
        ([5, 4, 3], 3, 1, 2, False),
        (SCRIPT, 3, 1, 4, True),
        (SCRIPT[:5], 3, 1, 4, False),
        (SCRIPT, 3, 5, 8, False),
        ([5, 4, 6, 1, 1, 9], 1, 1, 1, True),
        ([5, 4, 6, 1, 1, 9], 1, 2, 3, True),
        ([0, 0, 0], 2, 1, 1, True),
    ],
)
def test_the_first_local_minimum_of_the_average(changes, window, patience, candidate, stop):
    assert first_minimum(changes, window, patience) == (candidate, stop)


class Scripted(LabelWave):
    """Each epoch so many rows change as the script says."""

    def _predict(self, args: Any, kwargs: Any) -> Any:
        epoch = self.epoch + 1
        last = np.zeros(21, dtype=np.int32) if self._predictions is None else self._predictions.copy()
        if epoch > 1:
            last[: SCRIPT[epoch - 2]] += 1
        return last


class Weights(TrainerCallback):
    """The weights after each epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        self.seen[round(state.epoch)] = parameters(model)


@pytest.mark.parametrize("trainer_class", [Trainer, NoisyTrainer])
def test_training_stops_and_the_weights_of_the_minimum_come_back(trainer_class, tmp_path):
    wave, weights = Scripted(), Weights()
    callbacks = {"callbacks": [wave, weights]}
    arguments = make_args(tmp_path, num_train_epochs=10)
    trainer = trainer_class(make_model("plain"), arguments, train_dataset=make_rows(), **callbacks)
    trainer.train()
    assert trainer.state.epoch == STOP
    assert wave.candidate == MINIMUM
    assert distance(parameters(trainer.model), weights.seen[MINIMUM]) == 0.0
    assert distance(weights.seen[MINIMUM], weights.seen[STOP]) > 1e-3
    logged = [entry["prediction_changes"] for entry in trainer.state.log_history if "prediction_changes" in entry]
    assert logged == SCRIPT[: STOP - 1]
    assert [file.stem for file in (tmp_path / FOLDER).glob("weights-*")] == [f"weights-{MINIMUM}"]


def test_the_logs_of_an_epoch_are_kept(tmp_path):
    trainer = run(tmp_path, trainer={"callbacks": [Scripted()]}, num_train_epochs=4, logging_strategy="epoch")
    assert len([entry for entry in trainer.state.log_history if "loss" in entry]) == 4


def test_the_teacher_comes_back_with_its_student(tmp_path):
    class Teacher(TrainerCallback):
        seen: dict[int, Any]

        def on_epoch_end(self, args, state, control, **kwargs):
            self.seen[round(state.epoch)] = {k: v.clone() for k, v in trainer.method.state_dict().items()}

    teacher = Teacher()
    teacher.seen = {}
    trainer = make_trainer(tmp_path, "nrd", trainer={"callbacks": [teacher, Scripted()]}, num_train_epochs=10)
    trainer.train()
    assert trainer.state.epoch == STOP
    assert distance(dict(trainer.method.state_dict()), teacher.seen[MINIMUM]) == 0.0
    assert distance(teacher.seen[MINIMUM], teacher.seen[STOP]) > 0


class Predictions(TrainerCallback):
    """What a plain forward pass in the order of the rows predicts after each epoch."""

    def __init__(self, rows: Any) -> None:
        columns = rows.with_format(None)
        self.inputs = {name: torch.as_tensor(columns[name][:]) for name in ("input_ids", "attention_mask")}
        self.seen: list[torch.Tensor] = []

    @torch.no_grad()
    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        model.eval()
        self.seen.append(model(**self.inputs).logits.argmax(-1))

    @property
    def changes(self) -> list[int]:
        return [int((a != b).sum()) for a, b in zip(self.seen, self.seen[1:], strict=False)]


@pytest.mark.parametrize(
    ("trainer_class", "model"), [(Trainer, "plain"), (NoisyTrainer, "branches"), (NoisyTrainer, "peft")]
)
def test_changes_are_those_of_a_plain_forward_pass(trainer_class, model, tmp_path):
    rows = make_rows(model)
    wave, plain = LabelWave(patience=9), Predictions(rows)
    arguments = make_args(tmp_path, num_train_epochs=5, learning_rate=0.5)
    trainer_class(make_model(model), arguments, train_dataset=rows, callbacks=[plain, wave]).train()
    assert wave.changes == plain.changes
    assert len(plain.changes) == 4
    assert sum(plain.changes) > 0
    saved = load_file(tmp_path / FOLDER / "predictions-5.safetensors")["predictions"]
    assert saved.tolist() == plain.seen[-1].tolist()


def test_training_is_not_changed_by_a_random_number(tmp_path):
    rows = Augmented(make_rows("vit"))
    settings = {"rows": rows, "num_train_epochs": 3}
    plain = run(tmp_path / "plain", "cross_entropy", "vit", **settings)
    wave = LabelWave()
    watched = run(tmp_path / "watched", "cross_entropy", "vit", trainer={"callbacks": [wave]}, **settings)
    assert len(wave.changes) == 2
    assert distance(plain, watched) == 0.0


def test_rows_that_draw_look_the_same_in_every_epoch(tmp_path):
    rows = Augmented(make_rows("vit"))
    wave = LabelWave(patience=9)
    run(tmp_path, "cross_entropy", "vit", rows=rows, trainer={"callbacks": [wave]}, learning_rate=0.0)
    assert wave.changes == [0]


# With "steps" a checkpoint is written before on_epoch_end.
@pytest.mark.parametrize(("strategy", "restore"), [("epoch", True), ("steps", False)])
def test_a_resumed_run_takes_the_same_decision(strategy, restore, tmp_path):
    saving = {"save_strategy": strategy, "save_steps": 3, "num_train_epochs": 10}
    whole = run(tmp_path, trainer={"callbacks": [Scripted()]}, **saving)
    expected = parameters(whole)
    again = run(
        tmp_path,
        trainer={"callbacks": [Scripted()]},
        resume=str(tmp_path / "checkpoint-12"),
        restore_callback_states_from_checkpoint=restore,
        **saving,
    )
    assert again.state.epoch == STOP
    assert distance(expected, parameters(again)) == 0.0
    state = json.loads((tmp_path / "checkpoint-12" / "trainer_state.json").read_text())
    changes = state["stateful_callbacks"]["Scripted"]["attributes"]["changes"]
    assert changes == SCRIPT[: 3 if strategy == "epoch" else 2]


def test_a_run_that_had_stopped_gives_its_model_again(tmp_path):
    saving = {"save_strategy": "epoch", "num_train_epochs": 10}
    expected = parameters(run(tmp_path, trainer={"callbacks": [Scripted()]}, **saving))
    last = str(tmp_path / f"checkpoint-{3 * STOP}")
    again = run(tmp_path, trainer={"callbacks": [Scripted()]}, resume=last, **saving)
    assert again.state.global_step <= 3 * STOP + 1
    assert distance(expected, parameters(again)) == 0.0


def test_added_at_a_resume_it_counts_from_there(tmp_path):
    saving = {"save_strategy": "epoch", "num_train_epochs": 8}
    run(tmp_path, **saving)
    wave = LabelWave(patience=9)
    run(tmp_path, trainer={"callbacks": [wave]}, resume=str(tmp_path / "checkpoint-9"), **saving)
    assert wave.epoch == 8
    assert len(wave.changes) == 5  # from the predictions of epoch 3


def test_an_epoch_cut_short_does_not_count(tmp_path):
    wave = LabelWave(patience=9)
    run(tmp_path, trainer={"callbacks": [wave]}, max_steps=8)
    assert (wave.epoch, len(wave.changes)) == (2, 1)


def test_a_model_that_diverged_is_no_minimum(tmp_path):
    class Broken(TrainerCallback):
        def on_epoch_begin(self, args, state, control, model=None, **kwargs):
            model.classifier.bias.data.fill_(torch.nan)

    callbacks = [Broken(), LabelWave()]
    trainer = Trainer(make_model("plain"), make_args(tmp_path), train_dataset=make_rows(), callbacks=callbacks)
    with pytest.raises(ValueError, match="not finite"):
        trainer.train()


def test_a_new_run_forgets_the_old_one(tmp_path):
    wave = Scripted()
    run(tmp_path, trainer={"callbacks": [wave]}, num_train_epochs=10)
    run(tmp_path, trainer={"callbacks": [wave]}, num_train_epochs=2)
    assert wave.changes == SCRIPT[:1]
    assert {file.stem for file in (tmp_path / FOLDER).glob("*")} == {"manifest", "predictions-1", "predictions-2"}


def test_a_lost_file_is_reported(tmp_path, monkeypatch):
    class Loses(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            if state.epoch == STOP:
                (tmp_path / FOLDER / f"weights-{MINIMUM}.safetensors").unlink()

    warnings: list[str] = []
    monkeypatch.setattr(label_wave.logger, "warning", warnings.append)
    run(tmp_path, trainer={"callbacks": [Scripted(), Loses()]}, num_train_epochs=10)
    assert [f"weights of epoch {MINIMUM} are not at" in text for text in warnings] == [True]


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("patience", 0)])
def test_bad_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        LabelWave(**{name: value})


def test_two_that_choose_the_model_are_refused(tmp_path):
    settings = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    callbacks = {"callbacks": [LabelWave(), EarlyStoppingCallback()], "eval_dataset": make_rows()}
    with pytest.raises(ValueError, match="load_best_model_at_end"):
        run(tmp_path, trainer=callbacks, **settings)


def test_rows_of_its_own_are_predicted(tmp_path):
    wave = LabelWave(
        make_rows(count=20), data_collator=lambda rows: {k: torch.tensor([r[k] for r in rows]) for k in rows[0]}
    )
    run(tmp_path, trainer={"callbacks": [wave]}, save_strategy="epoch", num_train_epochs=2)
    assert len(load_file(tmp_path / FOLDER / "predictions-2.safetensors")["predictions"]) == 20
    settings = {"resume": str(tmp_path / "checkpoint-3"), "restore_callback_states_from_checkpoint": True}
    with pytest.raises(ValueError, match="set it to False"):
        run(tmp_path, trainer={"callbacks": [wave]}, **settings)


def test_other_data_at_a_resume_are_refused(tmp_path):
    arguments = make_args(tmp_path, num_train_epochs=2, save_strategy="epoch")

    def train(rows, resume=None):
        # A stock trainer: ours would refuse the rows before the callback sees them.
        trainer = Trainer(make_model("plain"), arguments, train_dataset=rows, callbacks=[LabelWave()])
        trainer.train(resume_from_checkpoint=resume)

    train(make_rows())
    with pytest.raises(ValueError, match="20 rows, the run that is resumed had 21"):
        train(make_rows(count=20), str(tmp_path / "checkpoint-3"))
