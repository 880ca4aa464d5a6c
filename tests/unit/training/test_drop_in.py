"""What users of `Trainer` bring along: modules, collators, rows, labels and subclasses of their own."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import BertForSequenceClassification, LayoutLMConfig, LayoutLMForSequenceClassification, Trainer

from hf_noisy.methods import METHODS, NRD
from hf_noisy.models import BranchedModel
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import (
    CLASSES,
    WORDS,
    bert,
    distance,
    make_args,
    make_model,
    make_rows,
    make_trainer,
    parameters,
    run,
)

ACCUMULATED = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}


def stock(folder: Any, model: nn.Module, rows: Any = None, **changes: Any) -> Trainer:
    """A trained `Trainer`, whose loss for models of transformers is exact with one batch per step."""
    trainer_changes = changes.pop("trainer", {})
    rows = make_rows() if rows is None else rows
    trainer = Trainer(model, make_args(folder, **changes), train_dataset=rows, **trainer_changes)
    trainer.train()
    return trainer


# Modules


class Net(nn.Module):
    """A module of the user's, in the forms that `Trainer` takes."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES)
        if config:
            self.config = SimpleNamespace(to_dict=lambda: config, **config)

    def logits(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids).mean(1))


class AnyInputs(Net):
    def forward(self, labels=None, **inputs):
        logits = self.logits(inputs["input_ids"])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class RequiredLabels(Net):
    def forward(self, input_ids, labels):
        logits = self.logits(input_ids)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Tuples(Net):
    def forward(self, input_ids, labels=None):
        logits = self.logits(input_ids)
        return (logits,) if labels is None else (nn.functional.cross_entropy(logits, labels), logits)


class LossAlways(Net):
    def forward(self, input_ids, labels):
        logits = self.logits(input_ids)
        return nn.functional.cross_entropy(logits, labels), logits, self.embedding(input_ids)


class Target(Net):
    def forward(self, input_ids, target):
        logits = self.logits(input_ids)
        return {"loss": nn.functional.cross_entropy(logits, target), "logits": logits}


@pytest.mark.parametrize("network", [AnyInputs, RequiredLabels, Tuples, LossAlways], ids=lambda one: one.__name__)
@pytest.mark.parametrize("keep", [False, True])
def test_modules_of_the_user_are_trained_as_by_trainer(network, keep, tmp_path):
    rows = make_rows().remove_columns("attention_mask")
    settings = {"remove_unused_columns": not keep}
    ours = run(tmp_path, "cross_entropy", network(), rows=rows, **settings)
    # Of forward(**inputs) Trainer itself removes all columns.
    theirs = stock(tmp_path, network(), rows, remove_unused_columns=False)
    assert distance(ours, theirs.model) < 1e-6
    assert distance(ours, network()) > 1e-3
    metrics = ours.evaluate(rows)
    assert metrics["eval_loss"] == pytest.approx(theirs.evaluate(rows)["eval_loss"], abs=1e-6)
    for one, other in zip(as_tuple(ours.predict(rows)), as_tuple(theirs.predict(rows)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert distance(ours, run(tmp_path, "cross_entropy", network(), rows=rows, **settings, **ACCUMULATED)) < 1e-6


def as_tuple(predicted: Any) -> tuple[np.ndarray, ...]:
    return predicted.predictions if isinstance(predicted.predictions, tuple) else (predicted.predictions,)


def test_labels_of_another_name_are_trained_exactly(tmp_path):
    rows = make_rows().remove_columns("attention_mask").rename_column("label", "target")
    settings = {"rows": rows, "label_names": ["target"]}
    ours = run(tmp_path, "cross_entropy", Target(), **settings)
    assert distance(ours, stock(tmp_path, Target(), rows, label_names=["target"]).model) < 1e-6
    assert distance(ours, run(tmp_path, "cross_entropy", Target(), **settings, **ACCUMULATED)) < 1e-6
    assert ours.predict(rows).label_ids.tolist() == rows["target"][:]
    assert "eval_loss" in ours.evaluate(rows)


def test_tuples_of_a_transformers_model_are_outputs_too(tmp_path):
    model = bert()
    model.config.return_dict = False
    ours = run(tmp_path, "cross_entropy", model)
    assert distance(ours, run(tmp_path)) == 0.0
    assert ours.predict(make_rows()).predictions.shape == (21, CLASSES)
    branches = make_trainer(tmp_path, "nct", "branches")
    branches.model.branches[0].config.return_dict = False
    assert branches.predict(make_rows()).predictions.shape == (21, CLASSES)


def test_config_of_another_number_of_classes_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Tuples has config.num_labels=2, but no linear layer with 2 outputs.*has 3"):
        make_trainer(tmp_path, "cross_entropy", Tuples(num_labels=2))


@pytest.mark.parametrize("told", [True, False])
def test_a_loss_of_the_model_that_is_not_used_is_told(told, tmp_path, monkeypatch):
    messages: list[str] = []
    monkeypatch.setattr("hf_noisy.training.model_outputs.logger.warning", messages.append)
    make_trainer(tmp_path, "gce", RequiredLabels() if told else bert())
    assert [message.split(" computes")[0] for message in messages] == ["a loss that RequiredLabels"] * told
    if told:
        assert "GCE computes it from the logits" in messages[0]


def test_several_labels_a_row_are_refused_as_such(tmp_path):
    several = make_rows("plain", 6).remove_columns("label").add_column("label", [[1.0, 0.0, 1.0]] * 6)
    with pytest.raises(ValueError, match="model must classify into one label, got 2 classes in row 0"):
        run(tmp_path, rows=several)
    one = make_rows("plain", 6).remove_columns("label").add_column("label", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]] * 3)
    with pytest.warns(UserWarning, match="labels are one-hot vectors, trained as one class per row"):
        run(tmp_path, rows=one)


# Branches


def layout() -> LayoutLMForSequenceClassification:
    torch.manual_seed(0)
    config = LayoutLMConfig(
        vocab_size=WORDS,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_2d_position_embeddings=32,
        num_labels=2,
        initializer_range=0.3,
    )
    return LayoutLMForSequenceClassification(config)


@pytest.mark.parametrize("method", ["nct", "dygen"])
def test_branches_get_every_input_that_a_branch_accepts(method, tmp_path):
    rows = Dataset.from_dict(
        {
            "input_ids": [[5] * 4] * 16,
            "bbox": [[[0, 0, 2, 2] if i % 2 else [20, 20, 30, 30]] * 4 for i in range(16)],
            "label": [i % 2 for i in range(16)],
        }
    )
    chosen = METHODS[method](vae_epochs=1) if method == "dygen" else method
    model = layout()
    assert "bbox" in BranchedModel.from_model(model).branch_inputs
    trainer = make_trainer(tmp_path, chosen, model, rows=rows, learning_rate=0.2, num_train_epochs=6)
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    loaded = BranchedModel.from_pretrained(tmp_path / "saved" / "branches")
    given = {name: torch.tensor(rows[name][:]) for name in ("input_ids", "bbox")}
    assert (loaded(**given).logits.argmax(-1).numpy() == np.arange(16) % 2).mean() > 0.9
    predicted = trainer.predict(rows).predictions
    assert np.ptp(predicted[::2], axis=0).max() < 1e-4  # rows of one box are alike
    assert abs(predicted[0] - predicted[1]).max() > 1e-2


def test_noise_on_embeddings_reaches_every_branch(tmp_path):
    plain = run(tmp_path, "nct", "branches")
    noisy = run(tmp_path, "nct", "branches", neftune_noise_alpha=5.0)
    changed = {
        name.split(".")[1] for name, value in parameters(noisy).items() if (parameters(plain)[name] != value).any()
    }
    assert changed == {"0", "1"}
    assert noisy.neftune_noise_alpha == 5.0
    embeddings = [branch.get_input_embeddings() for branch in noisy.model.branches]
    assert not any(one._forward_hooks or hasattr(one, "neftune_noise_alpha") for one in embeddings)
    assert distance(run(tmp_path, "nct", "branches", neftune_noise_alpha=0.0), plain) == 0.0


# Subclasses


class OwnMean(NoisyTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)  # a model without **kwargs refuses what is not its own
        loss = nn.functional.cross_entropy(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


class OwnSum(OwnMean):
    loss_is_scaled_for_ga = True

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        loss = loss * len(outputs.logits) / (num_items_in_batch or len(outputs.logits))
        return (loss, outputs) if return_outputs else loss


class Extended(NoisyTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        assert outputs["loss"] is loss
        assert outputs["logits"].ndim == 2
        return (loss, outputs) if return_outputs else loss


class ExtendedMean(NoisyTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs)


@pytest.mark.parametrize("subclass", [OwnMean, OwnSum, Extended, ExtendedMean])
def test_overridden_loss_is_scaled_once(subclass, tmp_path):
    rows = make_rows("plain", 24)
    whole = run(tmp_path, rows=rows)
    for settings in ({}, ACCUMULATED):
        ours = run(tmp_path, rows=rows, trainer_class=subclass, **settings)
        assert distance(ours, whole) < 1e-6, settings
    assert "eval_loss" in ours.evaluate(rows)


def test_overridden_loss_that_leaves_the_method_out_is_told(tmp_path, monkeypatch):
    messages: list[str] = []
    monkeypatch.setattr("hf_noisy.training.guards.logger.warning_once", messages.append)
    run(tmp_path, trainer_class=Extended, **ACCUMULATED)
    assert not messages
    run(tmp_path, trainer_class=OwnMean, **ACCUMULATED)
    assert messages[0].startswith("OwnMean.compute_loss does not call super().compute_loss, so the method is not used")
    assert "counts as the mean of a micro-batch" in messages[0]


def test_own_training_loader_is_used(tmp_path):
    class OwnLoader(NoisyTrainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(Pairs(), batch_size=8, collate_fn=from_pairs)

    ours = make_trainer(tmp_path, "cross_entropy", trainer_class=OwnLoader)
    ours.train()
    theirs = run(tmp_path, train_sampling_strategy="sequential")
    assert distance(ours, theirs) < 1e-6
    plain = NRD(teacher_view=None)
    assert distance(run(tmp_path, plain, trainer_class=OwnLoader), bert()) > 1e-3
    assert plain.teacher is not None
    with pytest.raises(ValueError, match="method ELR needs row numbers, which the training loader adds"):
        make_trainer(tmp_path, "elr", trainer_class=OwnLoader).train()


# Rows and collators


class Pairs(torch.utils.data.Dataset):
    """Rows that are tuples."""

    def __init__(self) -> None:
        self.rows = make_rows()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[list[int], int]:
        return self.rows[position]["input_ids"], self.rows[position]["label"]


@dataclass
class Example:
    ids: list[int]
    label: int


def from_pairs(rows: list[tuple[list[int], int]]) -> dict[str, Tensor]:
    ids, labels = zip(*rows, strict=True)
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


def from_objects(rows: list[Example]) -> dict[str, Tensor]:
    return from_pairs([(row.ids, row.label) for row in rows])


def sliced(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Cuts every column but the label."""
    columns = {name: torch.tensor([row[name][:6] for row in rows]) for name in rows[0] if name != "label"}
    return {**columns, "labels": torch.tensor([row["label"] for row in rows])}


OWN_ROWS = {
    "tuples": (Pairs(), from_pairs),
    "objects": ([Example(*pair) for pair in Pairs()], from_objects),
    "sliced": (make_rows(), sliced),
}


@pytest.mark.parametrize("kind", OWN_ROWS)
@pytest.mark.parametrize("method", ["cross_entropy", "elr", "nct"])
def test_rows_and_collators_of_the_user(kind, method, tmp_path):
    rows, collator = OWN_ROWS[kind]
    model = "branches" if method == "nct" else "plain"
    ours = run(tmp_path, method, model, rows=rows, trainer={"data_collator": collator})
    plain = make_rows().remove_columns("attention_mask") if kind != "sliced" else make_rows()
    assert distance(ours, run(tmp_path, method, model, rows=plain)) < 1e-6


class IndexInput(Net):
    def forward(self, input_ids, index, labels=None):
        logits = self.logits(input_ids) * index[:, None]
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}


def test_model_with_an_input_of_the_name_index(tmp_path):
    rows = make_rows().remove_columns("attention_mask").add_column("index", [0.5, 1.0, 2.0] * 7)
    ours = run(tmp_path, "elr", IndexInput(), rows=rows)
    assert distance(ours, run(tmp_path, "elr", Tuples(), rows=rows)) > 1e-3
    plain = run(tmp_path, "cross_entropy", IndexInput(), rows=rows)
    assert distance(plain, stock(tmp_path, IndexInput(), rows).model) < 1e-6


def test_row_weights_do_not_depend_on_the_collator(tmp_path):
    rows = make_rows().add_column("label_weight", [0.0, 1.0, 2.0] * 7)
    ours = run(tmp_path, rows=rows, trainer={"data_collator": sliced})
    assert distance(ours, run(tmp_path, rows=rows)) == 0.0
    assert distance(ours, run(tmp_path)) > 1e-3


def test_unused_columns_are_not_read(tmp_path):
    broken = {"bytes": b"no picture", "path": None}
    rows = make_rows()
    image = Dataset.from_dict({"image": [broken] * 21}, features=datasets.Features({"image": datasets.Image()}))
    rows = datasets.concatenate_datasets([rows, image], axis=1)
    assert distance(run(tmp_path, "nct", "branches", rows=rows), run(tmp_path, "nct", "branches")) == 0.0
    trainer = run(tmp_path, METHODS["dygen"](vae_epochs=1), "branches", rows=rows)
    assert trainer.dygen is not None


# Labels


def relabelled(labels: list[Any], name: str = "label") -> Dataset:
    return make_rows("plain", len(labels)).remove_columns("label").add_column(name, labels)


@pytest.mark.parametrize("name", ["label", pytest.param("labels", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["cross_entropy", "soft_correction", "auto"])
def test_nested_labels_are_labels(name, method, tmp_path):
    labels = [i % 3 for i in range(60)]
    flat = trained(tmp_path / "flat", method, relabelled(labels, name))
    nested = trained(tmp_path / "nested", method, relabelled([[label] for label in labels], name))
    assert distance(flat, nested) == 0.0
    assert nested.evaluate(relabelled([[1], [0], [2]], name))["eval_loss"] > 0


def trained(folder: Any, method: str, rows: Dataset) -> NoisyTrainer:
    model = bert()
    model.name_or_path = "pretrained"
    trainer = NoisyTrainer(model, make_args(folder, max_steps=3), train_dataset=rows, method=method)
    trainer.train()
    return trainer


def test_labels_that_are_no_classes_say_so(tmp_path):
    with pytest.raises(ValueError, match=r"labels must be integers, got text such as 'spam'; .*class_encode_column"):
        run(tmp_path, rows=relabelled(["spam", "ham", "spam"]))
    with pytest.raises(ValueError, match="got lists of 1 to 3 labels, as of tokens"):
        run(tmp_path, rows=relabelled([[0, 1, 2], [1], [0, 1]]))


def test_rows_without_an_input_say_so(tmp_path):
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 2]})
    with pytest.raises(ValueError, match=r"no input of Bert.* \(such as 'input_ids'\), only text, label; tokenize"):
        run(tmp_path, rows=rows)


def test_input_that_is_no_column_may_come_of_a_transform(tmp_path):
    rows = make_rows().rename_column("input_ids", "ids")
    lazy = rows.with_transform(lambda batch: {"input_ids": batch["ids"], "label": batch["label"]})
    assert distance(run(tmp_path, rows=lazy), run(tmp_path, rows=make_rows().remove_columns("attention_mask"))) < 1e-6


# Weights of classes


def test_class_weights_of_one_batch_are_those_of_torch(tmp_path):
    rows, weights = make_rows(), [1.0, 5.0, 0.5]
    settings = {"rows": rows, "per_device_train_batch_size": 21, "max_steps": 1}
    ours = run(tmp_path, **settings, trainer={"class_weight": weights})
    model = bert()
    inputs = {name: torch.tensor(rows[name][:]) for name in ("input_ids", "attention_mask")}
    model.train()
    loss = nn.functional.cross_entropy(
        model(**inputs).logits, torch.tensor(rows["label"][:]), weight=torch.tensor(weights)
    )
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert distance(ours, model.state_dict()) < 1e-6


@pytest.mark.parametrize("method", ["cross_entropy", "gce", "elr", "nct", "coregularization"])
@pytest.mark.parametrize("weight", ["balanced", [1.0, 5.0, 0.5]], ids=str)
def test_class_weights_are_exact_under_accumulation(method, weight, tmp_path):
    model = "plain" if method in ("cross_entropy", "gce", "elr") else "branches"
    settings = {"trainer": {"class_weight": weight}}
    whole = run(tmp_path, method, model, **settings)
    assert distance(whole, run(tmp_path, method, model, **settings, **ACCUMULATED)) < 1e-6
    assert distance(whole, run(tmp_path, method, model)) > 1e-4


def test_balanced_is_the_inverse_frequency(tmp_path):
    rows = relabelled([0] * 6 + [1] * 3 + [2] * 12)
    balanced = run(tmp_path, rows=rows, trainer={"class_weight": "balanced"})
    by_hand = run(tmp_path, rows=rows, trainer={"class_weight": torch.tensor([2.0, 4.0, 1.0])})
    column = run(tmp_path, rows=rows.add_column("label_weight", [21 / 3 / n for n in [6] * 6 + [3] * 3 + [12] * 12]))
    assert distance(balanced, by_hand) < 1e-6
    assert distance(balanced, column) < 1e-6
    soft = rows.remove_columns("label").add_column("label", np.eye(3)[rows["label"][:]].tolist())
    with pytest.warns(UserWarning, match="one-hot"):
        assert distance(balanced, run(tmp_path, rows=soft, trainer={"class_weight": "balanced"})) < 1e-6


def test_checked_labels_have_their_own_weight(tmp_path):
    rows = relabelled([0] * 6 + [1] * 3 + [2] * 12)
    checked = np.full(21, -1)
    checked[:3] = 1
    ours = run(tmp_path, rows=rows, trainer={"class_weight": "balanced", "checked": checked})
    right = relabelled([1] * 3 + [0] * 3 + [1] * 3 + [2] * 12)
    assert distance(ours, run(tmp_path, rows=right, trainer={"class_weight": "balanced"})) < 1e-6


@pytest.mark.parametrize("wrong", ["even", [1.0, 2.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], {0: 1.0}], ids=str)
def test_wrong_class_weights_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="class_weight must be 'balanced' or 3 numbers of at least 0"):
        make_trainer(tmp_path, trainer={"class_weight": wrong})


def test_class_weights_need_rows_and_stay_in_a_resumed_run(tmp_path):
    stream = make_rows().to_iterable_dataset()
    with pytest.raises(ValueError, match="class_weight needs a train_dataset with a length"):
        run(tmp_path, rows=stream, max_steps=1, trainer={"class_weight": "balanced"})
    run(tmp_path, save_strategy="steps", save_steps=3, trainer={"class_weight": [1, 2, 3]})
    with pytest.raises(ValueError, match="class weights differ"):
        run(tmp_path, resume=str(tmp_path / "checkpoint-3"))


def test_models_of_transformers_train_as_by_trainer(tmp_path):
    model = make_model("plain")
    assert isinstance(model, BertForSequenceClassification)
    assert distance(run(tmp_path, "cross_entropy", model), stock(tmp_path, make_model("plain")).model) < 1e-6
