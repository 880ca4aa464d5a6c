import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.snapshots import EpochSnapshots, changing, read_snapshot
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.models import BranchedModel
from tests.contract.runs import CLASSES, WORDS, bert, file_contents, is_image, make_rows, make_trainer

SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("plain", "branches", "resnet")]


@pytest.fixture(scope="module", autouse=True)
def _features_are_used():
    """As features of a random encoder say nothing about random labels, they would be left out."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hf_noisy.detection.evidence._WEAK", 1.0)
        patched.setattr("hf_noisy.detection.evidence.beyond_luck", lambda *_: True)
        yield


class Trained:
    """A tiny run with recorder and snapshots, and DyGEN fitted on it."""

    def __init__(self, folder, kind, snapshots=None, preset="evidence", projection=None, model=None, **changes):
        self.rows = {"train": make_rows(kind), "test": make_rows(kind, 9, seed=1)}
        recorder = DynamicsRecorder(self.rows, dtype="float32", projection=projection)
        self.snapshots = snapshots or EpochSnapshots()
        self.trainer = make_trainer(
            folder,
            "cross_entropy",
            model or kind,
            rows=self.rows["train"],
            trainer={"callbacks": [recorder, self.snapshots]},
            num_train_epochs=3,
            **changes,
        )
        self.trainer.train()
        labels = np.array(self.rows["train"].with_format(None)["label"][:])
        self.dygen = DyGen.fit(recorder.trajectories, labels, 0.3, vae_epochs=3, preset=preset, show_progress=False)

    def exact(self) -> DyGenForClassification:
        return DyGenForClassification.from_training(self.dygen, self.trainer.model, self.snapshots.path)


def load(folder, kind):
    auto = AutoModelForImageClassification if is_image(kind) else AutoModelForSequenceClassification
    return auto.from_pretrained(folder)


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("lora"), "lora")


def test_the_posterior_of_a_frozen_encoder_is_that_of_training(tmp_path):
    model = BranchedModel.from_model(bert(), 2)
    for name, weight in model.named_parameters():
        weight.requires_grad_("classifier" in name)
    run = Trained(tmp_path, "branches", model=model)
    assert not run.dygen.config.with_networks
    said = run.exact().predict(run.rows["test"], show_progress=False)
    np.testing.assert_allclose(said, run.dygen.posterior("test"), atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "vit-branches", *SLOW])
def test_posterior_is_that_of_training(kind, tmp_path):
    run = Trained(tmp_path, kind)
    before = {name: value.clone() for name, value in run.trainer.model.state_dict().items()}
    run.exact().save_pretrained(tmp_path / "exact")
    assert all(torch.equal(value, before[name]) for name, value in run.trainer.model.state_dict().items())
    loaded = load(tmp_path / "exact", kind)
    assert isinstance(loaded, DyGenForClassification)
    assert loaded.config.id2label == run.trainer.model.config.id2label
    for split, rows in run.rows.items():
        for batch_size in (4, 32):
            said = loaded.predict(rows, batch_size=batch_size, show_progress=False)
            np.testing.assert_allclose(said, run.dygen.posterior(split), atol=1e-5)
    assert loaded.config.with_networks
    # Not something that any of the epochs would give: they differ.
    assert not np.allclose(run.dygen.posterior("test"), run.dygen.posterior("test")[::-1], atol=1e-3)


@pytest.mark.parametrize("part", ["snapshots", "start", "means", "vae"])
def test_every_part_counts(part, lora):
    exact, rows = lora.exact(), lora.rows["test"]
    held = getattr(exact, part)
    for tensor in [held] if isinstance(held, torch.Tensor) else held.parameters():
        tensor.data.add_(0.5)
    assert np.abs(exact.predict(rows, show_progress=False) - lora.dygen.posterior("test")).max() > 1e-4


@pytest.mark.slow
def test_projected_embeddings(tmp_path):
    run = Trained(tmp_path, "branches", projection=5)
    exact = run.exact()
    assert exact.projection.shape == (8, 5)
    exact.save_pretrained(tmp_path / "exact")
    loaded = DyGenForClassification.from_pretrained(tmp_path / "exact")
    np.testing.assert_allclose(
        loaded.predict(run.rows["test"], show_progress=False), run.dygen.posterior("test"), atol=1e-5
    )
    run.dygen.trajectories = None
    with pytest.raises(ValueError, match=r"heads of width 8, but dygen was fitted on 5.*trajectories"):
        run.exact()


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{"r": 2}, None], ids=["lora", "full"])
def test_layers_that_are_computed_once(lora, tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    network = BertForSequenceClassification(BertConfig(vocab_size=WORDS, num_labels=CLASSES, **sizes))
    model = BranchedModel.from_model(network, lora=lora, shared_layers=1)
    model.keep_shared_outputs(tmp_path)
    run = Trained(tmp_path, "plain", model=model)
    run.exact().save_pretrained(tmp_path / "exact")
    said = DyGenForClassification.from_pretrained(tmp_path / "exact").predict(run.rows["test"], show_progress=False)
    np.testing.assert_allclose(said, run.dygen.posterior("test"), atol=1e-5)


@pytest.mark.slow
def test_published_preset_reads_no_features(tmp_path):
    run = Trained(tmp_path, "branches", preset="paper")
    exact = run.exact()
    assert exact.config.feature_width == len(exact.start) == 0
    np.testing.assert_allclose(
        exact.predict(run.rows["test"], show_progress=False), run.dygen.posterior("test"), atol=1e-5
    )


def test_of_adapters_only_what_is_trained_is_kept(lora):
    stored, run = read_snapshot(lora.snapshots.path, 1, lora.dygen.config.run), lora.dygen.config.run
    assert stored.keys() == changing(lora.trainer.model).keys()
    assert all("lora_" in name or name.split(".")[2] == "classifier" for name in stored)
    assert read_snapshot(lora.snapshots.path.parent, None, run).keys() < stored.keys()
    exact, network = lora.exact(), lora.trainer.model
    trained = sum(tensor.numel() for tensor in stored.values())
    assert sum(tensor.numel() for tensor in exact.snapshots) == 2 * trained
    assert not any(p.requires_grad for p in exact.parameters())
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in exact.network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_the_room(dtype, tmp_path):
    run = Trained(tmp_path, "lora", EpochSnapshots(tmp_path / "elsewhere", dtype=dtype))
    stored = read_snapshot(tmp_path / "elsewhere", 2, run.dygen.config.run)
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    exact = run.exact()
    assert {p.dtype for p in exact.parameters()} == {torch.float32}
    np.testing.assert_allclose(
        exact.predict(run.rows["test"], show_progress=False), run.dygen.posterior("test"), atol=0.02
    )
    exact.to(getattr(torch, dtype)).save_pretrained(tmp_path / "half")
    loaded = DyGenForClassification.from_pretrained(tmp_path / "half", dtype=torch.float32)
    np.testing.assert_allclose(
        loaded.predict(run.rows["test"], show_progress=False), run.dygen.posterior("test"), atol=0.05
    )


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_snapshots(tmp_path):
    whole = Trained(tmp_path / "whole", "lora", save_strategy="epoch")
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    names = [f"_snapshots/{stem}.safetensors" for stem in ("epoch-001", "epoch-002", "epoch-003", "start")]
    before = {name: (tmp_path / "whole" / name).read_bytes() for name in names}
    assert set(file_contents(whole.snapshots.path)) == {"manifest.json", *(name.split("/")[1] for name in names)}
    for name in names[:3]:  # that of the checkpoint itself too: its epoch's end never comes again
        (tmp_path / "whole" / name).unlink()
    again = make_trainer(
        tmp_path / "whole",
        "cross_entropy",
        "lora",
        save_strategy="epoch",
        num_train_epochs=3,
        trainer={"callbacks": [EpochSnapshots()]},
    )
    again.train(resume_from_checkpoint=str(checkpoint))
    after = {name: (tmp_path / "whole" / name).read_bytes() for name in names}
    assert after == before


def test_a_run_cut_within_an_epoch_has_its_last_snapshot_after_a_resume(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 4, "max_steps": 4}  # three steps an epoch
    make_trainer(tmp_path, trainer={"callbacks": [EpochSnapshots()]}, **options).train()
    last = tmp_path / "_snapshots" / "epoch-002.safetensors"
    before = last.read_bytes()
    last.unlink()  # killed after the checkpoint, before the end of training
    again = make_trainer(tmp_path, trainer={"callbacks": [EpochSnapshots()]}, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert last.read_bytes() == before


def test_a_fresh_run_replaces_only_snapshots(tmp_path):
    (tmp_path / "_snapshots").mkdir()
    for name in ("epoch-009.safetensors", "mine.safetensors"):
        (tmp_path / "_snapshots" / name).write_bytes(b"old")
    make_trainer(tmp_path, num_train_epochs=1, trainer={"callbacks": [EpochSnapshots()]}).train()
    names = {path.name for path in (tmp_path / "_snapshots").iterdir()}
    assert names == {"manifest.json", "start.safetensors", "epoch-001.safetensors", "mine.safetensors"}


def test_labels_give_a_loss_and_weights_come_back(lora):
    exact = lora.exact()
    before = {name: value.clone() for name, value in exact.state_dict().items()}
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    out = exact(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 2]))
    torch.testing.assert_close(out.loss, -out.logits[[0, 1], [0, 2]].mean())
    with pytest.raises(IndexError):  # in the middle of an epoch that is not the last
        exact(input_ids=ids + 1000, attention_mask=torch.ones_like(ids))
    assert all(torch.equal(value, before[name]) for name, value in exact.state_dict().items())


def test_weights_kept_wider_than_their_snapshots(lora):
    exact = lora.exact()
    exact.snapshots.half()
    np.testing.assert_allclose(
        exact.predict(lora.rows["test"], show_progress=False), lora.dygen.posterior("test"), atol=0.02
    )


def test_snapshots_of_another_run_or_damaged_are_refused(lora, tmp_path):
    make, model = DyGenForClassification.from_training, lora.trainer.model
    # The same data, model and settings in the same folder, with other weights in the end.
    other = Trained(tmp_path, "lora", learning_rate=0.5)
    with pytest.raises(ValueError, match=r"_snapshots belong to another run than the trajectories on which dygen was"):
        make(lora.dygen, model, other.snapshots.path)
    with pytest.raises(ValueError, match=r"_trajectories belong to another run than those that dygen was fitted on"):
        lora.dygen.from_pretrained(saved(lora.dygen, tmp_path), other.dygen.trajectories).posterior("test")
    make(other.dygen, other.trainer.model, other.snapshots.path)
    file = other.snapshots.path / "epoch-002.safetensors"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ValueError, match=r"epoch-002\.safetensors' is damaged or of another run"):
        make(other.dygen, other.trainer.model, other.snapshots.path)


def saved(dygen, folder):
    dygen.save_pretrained(folder / "dygen")
    return folder / "dygen"


def test_what_does_not_belong_together_is_refused(lora, tmp_path):
    make = DyGenForClassification.from_training
    with pytest.raises(FileNotFoundError, match=r"lack epoch-001.safetensors.*EpochSnapshots"):
        make(lora.dygen, lora.trainer.model, tmp_path)
    with pytest.raises(TypeError, match="model must be a transformers model, got Linear"):
        make(lora.dygen, torch.nn.Linear(2, 2), lora.snapshots.path)
    with pytest.raises(ValueError, match=r"have no weight.*the same training"):
        make(lora.dygen, BranchedModel.from_model(bert()), lora.snapshots.path)
    wider = BranchedModel.from_model(bert(), lora={"r": 4})
    with pytest.raises(ValueError, match=r"shape \(2, 8\) in the snapshots, but \(4, 8\)"):
        make(lora.dygen, wider, lora.snapshots.path)
    with pytest.raises(ValueError, match="column 'input_ids', got label"):
        lora.exact().predict(lora.rows["test"].select_columns("label"), show_progress=False)
    with pytest.raises(ValueError, match="at least one row"):
        lora.exact().predict(lora.rows["test"].select([]))
    with pytest.raises(ValueError, match="dtype must be None or one of 'float16'"):
        EpochSnapshots(dtype="int8")
    with pytest.raises(ValueError, match="train first"):
        EpochSnapshots().path  # noqa: B018
    assert lora.dygen.config.num_classes == CLASSES
