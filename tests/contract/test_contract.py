"""What every method keeps: the same parameters come out however a run is cut into batches, processes and sittings."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from hf_noisy import methods
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.dynamics.store import FOLDER
from tests.contract.runs import (
    CASES,
    CLASSES,
    LONG_CASES,
    METHODS,
    NOT_OF_CELLS,
    ONE_LABEL_ONLY,
    SHORT_CASES,
    SLOW,
    STEPS_AN_EPOCH,
    TASK_CASES,
    distance,
    file_contents,
    is_image,
    logged_losses,
    make_model,
    make_rows,
    make_trainer,
    pad,
    peft_warnings_ignored,
    run,
)

TOLERANCE = 1e-6
MOVED = 1e-3  # what a run must at least change, so that two equal runs are not two runs that did nothing


# Of tokens and of several labels, a few cases with all that they have of their own: state, branches, adapters.
FAST_OF_TASKS = [
    ("cross_entropy", "tokens"),
    ("cross_entropy", "cells"),
    ("elr", "tokens"),
    ("nct", "cells-branches"),
    ("co_teaching", "tokens-lora"),
]


def is_of_task(model: str) -> bool:
    return model.startswith(("tokens", "cells"))


def marked(cases: list[tuple[str, str]], fast: list[tuple[str, str]], brief: bool = False) -> list[Any]:
    """Cases that are slow unless in `fast`; methods of `SLOW` are fast only where `brief`, on one kind of model."""

    def is_fast(case: tuple[str, str]) -> bool:
        if is_of_task(case[1]):
            return case in FAST_OF_TASKS
        return case in fast and (case[0] not in SLOW or (brief and case in SHORT_CASES))

    return [case if is_fast(case) else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


# Fast on every kind of model: the baseline, state per row, two networks and a teacher. A loss of the logits has no
# state, and other methods consist of these parts.
ON_EVERY_MODEL = {"cross_entropy", "elr", "nct", "nrd"}
MORE_THAN_A_LOSS = [case for case in CASES if case[0] in ON_EVERY_MODEL or case in LONG_CASES]


def over(cases: list[Any]) -> Any:
    return pytest.mark.parametrize(("method", "model"), cases, ids=lambda value: str(value))


accumulated_cases = over(marked(CASES, MORE_THAN_A_LOSS + SHORT_CASES, brief=True))
# Resuming is fast for what is stored in a way of its own.
STORED = ("cross_entropy", "co_teaching", "dal", "dygen", "elr", "nct", "nrd", "soft_correction")
WITH_STATE = [case for case in SHORT_CASES if case[0] in STORED]
cases_with_state = over(marked(CASES, WITH_STATE))
# What the data loader, mixed precision and the time of a checkpoint do depends little on method and kind of model.
FEW = [case for case in SHORT_CASES if case[0] in ON_EVERY_MODEL]
loader_cases = over(marked(CASES, FEW))
loader_cases_of_texts = over(marked(SHORT_CASES, FEW))
precision_cases = over(marked(CASES, [*FEW, ("dygen", "branches")]))
timed_cases = over(marked(LONG_CASES, [*FEW, ("dygen", "branches")]))
SLOW_TASKS = [pytest.param(*case, marks=pytest.mark.slow) for case in TASK_CASES]


def test_every_method_stands_in_the_matrix():
    assert METHODS.keys() == methods.METHODS.keys()
    assert {method for method, _ in SHORT_CASES} == METHODS.keys()
    assert methods.list_methods().keys() == METHODS.keys()
    for task in ("tokens", "cells"):
        trained = {method for method, model in CASES if model.startswith(task)}
        assert trained == METHODS.keys() - ONE_LABEL_ONLY - (NOT_OF_CELLS if task == "cells" else set())


@accumulated_cases
def test_gradient_accumulation_is_one_batch(method, model, tmp_path):
    whole = run(tmp_path, method, model)
    parts = run(tmp_path, method, model, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert parts.state.global_step == whole.state.global_step == 2 * STEPS_AN_EPOCH
    assert distance(whole, parts) < TOLERANCE
    assert logged_losses(whole) == pytest.approx(logged_losses(parts), abs=1e-5)
    assert distance(whole, make_model(model)) > MOVED


@over([*marked(LONG_CASES, LONG_CASES), *SLOW_TASKS])
@pytest.mark.parametrize(
    ("rows", "micro_batch"),
    [(19, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(24, 2), (17, 4), (22, 3)])],
)
def test_ragged_accumulation_is_one_batch(method, model, rows, micro_batch, tmp_path):
    data = make_rows(model, rows)
    steps = 3 if micro_batch == 3 else 8 // micro_batch
    whole = run(tmp_path, method, model, rows=data, per_device_train_batch_size=micro_batch * steps)
    parts = run(
        tmp_path,
        method,
        model,
        rows=data,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=steps,
    )
    assert parts.state.global_step == whole.state.global_step
    assert distance(whole, parts) < TOLERANCE


RESUMES = {
    # Where the run was interrupted: its last checkpoint, and the epochs it had recorded by then.
    "within-an-epoch": (2 * STEPS_AN_EPOCH - 1, [1]),
    "last-step-of-the-first-epoch": (STEPS_AN_EPOCH, []),
    "last-step-of-a-later-epoch": (2 * STEPS_AN_EPOCH, [1]),
}


def interrupted(source: Path, target: Path, checkpoint: int, epochs: list[int]) -> str:
    """Copy of a finished run's folder as it was when its checkpoint had just been written."""
    target.mkdir()
    name = f"checkpoint-{checkpoint}"
    shutil.copytree(source / name, target / name)
    for kept in (FOLDER, "_dygen"):  # what callbacks of the user and of a method wrote
        if (source / kept).is_dir():
            shutil.copytree(source / kept, target / kept)
    for file in target.rglob("_*/**/epoch-*"):
        if int(file.stem.split("-")[1]) not in epochs:
            file.unlink()
    return str(target / name)


def recorded_run(folder: Path, method: Any, model: str, resume: str | None = None, **changes: Any) -> Any:
    rows = make_rows(model)
    recorder = DynamicsRecorder({"train": rows, "test": make_rows(model, 7, seed=9)}, dtype="float32")
    settings = {"num_train_epochs": 3, "save_strategy": "no", "save_steps": 1} | changes
    network = make_model(model, dropout=0.0 if is_image(model) or model == "peft" else 0.1)
    return run(folder, method, network, rows=rows, trainer={"callbacks": [recorder]}, resume=resume, **settings)


@pytest.mark.parametrize(
    "name", ["within-an-epoch", *(pytest.param(name, marks=pytest.mark.slow) for name in list(RESUMES)[1:])]
)
@cases_with_state
def test_resumed_run_is_the_uninterrupted_run(method, model, name, tmp_path):
    # Dropout is on where there is any: the random numbers have to continue too.
    whole = recorded_run(tmp_path / "whole", method, model, save_strategy="steps")
    expected = file_contents(tmp_path / "whole" / FOLDER)
    # The manifest, and for each of two splits the features of the encoder (of tokens, where the rows of each sentence
    # begin) and each epoch and branch.
    branches = getattr(whole.model, "num_branches", 1)
    assert len(expected) == 1 + 2 * (1 + 3 * branches)
    start = interrupted(tmp_path / "whole", tmp_path / "resumed", *RESUMES[name])
    resumed = recorded_run(tmp_path / "resumed", method, model, start)
    assert distance(whole, resumed) == 0.0
    assert file_contents(tmp_path / "resumed" / FOLDER) == expected
    assert file_contents(tmp_path / "resumed" / "_dygen") == file_contents(tmp_path / "whole" / "_dygen")
    assert logged_losses(resumed) == logged_losses(whole)


@timed_cases
@pytest.mark.parametrize("strategy", [pytest.param("epoch", marks=pytest.mark.slow), "steps"])
def test_checkpoints_of_either_strategy_hold_the_same_run(method, model, strategy, tmp_path):
    whole = recorded_run(tmp_path / "whole", method, model, save_strategy=strategy, save_steps=STEPS_AN_EPOCH)
    start = interrupted(tmp_path / "whole", tmp_path / "part", STEPS_AN_EPOCH, [1] if strategy == "epoch" else [])
    resumed = recorded_run(tmp_path / "part", method, model, start, save_strategy=strategy, save_steps=STEPS_AN_EPOCH)
    assert distance(whole, resumed) == 0.0
    assert file_contents(tmp_path / "part" / FOLDER) == file_contents(tmp_path / "whole" / FOLDER)


@pytest.mark.parametrize(
    ("method", "model"),
    [("cross_entropy", "plain"), *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG_CASES), *SLOW_TASKS],
)
def test_compiled_run_is_the_eager_run(method, model, tmp_path):
    torch._dynamo.reset()
    settings = {"rows": make_rows(model, 24), "max_steps": 2, "eval_strategy": "no"}
    eager = run(tmp_path / "eager", method, model, **settings)
    compiling = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    compiled = run(tmp_path / "compiled", method, model, **settings, **compiling)
    assert type(compiled.model_wrapped).__name__ == "OptimizedModule"
    assert distance(eager, compiled) < TOLERANCE
    assert eager.evaluate(make_rows(model, 8))["eval_loss"] == pytest.approx(
        compiled.evaluate(make_rows(model, 8))["eval_loss"], abs=TOLERANCE
    )


@precision_cases
def test_bfloat16_runs_and_stays_finite_and_near(method, model, tmp_path):
    full = run(tmp_path, method, model)
    half = run(tmp_path, method, model, bf16=True)
    assert all(value.isfinite().all() for value in half.model.state_dict().values())
    # A row near the threshold of a selection falls on the one side or the other; in the first epoch none is dropped.
    compared = STEPS_AN_EPOCH if method in ("co_teaching", "co_teaching_plus", "jocor") else None
    assert logged_losses(half)[:compared] == pytest.approx(logged_losses(full)[:compared], rel=0.05)
    assert 0 < distance(full, half) < 0.05


@loader_cases
def test_unused_columns_change_nothing(method, model, tmp_path):
    rows = make_rows(model)
    extra = rows.add_column("index", [99] * len(rows)).add_column("score", [0.5] * len(rows))
    plain = run(tmp_path, method, model)
    for keep in (False, True):
        other = run(tmp_path, method, model, rows=extra, remove_unused_columns=not keep)
        assert distance(plain, other) == 0.0


@loader_cases_of_texts
def test_rows_grouped_by_length(method, model, tmp_path):
    rows = make_rows(model)
    lengths = [3 + i % 4 for i in range(len(rows))]
    ragged = rows.add_column("length", lengths).map(
        lambda row: {name: row[name][: row["length"]] for name in ("input_ids", "attention_mask")}
    )
    settings = {"rows": ragged, "trainer": {"data_collator": pad}, "train_sampling_strategy": "group_by_length"}
    whole = run(tmp_path, method, model, **settings)
    parts = run(tmp_path, method, model, **settings, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert distance(whole, parts) < TOLERANCE
    assert distance(whole, make_model(model)) > MOVED


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize(
    ("method", "model"), [("cross_entropy", "vit"), ("coregularization", "vit-branches"), ("nrd", "vit")], ids=str
)
def test_lazily_transformed_images(method, model, remove, tmp_path):
    stored = make_rows(model).rename_column("pixel_values", "image")

    def transform(batch: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [torch.as_tensor(image) for image in batch["image"]], "label": batch["label"]}

    lazy = run(tmp_path, method, model, rows=stored.with_transform(transform), remove_unused_columns=remove)
    assert distance(lazy, run(tmp_path, method, model)) < TOLERANCE


@pytest.mark.parametrize(("method", "kind"), [("cross_entropy", "plain"), ("coregularization", "branches")], ids=str)
def test_convolutional_network(method, kind, tmp_path):
    network = make_model("resnet")
    if kind == "branches":
        from hf_noisy.models import BranchedModel

        network = BranchedModel.from_model(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = run(tmp_path, method, network, rows=make_rows("resnet"))
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    assert distance(trainer, before) > MOVED


# DyGEN saves another network than that with which it predicts.
@over(marked([case for case in CASES if case[1] != "peft" and case[0] != "dygen"], MORE_THAN_A_LOSS))
def test_saved_and_loaded_model_predicts_the_same(method, model, tmp_path):
    trainer = run(tmp_path / "run", method, model)
    rows = make_rows(model, 13, seed=4)
    before = trainer.predict(rows)
    trainer.save_model(tmp_path / "saved")
    auto: Any = AutoModelForImageClassification if is_image(model) else AutoModelForSequenceClassification
    if model.startswith("tokens"):
        auto = AutoModelForTokenClassification
    folder = tmp_path / "saved" / ("branches" if trainer.method.num_branches > 1 else "")
    loaded = make_trainer(tmp_path / "again", method, auto.from_pretrained(folder))
    after = loaded.predict(rows)
    assert before.predictions.shape == ((13, 6, CLASSES) if model.startswith("tokens") else (13, CLASSES))
    assert (after.predictions == before.predictions).all()
    assert after.metrics["test_loss"] == before.metrics["test_loss"]


def test_adapter_of_peft_is_trained_saved_and_loaded(tmp_path):
    from peft import PeftModel

    trainer = run(tmp_path / "run", "cross_entropy", "peft")
    start, end = make_model("peft").state_dict(), trainer.model.state_dict()
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert any("lora_B" in name for name in moved)
    assert all("lora_" in name or "modules_to_save" in name for name in moved)
    trainer.save_model(tmp_path / "saved")
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    with peft_warnings_ignored():
        again = PeftModel.from_pretrained(make_model("plain"), tmp_path / "saved")
    loaded = make_trainer(tmp_path / "again", "cross_entropy", again)
    rows = make_rows("plain", 13, seed=4)
    assert (loaded.predict(rows).predictions == trainer.predict(rows).predictions).all()
