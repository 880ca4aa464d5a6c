"""`method="model_loss"`: the loss that the model itself computes."""

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer

from hf_noisy.methods import as_method
from tests.contract.runs import CLASSES, WORDS, bert, distance, make_args, make_rows, make_trainer, run

ACCUMULATED = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
WEIGHTS = [1.0, 5.0, 0.5]


class Weighted(nn.Module):
    """A network of the user's with weights of classes in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES)

    def loss_and_logits(self, ids: Tensor, labels: Tensor | None) -> tuple[Tensor | None, Tensor]:
        logits = self.head(self.embedding(ids).mean(1))
        weights = torch.tensor(WEIGHTS)
        return None if labels is None else nn.functional.cross_entropy(logits, labels, weights), logits

    def forward(self, input_ids, labels=None):
        loss, logits = self.loss_and_logits(input_ids, labels)
        return {"loss": loss, "logits": logits}


class Tuples(Weighted):
    def forward(self, input_ids, labels=None):
        loss, logits = self.loss_and_logits(input_ids, labels)
        return (logits,) if loss is None else (loss, logits)


class Target(Weighted):
    def forward(self, input_ids, target=None):
        loss, logits = self.loss_and_logits(input_ids, target)
        return {"loss": loss, "logits": logits}


class NoLabels(Weighted):
    def forward(self, input_ids):
        return {"logits": self.loss_and_logits(input_ids, None)[1]}


class NoLoss(Weighted):
    def forward(self, input_ids, labels=None):
        return {"logits": self.loss_and_logits(input_ids, None)[1]}


def rows(**renamed):
    return make_rows().remove_columns("attention_mask").rename_columns(renamed)


def ours(folder, model, **settings):
    return run(folder, as_method("model_loss"), model, **settings)


@pytest.mark.parametrize(
    ("network", "data", "settings"),
    [(Weighted, rows(), {}), (Tuples, rows(), {}), (Target, rows(label="target"), {"label_names": ["target"]})],
    ids=["mapping", "tuple", "label_names"],
)
def test_class_weights_in_forward_train_as_by_trainer(network, data, settings, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="hf_noisy"):
        trained = ours(tmp_path, network(), rows=data, **settings)
    assert "is not used" not in caplog.text
    stock = Trainer(network(), make_args(tmp_path, **settings), train_dataset=data)
    stock.train()
    assert distance(trained, stock.model) < 1e-6
    assert distance(trained, run(tmp_path, "cross_entropy", network(), rows=data, **settings)) > 1e-3


def test_models_of_transformers_train_as_with_cross_entropy(tmp_path):
    whole = ours(tmp_path, bert())
    assert distance(whole, run(tmp_path, "cross_entropy", bert())) < 1e-6
    assert distance(whole, ours(tmp_path, bert(), **ACCUMULATED)) < 1e-6


def test_a_model_in_bfloat16_trains_as_by_trainer(tmp_path):
    stock = Trainer(bert().bfloat16(), make_args(tmp_path, num_train_epochs=6), train_dataset=make_rows())
    stock.train()
    assert distance(ours(tmp_path, bert().bfloat16(), num_train_epochs=6), stock.model) == 0.0
    other = run(tmp_path, "cross_entropy", bert().bfloat16(), num_train_epochs=6)  # whose loss is in float32
    assert 0.0 < distance(other, stock.model) < 0.01


def test_the_loss_is_that_of_checked_labels(tmp_path):
    data, checked = rows(), np.full(21, -1)
    right = np.array(data["label"][:])
    checked[:5] = right[:5] = (right[:5] + 1) % CLASSES
    corrected = data.remove_columns("label").add_column("label", right.tolist())
    trained = ours(tmp_path, Weighted(), rows=data, trainer={"checked": checked})
    assert distance(trained, ours(tmp_path, Weighted(), rows=corrected)) < 1e-6
    assert distance(trained, ours(tmp_path, Weighted(), rows=data)) > 1e-3


@pytest.mark.parametrize("network", [NoLabels, NoLoss])
def test_a_model_without_a_loss_is_refused(network, tmp_path):
    with pytest.raises(ValueError, match=rf"{network.__name__} returns no loss for labels, .* take 'cross_entropy'"):
        ours(tmp_path, network(), rows=rows())


@pytest.mark.parametrize("where", ["class_weight", "label_weight"])
def test_rows_cannot_be_weighted(where, tmp_path):
    data = rows().add_column("label_weight", [0.5] * 21) if where == "label_weight" else rows()
    given = {"class_weight": "balanced"} if where == "class_weight" else {}
    with pytest.raises(ValueError, match="class_weight and 'label_weight' need a loss of each row"):
        make_trainer(tmp_path, as_method("model_loss"), Weighted(), rows=data, trainer=given).train()
