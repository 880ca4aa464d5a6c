"""Training from kept outputs of shared layers has the losses and records of training that computes them."""

import numpy as np
import pytest
import torch

from hf_noisy import BranchedModel, DynamicsRecorder, NoisyTrainer
from hf_noisy.models.shared_layers import shared_layers_of
from tests.contract.runs import logged_losses, make_args, make_method, make_rows
from tests.unit.models.conftest import _network


def ragged(count, seed):
    """Texts of three to six tokens."""
    rows = make_rows(count=count, seed=seed)
    lengths = [3 + i % 4 for i in range(count)]
    return rows.add_column("length", lengths).map(
        lambda row: {name: row[name][: row["length"]] for name in ("input_ids", "attention_mask")}
    )


def pad(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {"labels": torch.tensor([row["label"] for row in rows])} if "label" in rows[0] else {}
    for name in ("input_ids", "attention_mask"):
        batch[name] = torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
    return batch


def trained(folder, method, lora, keep):
    model = BranchedModel.from_model(_network("bert"), 2, lora=lora, shared_layers=1)
    if keep:
        model.keep_shared_outputs(folder)
    counts: list[int] = []
    shared_layers_of(model.branches)[0].layer.register_forward_hook(lambda *_: counts.append(1))
    recorder = DynamicsRecorder({"test": ragged(11, seed=5)}, dtype="float32")
    args = make_args(folder, num_train_epochs=3, train_sampling_strategy="group_by_length", optim="adamw_torch")
    trainer = NoisyTrainer(
        model,
        args,
        train_dataset=ragged(21, seed=0),
        data_collator=pad,
        method=make_method(method),
        callbacks=[recorder],
    )
    trainer.train()
    return logged_losses(trainer), recorder.trajectories.logits("test"), len(counts)


@pytest.mark.parametrize(
    ("method", "lora"),
    [("coregularization", {"r": 2, "lora_dropout": 0.1}), ("nct", None), ("jocor", None), ("co_teaching", {"r": 2})],
)
def test_losses_and_records_are_the_same(method, lora, tmp_path):
    losses, logits, computed = trained(tmp_path / "computed", method, lora, keep=False)
    same_losses, same_logits, read = trained(tmp_path / "kept", method, lora, keep=True)
    assert same_losses == pytest.approx(losses, abs=1e-5)
    assert len(set(losses)) > 1
    np.testing.assert_allclose(same_logits, logits, atol=1e-5)
    assert read < computed / 2  # nine batches of training, and three at the start and after each epoch
