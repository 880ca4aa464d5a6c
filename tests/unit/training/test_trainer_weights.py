"""Rows weigh as much as their column `label_weight` says, however a batch is cut."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import nn

from hf_noisy.data.labels import check_training_weights
from hf_noisy.purification.policies import purify
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CASES, bert, distance, logged_losses, make_rows, parameters, run
from tests.unit.training.test_trainer import Rows

ROOT = Path(__file__).parents[3]
TOLERANCE = 1e-6
ROWS = 24  # no row is repeated to fill two ranks


def weighted_rows(kind: str = "plain", count: int = ROWS, weights: Any = None) -> Dataset:
    if weights is None:
        weights = np.random.default_rng(0).random(count).round(2)
    return make_rows(kind, count).add_column("label_weight", np.asarray(weights, dtype=np.float32))


def weighted(folder: Path, method: Any = "cross_entropy", model: str = "plain", **changes: Any) -> NoisyTrainer:
    return run(folder, method, model, **({"rows": weighted_rows(model)} | changes))


def test_gradient_is_the_weighted_sum_over_the_number_of_rows(tmp_path):
    rows = weighted_rows()
    trainer = weighted(tmp_path, per_device_train_batch_size=ROWS, max_steps=1, lr_scheduler_type="constant")
    model = bert().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits = model(input_ids=torch.tensor(rows["input_ids"])).logits
    losses = nn.functional.cross_entropy(logits, torch.tensor(rows["label"]), reduction="none")
    loss = (losses * torch.tensor(rows["label_weight"])).sum() / ROWS
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    assert distance(trainer, model) < TOLERANCE
    assert logged_losses(trainer)[0] == pytest.approx(loss.item(), abs=1e-4)


@pytest.mark.parametrize(("method", "model"), [("cross_entropy", "plain"), ("coregularization", "branches")])
def test_accumulated_batches_are_whole_ones(method, model, tmp_path):
    assert (method, model) in CASES
    whole = weighted(tmp_path, method, model)
    for size, steps in ((2, 4), (1, 8)):
        split = weighted(tmp_path, method, model, per_device_train_batch_size=size, gradient_accumulation_steps=steps)
        assert distance(whole, split) < TOLERANCE
    assert distance(whole, run(tmp_path, method, model, rows=make_rows(model, ROWS))) > 1e-4


def test_ragged_accumulation_is_exact(tmp_path):
    rows = weighted_rows(count=21)
    whole = weighted(tmp_path, rows=rows)
    split = weighted(tmp_path, rows=rows, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert distance(whole, split) < TOLERANCE


def test_weights_of_one_change_nothing_and_of_zero_silence_a_row(tmp_path):
    plain = run(tmp_path, rows=make_rows("plain", ROWS))
    assert distance(plain, weighted(tmp_path, rows=weighted_rows(weights=np.ones(ROWS)))) == 0.0
    silent = np.arange(ROWS) % 2
    rows = weighted_rows(weights=silent)
    other = rows.map(lambda row, number: {"label": row["label"] if silent[number] else 2}, with_indices=True)
    assert distance(weighted(tmp_path, rows=rows), weighted(tmp_path, rows=other)) == 0.0


def test_soft_labels_have_weights_too(tmp_path):
    rows = weighted_rows()
    soft = rows.remove_columns("label").add_column("label", np.eye(3)[np.array(rows["label"])].tolist())
    assert distance(weighted(tmp_path), weighted(tmp_path, rows=soft)) < TOLERANCE


def test_purified_datasets_are_trained_on(tmp_path):
    rows = make_rows("plain", ROWS)
    posterior = np.random.default_rng(0).dirichlet(np.ones(3), ROWS).astype(np.float32)
    given = posterior[np.arange(ROWS), np.array(rows["label"])]
    by_hand = {
        "weight": rows.add_column("label_weight", given),
        "soft": rows.remove_columns("label").add_column("label", posterior.tolist()),
        "relabel": rows.remove_columns("label").add_column("label", posterior.argmax(1)),
        "flag": rows,
    }
    for policy, expected in by_hand.items():
        purified = purify(rows, posterior, policy)
        assert distance(run(tmp_path, rows=purified), run(tmp_path, rows=expected)) < TOLERANCE


@pytest.mark.parametrize("form", ["torch dataset", "stream", "unused columns", "lazy transform"])
def test_any_dataset_may_have_weights(form, tmp_path):
    rows = weighted_rows()
    settings: dict[str, Any] = {"train_sampling_strategy": "sequential", "max_steps": 6}
    expected = weighted(tmp_path, rows=rows, **settings)
    if form == "torch dataset":
        rows = Listed(rows)
    elif form == "stream":
        rows = rows.to_iterable_dataset()
        del settings["train_sampling_strategy"]
    else:
        settings["remove_unused_columns"] = False
        rows = rows.with_transform(lambda batch: batch) if form == "lazy transform" else rows
    assert distance(expected, weighted(tmp_path, rows=rows, **settings)) < TOLERANCE


class Listed(Rows):
    def __init__(self, rows: Dataset) -> None:
        super().__init__(rows)
        for row, weight in zip(self.rows, rows["label_weight"], strict=True):
            row["label_weight"] = weight


def test_evaluation_does_not_weigh(tmp_path):
    trainer = weighted(tmp_path)
    assert trainer.evaluate(weighted_rows())["eval_loss"] == trainer.evaluate(make_rows("plain", ROWS))["eval_loss"]


def test_a_collator_that_drops_weights_changes_nothing(tmp_path):
    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": torch.tensor([row["input_ids"] for row in rows]),
            "attention_mask": torch.tensor([row["attention_mask"] for row in rows]),
            "labels": torch.tensor([row["label"] for row in rows]),
        }

    assert distance(weighted(tmp_path, trainer={"data_collator": collate}), weighted(tmp_path)) == 0.0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, float("nan"), 1.0], "column 'label_weight' must hold one finite number per row"),
        ([1.0, None, 1.0], "column 'label_weight' must hold one finite number per row"),
        (["a", "b", "c"], "column 'label_weight' must hold one finite number per row"),
        ([1.0, -0.5, 1.0], "column 'label_weight' must be at least 0, and above 0 in some row"),
        ([0.0, 0.0, 0.0], "column 'label_weight' must be at least 0, and above 0 in some row"),
    ],
)
def test_weights_that_are_none_are_refused_before_training(weights, message, tmp_path):
    rows = make_rows("plain", 3).add_column("label_weight", weights)
    with pytest.raises(ValueError, match=message):
        check_training_weights(rows)
    with pytest.raises(ValueError, match=message):
        weighted(tmp_path, rows=rows)


def test_no_column_means_no_weights():
    assert not check_training_weights(make_rows())
    assert not check_training_weights(Rows(make_rows()))
    assert check_training_weights(weighted_rows())
    assert check_training_weights(weighted_rows().to_iterable_dataset())


def main(folder: Path) -> None:
    trainer = weighted(folder, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    found = parameters(trainer) | {"loss": torch.tensor(logged_losses(trainer))}
    save_file(found, folder / f"{trainer.args.process_index}.safetensors")
    trainer.accelerator.wait_for_everyone()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend")
def test_two_processes_are_one(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, "-m", "tests.unit.training.test_trainer_weights", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    alone = weighted(tmp_path)
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found.pop("loss"), torch.tensor(logged_losses(alone)), atol=1e-4, rtol=0)
        assert distance(found, parameters(alone)) < TOLERANCE


if __name__ == "__main__":
    main(Path(sys.argv[1]))
