"""The folder of a training: its checkpoints survive failures, and it takes the place of the output at the end."""

import os
import shutil
import signal

import pytest
from transformers import TrainingArguments
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.arguments import TextArguments
from hf_noisy.cli.manifest import read_manifest
from hf_noisy.cli.outputs import open_output
from hf_noisy.cli.train import train as run_example
from hf_noisy.core.file_names import MANIFEST
from tests.unit.cli.test_outputs import contents, in_child, names, put, raising, write


def checkpoint(folder, step, whole=True):
    put(folder / f"checkpoint-{step}" / "config.json", "{}")
    if whole:
        put(folder / f"checkpoint-{step}" / "trainer_state.json", "{}")


def train(out, resume=None, overwrite=False, steps=(1, 2), below="", meanwhile=lambda: None):
    """A training that writes checkpoints and a model; what was there when it began."""
    with open_output(out, overwrite) as output, output.training(resume) as folder:
        before = names(folder)
        for step in steps:
            checkpoint(folder / below, step)
        meanwhile()
        put(folder / "model", "trained")
    return before


def test_the_folder_is_visible_and_becomes_the_output(tmp_path):
    def look():
        assert names(tmp_path / "out.training") == [MANIFEST, "checkpoint-1", "checkpoint-2"]
        assert not read_manifest(tmp_path / "out.training")["complete"]

    train(tmp_path / "out", meanwhile=look)
    assert names(tmp_path) == ["out"]
    assert read_manifest(tmp_path / "out")["files"].keys() >= {"model", "checkpoint-2/config.json"}
    with open_output(tmp_path / "out", overwrite=True) as output:
        output.remove_checkpoints()
    assert names(tmp_path / "out") == [MANIFEST, "model"]
    write(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("below", ["", "cross_entropy"])
def test_checkpoints_survive_a_failure_and_are_resumed(tmp_path, capsys, error, below):
    out, folder = tmp_path / "out", tmp_path / "out.training"
    write(out, "1")
    with pytest.raises(error):
        train(out, overwrite=True, below=below, meanwhile=raising(error))
    last = folder / below / "checkpoint-2"
    assert f"--resume_from_checkpoint true continues from '{last}'" in capsys.readouterr().err
    assert contents(out) == {"summary.json": "1"}
    assert names(tmp_path) == ["out", "out.training"]
    for resume in (None, str(tmp_path / "elsewhere" / "checkpoint-1")):
        with pytest.raises(FileExistsError, match=r"checkpoint-2' is of a training that was interrupted; pass --res"):
            train(out, resume, overwrite=True)
    put(folder / ".results.json.0123abcd.tmp")  # of a write that was killed
    for resume in ("true", str(last)):
        before = train(out, resume, overwrite=True, steps=(3,), below=below)
        assert before == sorted([MANIFEST, *(["checkpoint-1", "checkpoint-2"] if not below else [below])])
        assert names(tmp_path) == ["out"]
        shutil.rmtree(out)
        shutil.rmtree(folder, ignore_errors=True)
        with pytest.raises(error):
            train(out, below=below, meanwhile=raising(error))


def test_a_failure_before_the_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        train(tmp_path / "out", steps=(), meanwhile=raising(RuntimeError))
    assert names(tmp_path) == []


def test_a_kill_before_the_first_whole_checkpoint_is_cleaned_up(tmp_path, capsys):
    def killed():
        checkpoint(tmp_path / "out.training", 1, whole=False)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(lambda: train(tmp_path / "out", steps=(), meanwhile=killed)), 0)
    assert names(tmp_path) == [".out.hf-noisy-lock", "out.training"]
    assert train(tmp_path / "out") == [MANIFEST]
    assert "out.training', which a killed training had left without a whole checkpoint" in capsys.readouterr().err
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("removed", range(1, 9))
def test_a_removal_that_is_cut_short_is_completed(tmp_path, monkeypatch, removed):
    def killed():
        for name in ("results.json", "model", "a.png", "b.png"):
            put(tmp_path / "out.training" / name)
        checkpoint(tmp_path / "out.training", 1, whole=False)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(lambda: train(tmp_path / "out", steps=(), meanwhile=killed)), 0)
    done = []

    def and_die(remove):
        def call(*arguments, **options):
            remove(*arguments, **options)
            done.append(arguments[0])
            if len(done) == removed:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, and_die(getattr(os, name)))
    _, status = os.waitpid(in_child(lambda: train(tmp_path / "out")), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    monkeypatch.undo()
    train(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(tmp_path):
    put(tmp_path / "out.training" / "thesis.txt")
    with pytest.raises(FileExistsError, match=r"out\.training' is needed while the training runs, and exists without"):
        train(tmp_path / "out", "true")
    assert names(tmp_path / "out.training") == ["thesis.txt"]


def test_a_folder_that_appears_during_the_training_stays_and_so_does_the_model(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileExistsError, match=r"the result of the run is in '.*out\.new'"):
        train(out, meanwhile=lambda: put(out / "thesis.txt", "years"))
    assert contents(out) == {"thesis.txt": "years"}
    assert names(tmp_path) == ["out", "out.new"]
    assert (tmp_path / "out.new" / "model").read_text() == "trained"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_stopped_at_the_swap(tmp_path, monkeypatch, moment, how, capsys):
    out, folder = tmp_path / "out", tmp_path / "out.training"
    train(out, steps=(7,))

    def stop(*_):
        if how == "interrupt":
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(f"hf_noisy.cli.outputs.{'exchange' if moment == 'before' else 'remove_listed'}", stop)
    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            train(out, overwrite=True)
        capsys.readouterr()
    else:
        os.waitpid(in_child(lambda: train(out, overwrite=True)), 0)
    monkeypatch.undo()
    assert (out / "checkpoint-7").exists() == (moment == "before")
    assert (folder / "checkpoint-7").exists() == (moment == "after")
    if moment == "before":
        with pytest.raises(FileExistsError, match="checkpoint-2' is of a training that was interrupted"):
            train(out, overwrite=True)
    before = train(out, "true" if moment == "before" else None, overwrite=True, steps=(3,))
    assert before == ([MANIFEST, "checkpoint-1", "checkpoint-2", "model"] if moment == "before" else [MANIFEST])
    assert names(tmp_path) == ["out"]
    assert (out / "checkpoint-3").is_dir()


def test_of_several_processes_the_first_alone_locks_and_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with open_output(tmp_path / "out") as output, output.training() as folder:
        monkeypatch.setenv("RANK", "1")
        with open_output(tmp_path / "out") as other, other.training() as same:
            assert same == folder
        assert names(tmp_path) == [".out.hf-noisy-lock", "out.training"]
        assert (output.is_main, other.is_main) == (True, False)
    assert names(tmp_path) == ["out"]
    monkeypatch.setenv("WORLD_SIZE", "1")
    with open_output(tmp_path / "new") as output:
        assert output.is_main  # some launchers number machines, not processes


def test_the_other_commands_run_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    found = CliRunner().invoke(app, ["inject", "docs", "--output", str(tmp_path / "out"), "--noise-rate", "0.25"])
    assert found.exit_code == 2
    assert found.output == ("hf-noisy: inject runs in one process; start it without torchrun and accelerate launch\n")


def test_an_example_that_trains_is_locked_as_a_command_is(tmp_path):
    training = TrainingArguments(str(tmp_path / "deep" / "out"), use_cpu=True)
    (tmp_path / "deep").mkdir()
    with (
        open_output(tmp_path / "deep" / "out"),
        pytest.raises(FileExistsError, match=r"--output_dir '.*out' is being"),
    ):
        run_example(TextArguments(), training)
    assert names(tmp_path / "deep") == []
    training.output_dir = str(tmp_path / "other" / "out")
    with pytest.raises(ValueError, match="method_args belong to"):
        run_example(TextArguments(method="auto", method_args=["a=1"]), training)
    assert names(tmp_path / "other") == []
