import errno
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification, Trainer, TrainerCallback, TrainerControl, TrainerState

from hf_noisy.core.files import write_tensors
from hf_noisy.dynamics.recorder import DynamicsRecorder, projection_matrix
from hf_noisy.dynamics.store import FOLDER, Trajectories
from hf_noisy.models.heads import HeadInputs
from hf_noisy.training.checkpoints import STATE_FILE
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import (
    distance,
    file_contents,
    is_image,
    make_args,
    make_method,
    make_model,
    make_rows,
    make_trainer,
    run,
)

MODELS = ["plain", "branches", "lora", "peft", "vit", "vit-branches"]


class Snapshots(TrainerCallback):
    """A plain forward pass over all rows in their order, after each epoch."""

    def __init__(self, rows: Any, names: tuple[str, ...]) -> None:
        self.inputs = {name: torch.as_tensor(np.array(rows.with_format(None)[name])) for name in names}
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    @torch.no_grad()
    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        model.eval()
        inputs = {k: v.float() if k == "pixel_values" else v for k, v in self.inputs.items()}
        with HeadInputs(model) as heads:
            output = model(**inputs)
            embeddings = torch.stack(heads.pop())
        logits = getattr(output, "branch_logits", None)
        logits = output.logits[None] if logits is None else logits.transpose(0, 1)
        self.seen.append((embeddings.numpy(), logits.numpy()))


@pytest.mark.parametrize("trainer_class", [Trainer, NoisyTrainer])
@pytest.mark.parametrize("model", MODELS)
def test_values_are_those_of_a_plain_forward_pass(trainer_class, model, tmp_path):
    rows = make_rows(model)
    recorder = DynamicsRecorder({"train": rows}, dtype="float32", batch_size=4)
    snapshots = Snapshots(rows, ("pixel_values",) if is_image(model) else ("input_ids", "attention_mask"))
    trainer = trainer_class(
        make_model(model), make_args(tmp_path), train_dataset=rows, callbacks=[recorder, snapshots]
    )
    trainer.train()
    found = recorder.trajectories
    assert found.epochs == [1, 2]
    assert found.num_branches == (2 if model in ("branches", "lora", "vit-branches") else 1)
    for epoch, (embeddings, logits) in enumerate(snapshots.seen, start=1):
        np.testing.assert_allclose(found.logits("train")[epoch - 1], logits, atol=1e-5)
        for branch in range(found.num_branches):
            np.testing.assert_allclose(found.embeddings("train", epoch, branch), embeddings[branch], atol=1e-5)
    found.check_labels("train", np.array(rows["label"]))


@pytest.mark.parametrize("model", ["plain", "branches", "peft"])
def test_whether_the_encoder_is_trained_is_recorded(model, tmp_path):
    rows, found = make_rows(model), []
    for name in ("trained", "frozen"):
        network = make_model(model)
        if name == "frozen":
            for weight, parameter in network.named_parameters():
                parameter.requires_grad_("classifier" in weight or "heads" in weight)
        recorder = DynamicsRecorder({"train": rows})
        args = make_args(tmp_path / name, num_train_epochs=1)
        NoisyTrainer(network, args, train_dataset=rows, callbacks=[recorder]).train()
        found.append(recorder.trajectories.encoder_trained)
    assert found == [True, False]


@pytest.mark.parametrize("changes", [{"train_sampling_strategy": "sequential"}, {"data_seed": 7}, {"batch_size": 21}])
def test_rows_stand_by_index_whatever_the_order(changes, tmp_path):
    # Without learning nothing but the order of the rows can differ.
    rows = make_rows()
    found = []
    for name, given in (("a", {}), ("b", changes)):
        arguments = {"learning_rate": 0.0, **{k: v for k, v in given.items() if k != "batch_size"}}
        recorder = DynamicsRecorder({"train": rows}, dtype="float32", batch_size=given.get("batch_size", 2))
        run(tmp_path / name, trainer={"callbacks": [recorder]}, **arguments)
        found.append(recorder.trajectories.embeddings("train", 1, 0))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


class Augmented(torch.utils.data.Dataset):
    """Draws from global generators as it is read (not from `random`, which the type checks of the tests draw from)."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        shift = torch.rand(()) + np.random.rand()  # noqa: NPY002
        return {"pixel_values": row["pixel_values"] + 0.1 * shift, "label": int(row["label"])}


def transformed(rows: Any) -> Any:
    def transform(batch: dict[str, Any]) -> dict[str, Any]:
        shift = torch.rand(()) + np.random.rand()  # noqa: NPY002
        pixels = [torch.as_tensor(pixels) + 0.1 * shift for pixels in batch["pixel_values"]]
        return {"pixel_values": [value.float() for value in pixels], "label": batch["label"]}

    return rows.with_format(None).with_transform(transform)


@pytest.mark.parametrize("augmented", [Augmented, transformed])
def test_recording_does_not_change_training(augmented, tmp_path):
    data = augmented(make_rows("vit"))
    plain = run(tmp_path / "plain", "cross_entropy", "vit", rows=data)
    recorder = DynamicsRecorder({"train": data, "again": data})
    watched = run(tmp_path / "watched", "cross_entropy", "vit", rows=data, trainer={"callbacks": [recorder]})
    assert recorder.trajectories.epochs == [1, 2]
    assert distance(plain, watched) == 0.0


@pytest.mark.parametrize("augmented", [Augmented, transformed])
def test_data_that_draw_are_recognised_at_a_resume(augmented, tmp_path):
    data = augmented(make_rows("vit"))
    settings = {"rows": data, "save_strategy": "steps", "save_steps": 3}
    for resume in (None, str(tmp_path / "checkpoint-3")):
        recorder = DynamicsRecorder({"train": data})
        run(tmp_path, "cross_entropy", "vit", resume=resume, trainer={"callbacks": [recorder]}, **settings)
    assert recorder.trajectories.epochs == [1, 2]


def test_recorder_added_at_a_resume_records_from_there(tmp_path, caplog):
    run(tmp_path, save_strategy="steps", save_steps=3, num_train_epochs=3)
    for checkpoint, epochs in ((3, [1, 2, 3]), (6, [2, 3])):
        recorder = DynamicsRecorder({"train": make_rows()}, tmp_path / str(checkpoint))
        resume = str(tmp_path / f"checkpoint-{checkpoint}")
        run(tmp_path, resume=resume, num_train_epochs=3, trainer={"callbacks": [recorder]})
        assert recorder.trajectories.epochs == epochs
        assert ("lack epochs [1] from before the checkpoint" in caplog.text) is (1 not in epochs)


def test_files_of_a_run_are_not_continued_from_the_checkpoint_of_another(tmp_path):
    for settings in ({"num_train_epochs": 3}, {"max_steps": 1}):
        recorder = DynamicsRecorder({"train": make_rows()})
        run(tmp_path, save_strategy="steps", save_steps=3, trainer={"callbacks": [recorder]}, **settings)
    before = file_contents(tmp_path / FOLDER)
    again = {"resume": True, "save_strategy": "steps", "save_steps": 3, "num_train_epochs": 3}
    with pytest.raises(ValueError, match=r"_trajectories belong to another run than the checkpoint; train anew"):
        run(tmp_path, trainer={"callbacks": [DynamicsRecorder({"train": make_rows()})]}, **again)
    assert file_contents(tmp_path / FOLDER) == before


def test_a_custom_collator_gets_the_label(tmp_path):
    def collate(rows):
        batch = {name: torch.tensor([row[name] for row in rows]) for name in ("input_ids", "attention_mask")}
        return {**batch, "labels": torch.tensor([row["label"] for row in rows])}

    recorders = [DynamicsRecorder({"train": make_rows()}, tmp_path / str(c), data_collator=c) for c in (None, collate)]
    run(tmp_path, trainer={"callbacks": recorders})
    logits = [recorder.trajectories.logits("train") for recorder in recorders]
    np.testing.assert_array_equal(*logits)


@pytest.mark.parametrize(
    ("trainer_class", "method"), [(Trainer, {}), (NoisyTrainer, {}), (NoisyTrainer, {"method": "gjs"})]
)
def test_batches_are_made_by_the_collator_of_the_trainer(trainer_class, method, tmp_path):
    def first_tokens(rows):
        batch = {name: torch.tensor([row[name][:4] for row in rows]) for name in ("input_ids", "attention_mask")}
        numbers = {name: torch.tensor([row[name] for row in rows]) for name in ("label", "index") if name in rows[0]}
        return {**batch, **{"labels" if name == "label" else name: value for name, value in numbers.items()}}

    rows = make_rows()
    short = rows.map(lambda row: {name: row[name][:4] for name in ("input_ids", "attention_mask")})
    recorders = [DynamicsRecorder({"train": data}, tmp_path / str(i)) for i, data in enumerate((rows, short))]
    arguments = {"train_dataset": rows, "data_collator": first_tokens, "callbacks": recorders, **method}
    trainer_class(make_model("plain"), make_args(tmp_path), **arguments).train()
    logits = [recorder.trajectories.logits("train") for recorder in recorders]
    np.testing.assert_array_equal(*logits)


def test_dropout_is_off_while_recording_and_on_again(tmp_path):
    rows = make_rows()
    recorder = DynamicsRecorder({"train": rows, "again": rows}, dtype="float32")
    trainer = run(tmp_path, "cross_entropy", make_model("plain", dropout=0.5), trainer={"callbacks": [recorder]})
    found = recorder.trajectories
    np.testing.assert_array_equal(found.embeddings("train", 2, 0), found.embeddings("again", 2, 0))
    assert trainer.model.training


def test_hidden_states_of_the_encoder_are_recorded_only_if_asked(tmp_path):
    rows = make_rows("plain")
    recorder = DynamicsRecorder({"train": rows}, features=False)
    Trainer(make_model("plain"), make_args(tmp_path), train_dataset=rows, callbacks=[recorder]).train()
    assert recorder.trajectories.features("train") is None
    assert recorder.trajectories.epochs == [1, 2]


def test_data_without_a_length_are_refused():
    with pytest.raises(TypeError, match="dataset 'train' is a IterableDataset without a length"):
        DynamicsRecorder({"train": make_rows().to_iterable_dataset()})


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="datasets is empty"):
        DynamicsRecorder({})
    with pytest.raises(ValueError, match="dtype must be 'float16' or 'float32', got 'int8'"):
        DynamicsRecorder({"train": make_rows()}, dtype="int8")
    with pytest.raises(ValueError, match="nothing was recorded yet; train first"):
        _ = DynamicsRecorder({"train": make_rows()}).trajectories


def resume_with(folder, rows, model="plain"):
    recorder = DynamicsRecorder({"train": rows})
    # The note of NoisyTrainer in its checkpoint would refuse other data first; a stock Trainer leaves none.
    (folder / "checkpoint-3" / STATE_FILE).unlink(missing_ok=True)
    method = make_method("cross_entropy")
    trainer = make_trainer(folder, method, model, rows=rows, trainer={"callbacks": [recorder]})
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-3"))


def test_resume_with_other_data_is_refused(tmp_path):
    rows = make_rows()
    recorder = DynamicsRecorder({"train": rows})
    run(tmp_path, save_strategy="steps", save_steps=3, trainer={"callbacks": [recorder]})
    before = file_contents(tmp_path / FOLDER)
    flipped = rows.map(lambda row: {"label": (row["label"] + 1) % 3})
    for other in (make_rows(seed=8), make_rows(count=22), flipped):
        with pytest.raises(
            ValueError, match="belong to another dataset or model: they differ in splits; resume with the data"
        ):
            resume_with(tmp_path, other)
    assert file_contents(tmp_path / FOLDER) == before
    resume_with(tmp_path, rows)


def test_resume_with_other_classes_is_refused(tmp_path):
    rows = make_rows()
    run(tmp_path, save_strategy="steps", save_steps=3, trainer={"callbacks": [DynamicsRecorder({"train": rows})]})
    before = file_contents(tmp_path / FOLDER)
    kept = TrainerState.load_from_json(tmp_path / "checkpoint-3" / "trainer_state.json").stateful_callbacks
    state = TrainerState(epoch=1.0, global_step=3, stateful_callbacks=kept)
    for other, settings, named in (
        (bert_of_classes(4), {}, "num_classes"),
        (make_model("branches"), {}, "num_branches"),
        (make_model("plain"), {"dtype": "float32"}, "dtype"),
        (make_model("plain"), {"projection": 4}, "dim"),
    ):
        with pytest.raises(ValueError, match=f"belong to another dataset or model: they differ in {named}; resume"):
            DynamicsRecorder({"train": rows}, **settings).on_train_begin(
                make_args(tmp_path), state, TrainerControl(), model=other
            )
    assert file_contents(tmp_path / FOLDER) == before


def bert_of_classes(count):
    config = make_model("plain").config
    config.num_labels = count
    return BertForSequenceClassification(config)


def test_what_an_interrupted_run_recorded_after_the_checkpoint_is_dropped(tmp_path):
    rows, settings = make_rows(), {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 3}
    run(tmp_path, trainer={"callbacks": [DynamicsRecorder({"train": rows})]}, **settings)
    (tmp_path / FOLDER / "train" / ".epoch-004-branch-0.safetensors.0123abcd.tmp").write_text("of a killed run")
    seen, recorder = [], DynamicsRecorder({"train": rows})

    class Watch(TrainerCallback):
        def on_step_begin(self, *_, **__):
            seen.append((recorder.trajectories.epochs, sorted(file_contents(tmp_path / FOLDER))))

    resume = str(tmp_path / "checkpoint-3")
    run(tmp_path, resume=resume, trainer={"callbacks": [recorder, Watch()]}, **settings)
    kept = ["manifest.json", "train/epoch-001-branch-0.safetensors", "train/features.safetensors"]
    assert seen[0] == ([1], kept)
    assert recorder.trajectories.epochs == [1, 2, 3]


def test_a_disk_that_fills_up_leaves_the_epochs_before(tmp_path, monkeypatch):
    rows, recorder = make_rows(), DynamicsRecorder({"train": make_rows()})
    writes = []

    def write(path, tensors):
        writes.append(path)
        if len(writes) > 2:  # the features and the first epoch
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_tensors(path, tensors)

    monkeypatch.setattr("hf_noisy.dynamics.store.write_tensors", write)
    with pytest.raises(OSError, match=r"epoch-002-branch-0\.safetensors' was not written, .*: the disk is full; free"):
        run(tmp_path, rows=rows, num_train_epochs=3, trainer={"callbacks": [recorder]})
    found = Trajectories(tmp_path)
    assert found.epochs == [1]
    assert found.logits("train").shape == (1, 1, len(rows), 3)
    assert sorted(file_contents(tmp_path / FOLDER)) == [
        "manifest.json",
        "train/epoch-001-branch-0.safetensors",
        "train/features.safetensors",
    ]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", "a\0b", "..", "a/b"])
def test_names_that_leave_the_folder_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name of a dataset must be usable as a file name"):
        DynamicsRecorder({name: make_rows()})


@pytest.mark.parametrize("model", ["plain", "branches"])
def test_projected_embeddings_are_the_embeddings_times_one_matrix(model, tmp_path):
    rows = make_rows(model)
    recorders = [
        DynamicsRecorder({"train": rows}, tmp_path / str(d), dtype="float32", projection=d) for d in (None, 4)
    ]
    run(tmp_path, "cross_entropy", model, trainer={"callbacks": recorders}, seed=3)
    whole, projected = (recorder.trajectories for recorder in recorders)
    assert (whole.dim, projected.dim) == (8, 4)
    assert (projected.manifest["projection"], projected.manifest["seed"]) == (4, 3)
    matrix = projection_matrix(8, 4, seed=3)
    for epoch in (1, 2):
        for branch in range(whole.num_branches):
            expected = whole.embeddings("train", epoch, branch) @ matrix
            np.testing.assert_allclose(projected.embeddings("train", epoch, branch), expected, atol=1e-5)
    np.testing.assert_array_equal(projected.logits("train"), whole.logits("train"))
    np.testing.assert_array_equal(projected.features("train"), whole.features("train"))


def test_projections_that_would_not_narrow_are_refused(tmp_path):
    with pytest.raises(ValueError, match="projection must be a width of at least 1, or None, got 0"):
        DynamicsRecorder({"train": make_rows()}, projection=0)
    with pytest.raises(ValueError, match="projection must be below the width of the embeddings, 8, got 8; leave it"):
        run(tmp_path, trainer={"callbacks": [DynamicsRecorder({"train": make_rows()}, projection=8)]})


def test_fresh_run_replaces_an_older_one(tmp_path):
    run(tmp_path, num_train_epochs=3, trainer={"callbacks": [DynamicsRecorder({"train": make_rows()})]})
    run(tmp_path, num_train_epochs=1, trainer={"callbacks": [DynamicsRecorder({"train": make_rows(seed=5)})]})
    assert Trajectories(tmp_path).epochs == [1]


def test_epoch_cut_short_counts_as_one(tmp_path):
    recorder = DynamicsRecorder({"train": make_rows()})
    run(tmp_path, max_steps=5, trainer={"callbacks": [recorder]})
    assert recorder.trajectories.epochs == [1, 2]


def test_unlabelled_and_unmapped_splits_are_recorded(tmp_path):
    rows = make_rows()
    named = rows.remove_columns("label").add_column("label", ["a"] * len(rows))
    recorder = DynamicsRecorder({"none": rows.remove_columns("label"), "named": named}, tmp_path / "elsewhere")
    run(tmp_path, trainer={"callbacks": [recorder]}, bf16=True)
    found = Trajectories(tmp_path / "elsewhere")
    assert found.manifest["splits"]["named"]["labels"] is None
    assert np.isfinite(found.logits("none")).all()


def test_half_precision_is_what_is_stored(tmp_path):
    rows = make_rows()
    recorders = [DynamicsRecorder({"train": rows}, tmp_path / dtype, dtype=dtype) for dtype in ("float16", "float32")]
    run(tmp_path, trainer={"callbacks": recorders})
    half, full = (recorder.trajectories.embeddings("train", 2, 0) for recorder in recorders)
    np.testing.assert_array_equal(half, full.astype(np.float16).astype(np.float32))
