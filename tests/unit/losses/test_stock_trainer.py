"""Losses in a stock `Trainer`."""

import pytest
import torch
from datasets import Dataset
from transformers import Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.losses.bootstrap import Bootstrap
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.losses.dal import DAL
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.stock_trainer import for_trainer
from tests.contract.runs import bert, distance, make_args, make_rows, parameters

ROWS = 21  # in batches of 8, the last one is incomplete


def train(folder, loss=None, rows=None, **changes) -> Trainer:
    trainer = Trainer(
        bert(),
        make_args(folder, **changes),
        train_dataset=make_rows(count=ROWS) if rows is None else rows,
        eval_dataset=make_rows(count=ROWS),
        compute_loss_func=for_trainer(GCE() if loss is None else loss),
    )
    trainer.train()
    return trainer


def by_hand(loss, batch_size: int = 8) -> torch.nn.Module:
    """SGD on the mean of the row losses, in the order of the rows."""
    model, rows = bert().train(), make_rows(count=ROWS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for start in range(0, ROWS, batch_size):
        batch = rows[start : start + batch_size]
        logits = model(torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])).logits
        loss(logits, torch.tensor(batch["label"])).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


IN_ORDER = {"num_train_epochs": 1, "lr_scheduler_type": "constant", "train_sampling_strategy": "sequential"}


@pytest.mark.parametrize("loss", [GCE(), Bootstrap(), CrossEntropy(0.1)], ids=lambda loss: type(loss).__name__)
def test_accumulation_changes_nothing(tmp_path, loss):
    whole = train(tmp_path, loss)
    for size, accumulation in ((2, 4), (4, 2)):
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        assert distance(parameters(train(tmp_path, loss, **settings).model), parameters(whole.model)) < 1e-6
    assert distance(parameters(bert()), parameters(whole.model)) > 1e-3


def test_gradient_is_that_of_the_mean_over_the_rows(tmp_path):
    expected = by_hand(GCE())
    assert distance(parameters(train(tmp_path, **IN_ORDER).model), parameters(expected)) < 1e-6
    accumulated = train(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **IN_ORDER)
    assert distance(parameters(accumulated.model), parameters(expected)) < 1e-6


def test_settings_of_the_trainer_for_other_losses_do_not_interfere(tmp_path):
    plain = train(tmp_path)
    for settings in ({"label_smoothing_factor": 0.3}, {"average_tokens_across_devices": False}):
        changed = train(tmp_path, **settings)
        assert distance(parameters(changed.model), parameters(plain.model)) == 0.0
        assert changed.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]


@pytest.mark.parametrize("column", ["label", "labels"])
def test_labels_are_found_under_either_name(tmp_path, column):
    rows = make_rows(count=ROWS)
    renamed = rows if column == "label" else rows.rename_column("label", "labels")
    trained = train(tmp_path, rows=renamed, **IN_ORDER)
    assert distance(parameters(trained.model), parameters(by_hand(GCE()))) < 1e-6


def test_evaluation_is_the_mean_over_the_rows(tmp_path):
    trainer = train(tmp_path)
    model, rows = trainer.model.eval(), make_rows(count=ROWS)
    with torch.no_grad():
        logits = model(torch.tensor(rows["input_ids"][:]), torch.tensor(rows["attention_mask"][:])).logits
        expected = GCE()(logits, torch.tensor(rows["label"][:])).mean().item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)


def test_missing_labels_are_refused(tmp_path):
    rows = make_rows(count=8).remove_columns("label")
    with pytest.raises(ValueError, match="the batch has no labels; name the label column 'label' or 'labels'"):
        train(tmp_path, rows=rows)


def test_a_scheduled_loss_is_refused():
    with pytest.raises(
        ValueError, match=r"DAL depends on the progress of training, .* use NoisyTrainer\(..., method=DAL"
    ):
        for_trainer(DAL())


def test_soft_labels_are_refused_because_their_rows_are_miscounted(tmp_path):
    rows = make_rows(count=8).remove_columns("label")
    soft = Dataset.from_dict(rows.to_dict() | {"labels": [[0.5, 0.25, 0.25]] * 8})
    with pytest.raises(ValueError, match=r"labels must be one class per row, got shape \(8, 3\).*use NoisyTrainer"):
        train(tmp_path, CrossEntropy(), rows=soft)


def test_logits_of_tokens_are_refused():
    outputs = SequenceClassifierOutput(logits=torch.zeros(2, 5, 3))
    with pytest.raises(
        ValueError,
        match=r"model must return logits .*has logits of shape \(2, 5, 3\) for a batch of 2",
    ):
        for_trainer(GCE())(outputs, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"no logits for a batch of 2; use a sequence or image classification model"):
        for_trainer(GCE())({"loss": torch.zeros(())}, torch.tensor([0, 1]))
    assert for_trainer(GCE())((torch.zeros(2, 3),), torch.tensor([0, 1])).isfinite()  # tuples, as of return_dict=False


def test_several_gpus_in_one_process_are_refused():
    outputs, labels = {"logits": torch.zeros(2, 3)}, torch.tensor([0, 1])
    loss = for_trainer(GCE())
    assert loss(outputs, labels, torch.tensor(4)) == loss(outputs, labels) / 2
    with pytest.raises(ValueError, match="several GPUs in one process"):
        loss(outputs, labels, torch.tensor([[4], [4]]))
