"""A checkpoint is whole and of the same run, or it is not gone on from."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertForSequenceClassification, TrainerCallback

from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.methods import ELR
from hf_noisy.models import BranchedModel
from hf_noisy.training.checkpoints import (
    STATE_FILE,
    checkpoint_to_resume,
    last_whole_checkpoint,
    refuse_unwritable,
    whole_or_removed,
)
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import bert, distance, file_contents, make_model, make_rows, make_trainer, run

SAVING = {"save_strategy": "steps", "save_steps": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six steps of a method with a state of its own, with checkpoints of steps 3 and 6."""
    return run(tmp_path_factory.mktemp("finished"), "elr", **SAVING)


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    shutil.copytree(finished.args.output_dir, tmp_path / "run")
    return tmp_path / "run"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SPOIL = {"cut": cut, "flip": flip, "missing": Path.unlink}
UNLISTED = {"trainer_state.json", STATE_FILE}


@pytest.mark.parametrize("spoil", SPOIL)
def test_one_spoilt_file_makes_a_checkpoint_no_longer_whole(spoil, folder, caplog):
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-6")
    contents = file_contents(folder / "checkpoint-6")
    listed = {"model.safetensors", "method.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"}
    assert listed | UNLISTED < contents.keys()
    for name, content in contents.items():
        if (name == STATE_FILE and spoil == "missing") or (name in UNLISTED and spoil == "flip"):
            continue  # stock checkpoints may have none; what is read as JSON or a zip archive is known by that alone
        SPOIL[spoil](folder / "checkpoint-6" / name)
        assert last_whole_checkpoint(folder) == str(folder / "checkpoint-3"), name
        (folder / "checkpoint-6" / name).write_bytes(content)
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-6")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "config.json"])
def test_a_checkpoint_without_digests_is_known_by_its_formats(name, folder):
    (folder / "checkpoint-6" / STATE_FILE).unlink()
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-6")
    cut(folder / "checkpoint-6" / name)
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-3")


def test_weights_in_other_shards_are_whole(folder, finished, tmp_path):
    checkpoint = folder / "checkpoint-3"
    (checkpoint / "model.safetensors").unlink()
    model = BertForSequenceClassification.from_pretrained(f"{finished.args.output_dir}/checkpoint-3")
    model.save_pretrained(checkpoint, max_shard_size="2KB")
    shards = sorted(checkpoint.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert checkpoint_to_resume(str(checkpoint), folder) == str(checkpoint)
    resumed = run(tmp_path / "again", "elr", resume=str(checkpoint), **SAVING)
    assert distance(resumed, finished) == 0.0
    for fault in (cut, Path.unlink):
        fault(shards[-1])
        with pytest.raises(ValueError, match=f"is not whole: {shards[-1].name} is (truncated|missing)"):
            checkpoint_to_resume(str(checkpoint), folder)
    for shard in checkpoint.glob("model*"):
        shard.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"is not whole: .*model.safetensors"):
        checkpoint_to_resume(str(checkpoint), folder)


def test_no_folder_and_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint-last").mkdir()
    assert last_whole_checkpoint(tmp_path) is None
    assert last_whole_checkpoint(tmp_path / "none") is None
    for given in (None, False):
        assert checkpoint_to_resume(given, tmp_path) is None
    with pytest.raises(ValueError, match=f"output_dir {tmp_path} holds no whole checkpoint; train without it"):
        run(tmp_path, resume=True)


def test_true_resumes_from_the_last_whole_one(finished, folder):
    cut(folder / "checkpoint-6" / "optimizer.pt")
    resumed = run(folder, "elr", resume=True, **SAVING)
    assert distance(resumed, finished) == 0.0
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-6")


def test_a_spoilt_checkpoint_by_name_is_refused(folder):
    cut(folder / "checkpoint-6" / "optimizer.pt")
    with pytest.raises(ValueError, match=r"not whole: file .*optimizer.pt' is damaged.*; resume from .*checkpoint-3"):
        run(folder, "elr", resume=str(folder / "checkpoint-6"), **SAVING)
    shutil.rmtree(folder / "checkpoint-3")
    with pytest.raises(ValueError, match="no other checkpoint beside it is, so train anew"):
        run(folder, "elr", resume=str(folder / "checkpoint-6"), **SAVING)


def changed(rows: Dataset, column: str) -> Dataset:
    return Dataset.from_dict({**rows.to_dict(), column: [rows[column][1], *rows[column][1:]]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": make_rows(count=22)}, "rows of train_dataset differ (21 then, 22 now)"),
        ({"rows": changed(make_rows(), "label")}, "labels differ (not those of then)"),
        ({"rows": changed(make_rows(), "input_ids")}, "contents of the rows differ (not those of then)"),
        ({"method": "cross_entropy"}, "methods differ (ELR then, CrossEntropy now)"),
        ({"model": 4}, "classes differ (3 then, 4 now)"),
        ({"seed": 1}, "seed differ (42 then, 1 now)"),
        ({"per_device_train_batch_size": 4}, "rows per step differ (8 then, 4 now)"),
        ({"optim": "adamw_torch"}, "optim differ (sgd then, adamw_torch now)"),
        ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type differ (linear then, cosine now)"),
        ({"weight_decay": 0.1}, "weight_decay differ (0.0 then, 0.1 now)"),
        ({"warmup_steps": 2}, "warmup_steps differ (0 then, 2 now)"),
        ({"adam_beta1": 0.5}, "adam_beta1 differ (0.9 then, 0.5 now)"),
        ({"optim_args": "momentum=0.5"}, "optim_args differ (None then, momentum=0.5 now)"),
        ({"method": ELR(regularization_weight=1.0)}, "regularization_weight of the method differ (3.0 then, 1.0 now)"),
        ({"model": "lora"}, "trained weights differ ("),
    ],
)
def test_another_run_is_not_gone_on_with(changes, message, folder):
    before = file_contents(folder)
    changes = {"method": "elr", **changes}
    if changes.get("model") == 4:
        config = bert().config
        config.num_labels = changes["model"]
        changes["model"] = BertForSequenceClassification(config)
    trainer = make_trainer(folder, **changes, **SAVING)
    with pytest.raises(ValueError, match="belongs to another run") as refused:
        trainer.train(resume_from_checkpoint=True)
    assert message in str(refused.value)
    # Also for who asked for the checkpoint of a run that was killed before its first one, and got that of another.
    assert "or train anew, without resume_from_checkpoint and in another output_dir" in str(refused.value)
    assert file_contents(folder) == before


FACTORS = r"factors of the adapters \(from lora_alpha\) differ \(4 then, 8 now\)"
SIZES = r"trained weights differ \(566 numbers in 32 tensors \(\w+\) then, 1,078 numbers in 32 tensors \(\w+\) now\)"


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"r": 4}, SIZES),
        ({"r": 2, "lora_alpha": 16}, FACTORS),
    ],
    ids=["rank", "alpha"],
)
def test_other_adapters_are_refused(lora, message, tmp_path):
    given = {"method": "coregularization", **SAVING}
    run(tmp_path, model=BranchedModel.from_model(bert(), num_branches=2, lora={"r": 2, "lora_alpha": 8}), **given)
    other = BranchedModel.from_model(bert(), num_branches=2, lora=lora)
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, model=other, **given).train(resume_from_checkpoint=True)


def rates(trainer):
    return {entry["step"]: entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_new_learning_rate_is_used_and_told(schedule, tmp_path, caplog):
    settings = {**SAVING, "lr_scheduler_type": schedule}
    run(tmp_path / "run", **settings)
    run(tmp_path / "run", resume=str(tmp_path / "run" / "checkpoint-3"), **settings)
    assert "resumed with a learning rate" not in caplog.text
    again = run(tmp_path / "run", resume=str(tmp_path / "run" / "checkpoint-3"), **settings, learning_rate=0.02)
    assert "resumed with a learning rate of 0.02, which was 0.1 before" in caplog.text
    expected = rates(run(tmp_path / "alone", **settings, learning_rate=0.02))
    assert {step: rates(again)[step] for step in (4, 5, 6)} == pytest.approx({s: expected[s] for s in (4, 5, 6)})


class TwoRates(NoisyTrainer):
    def create_optimizer(self, model=None):
        rate, (head, *others) = self.args.learning_rate, list(self.model.parameters())[::-1]
        groups = [{"params": [head], "lr": 10 * rate}, {"params": others, "lr": rate}]
        self.optimizer = torch.optim.SGD(groups)
        return self.optimizer


@pytest.mark.parametrize(("rate", "factor"), [(0.1, 1.0), (0.01, 0.1)])
def test_rates_of_a_subclass_keep_their_proportion(rate, factor, tmp_path):
    run(tmp_path, trainer_class=TwoRates, **SAVING)
    resume = str(tmp_path / "checkpoint-3")
    again = run(tmp_path, resume=resume, trainer_class=TwoRates, **SAVING, learning_rate=rate)
    found = [group["initial_lr"] for group in again.optimizer.param_groups]
    assert found == pytest.approx([1.0 * factor, 0.1 * factor])
    assert rates(again)[4] == pytest.approx(1.0 * factor * 3 / 6)


def test_more_epochs_stretch_the_schedule(tmp_path):
    run(tmp_path / "run", **SAVING)
    again = run(tmp_path / "run", resume=True, **SAVING, num_train_epochs=4)
    expected = rates(run(tmp_path / "alone", num_train_epochs=4))
    assert {step: rates(again)[step] for step in (7, 12)} == pytest.approx({s: expected[s] for s in (7, 12)})


def test_a_new_learning_rate_of_an_optimizer_of_the_user_is_used(tmp_path):
    for resume, rate in ((None, 0.1), (str(tmp_path / "checkpoint-3"), 0.01)):
        model = make_model("plain")
        optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.5)
        trainer = make_trainer(tmp_path, model=model, trainer={"optimizers": (optimizer, None)}, **SAVING)
        trainer.train(resume_from_checkpoint=resume)
    assert rates(trainer)[4] == pytest.approx(0.01 * 3 / 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 0.9}, "momentum of the optimizer differ (0.5 then, 0.9 now)"),
        ({"gamma": 0.1}, "gamma of the schedule differ (0.5 then, 0.1 now)"),
        ({"milestones": [2]}, "milestones of the schedule differ"),
        ({"rate": 0.01}, None),
    ],
)
def test_settings_of_an_optimizer_of_the_user_that_a_checkpoint_would_replace(changes, message, tmp_path):
    given = {"rate": 0.1, "momentum": 0.5, "gamma": 0.5, "milestones": [4]}
    for now, resume in ((given, None), ({**given, **changes}, str(tmp_path / "checkpoint-3"))):
        model = make_model("plain")
        optimizer = torch.optim.SGD(model.parameters(), now["rate"], momentum=now["momentum"])
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, now["milestones"], now["gamma"])
        trainer = make_trainer(tmp_path, model=model, trainer={"optimizers": (optimizer, schedule)}, **SAVING)
        if message is None or resume is None:
            trainer.train(resume_from_checkpoint=resume)
            continue
        with pytest.raises(ValueError, match="belongs to another run") as refused:
            trainer.train(resume_from_checkpoint=resume)
        assert message in str(refused.value)


def test_columns_that_training_does_not_read_may_change(folder):
    rows = make_rows().add_column("clean_label", [0] * 21)
    trainer = run(folder, "elr", rows=rows, resume=str(folder / "checkpoint-3"), **SAVING)
    assert trainer.state.global_step == trainer.state.max_steps > 3


class Full(TrainerCallback):
    """Leaves no room for one file of the checkpoint of step 6."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 6:
            Path(args.output_dir, "checkpoint-6").mkdir()
            Path(args.output_dir, "checkpoint-6", self.name).symlink_to("/dev/full")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_full_disk_costs_no_earlier_checkpoint(name, finished, tmp_path):
    settings = {**SAVING, "save_total_limit": 1, "trainer": {"callbacks": [Full(name)]}}
    with pytest.raises(OSError, match=r"checkpoint-6 could not be written \(.*\) and was removed, .* GB are free"):
        run(tmp_path, "elr", **settings)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    resumed = run(tmp_path, "elr", resume=True, **SAVING)
    assert distance(resumed, finished) == 0.0


def test_a_checkpoint_that_is_written_again_is_not_whole_meanwhile(folder):
    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 6:
                (folder / "checkpoint-6" / "optimizer.pt").unlink()
                (folder / "checkpoint-6" / "optimizer.pt").mkdir()  # so that it cannot be written

    trainer = make_trainer(folder, "elr", trainer={"callbacks": [Look()]}, **SAVING)
    with pytest.raises(OSError, match="could not be written"):
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-3")


def test_an_output_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    trainer = make_trainer(tmp_path, **SAVING)
    (tmp_path / "file").write_text("kept")
    trainer.args.output_dir = str(tmp_path / "file" / "output")
    with pytest.raises(OSError, match="there is a file where a folder should be"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert (tmp_path / "file").read_text() == "kept"
    refuse_unwritable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="this user may not write there"):
        refuse_unwritable(tmp_path)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("branches", list(make_rows())),
        ("plain", make_rows().to_iterable_dataset()),
        pytest.param("vit", None, marks=pytest.mark.slow),
        pytest.param("peft", None, marks=pytest.mark.slow),
    ],
)
def test_a_finished_run_has_no_step_left(kind, rows, tmp_path):
    name = "coregularization" if kind == "branches" else "cross_entropy"
    settings = {"rows": rows or make_rows(kind), "max_steps": 5, "save_strategy": "steps", "save_steps": 5}
    runs = []
    for resume in (None, True):
        recorder = DynamicsRecorder({"train": make_rows(kind)})
        trainer = run(
            tmp_path / kind, name, make_model(kind), resume=resume, trainer={"callbacks": [recorder]}, **settings
        )
        runs.append((trainer, recorder.trajectories.logits("train")))
    assert runs[1][0].state.global_step == 5
    assert distance(runs[0][0], runs[1][0]) == 0.0, kind
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_memory_of_a_method_is_among_the_digests(finished):
    assert isinstance(finished.method, ELR)
    assert torch.is_tensor(next(iter(finished.method.state_dict().values())))


def test_the_last_file_waits_for_those_of_all_processes(tmp_path, monkeypatch):
    trainer, seen = make_trainer(tmp_path, max_steps=3, **SAVING), []
    monkeypatch.setattr(
        trainer.accelerator,
        "wait_for_everyone",
        lambda: seen.append({path.name for path in tmp_path.glob("checkpoint-3/*")}),
    )
    trainer.train()
    assert any("rng_state.pth" in names and "trainer_state.json" not in names for names in seen)


@pytest.mark.parametrize("error", [RuntimeError(), OSError("no room\nat all")])
def test_what_failed_is_told_whatever_it_says(error, tmp_path):
    words = r"checkpoint-3 could not be written \((RuntimeError\(\)|no room)\)"
    with pytest.raises(OSError, match=words) as told, whole_or_removed(tmp_path / "checkpoint-3"):
        raise error
    assert told.value.__cause__ is error


def test_a_run_beside_checkpoints_of_another_says_so(folder, caplog):
    run(folder, "elr", max_steps=1)  # which saves nothing
    run(folder, "elr", resume=str(folder / "checkpoint-3"), **SAVING)
    assert "not of this run" not in caplog.text
    run(folder, "elr", max_steps=1, **SAVING)
    assert "has checkpoint-6, which is not of this run" in caplog.text
