"""Tokens and several labels: the same training as of one label, and of a stock `Trainer`, where they must be."""

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.methods import METHODS, SoftCorrection
from hf_noisy.models import BranchedModel
from hf_noisy.models.branches import BranchedOutput
from tests.contract.runs import (
    CASES,
    CLASSES,
    NOT_OF_CELLS,
    ONE_LABEL_ONLY,
    WORDS,
    distance,
    make_args,
    make_method,
    make_model,
    make_rows,
    make_trainer,
    pad,
    parameters,
    run,
)

TOLERANCE = 1e-6
MOVED = 1e-3
FAST = ("cross_entropy", "elr", "nct")
of_every_method = pytest.mark.parametrize(
    "method",
    [
        method if method in FAST else pytest.param(method, marks=pytest.mark.slow)
        # The correction of tags and of sets is not that of one label.
        for method in sorted({method for method, _ in CASES} - ONE_LABEL_ONLY - {"soft_correction"})
    ],
)


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_cross_entropy_is_that_of_a_stock_trainer(kind, tmp_path):
    settings = {"data_collator": pad} if kind == "tokens" else {}
    stock = Trainer(make_model(kind), make_args(tmp_path), train_dataset=make_rows(kind), **settings)
    stock.train()
    ours = run(tmp_path, "cross_entropy", kind)
    assert distance(stock.model, ours) < TOLERANCE
    assert distance(ours, make_model(kind)) > MOVED
    rows = make_rows(kind, 10, seed=5)
    assert ours.evaluate(rows)["eval_loss"] == pytest.approx(stock.evaluate(rows)["eval_loss"], abs=TOLERANCE)


def config(classes: int, **settings: Any) -> BertConfig:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertConfig(
        vocab_size=WORDS,
        max_position_embeddings=16,
        num_labels=classes,
        initializer_range=0.3,
        **sizes,
        **no_dropout,
        **settings,
    )


class FirstToken(BertForTokenClassification):
    """One label for a row: that of its first token."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=super().forward(input_ids, attention_mask).logits[:, 0])


class TwoClasses(BertForSequenceClassification):
    """One of two classes for a row, with the weights of a model that says of one class whether it is present."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=two_classes(super().forward(input_ids, attention_mask).logits))


class OneLabelBranches(BranchedModel):
    """Branches of a model for tokens or for several labels, as branches with one label for a row."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None) -> BranchedOutput:
        self.config.task = self.given_task
        outputs = super().forward(input_ids, attention_mask)
        self.config.task = "sequence-classification"
        if self.given_task == "token-classification":
            return BranchedOutput(logits=outputs.logits[:, 0], branch_logits=outputs.branch_logits[:, :, 0])
        return BranchedOutput(logits=two_classes(outputs.logits), branch_logits=two_classes(outputs.branch_logits))


def two_classes(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(logits), logits], -1)


def with_one_label(model: Any, classes: int) -> Any:
    """The same weights in a model with one label for a row."""
    if isinstance(model, BranchedModel):
        model.given_task, model.config.task = model.config.task, "sequence-classification"
        model.__class__ = OneLabelBranches
    else:
        model.__class__ = FirstToken if isinstance(model, BertForTokenClassification) else TwoClasses
        model.config.problem_type = None
    if model.config.num_labels != classes:
        model.config.num_labels = classes
        model.unused = torch.nn.Linear(1, classes)  # found as the head, by its number of classes
    return model


def compared(method: str, model: Any, tmp_path: Any, rows: Any, one_label_rows: Any, classes: int) -> None:
    def fresh() -> Any:
        torch.manual_seed(0)
        network = model()
        return BranchedModel.from_model(network) if getattr(METHODS[method], "num_branches", 1) > 1 else network

    of_task = parameters(run(tmp_path, method, fresh(), rows=rows))
    of_classes = make_method(method, cells=classes == 2)
    one_label = parameters(run(tmp_path, of_classes, with_one_label(fresh(), classes), rows=one_label_rows))
    same = {name: value for name, value in one_label.items() if not name.startswith("unused")}
    assert distance(of_task, same) < TOLERANCE
    assert distance(of_task, parameters(fresh())) > MOVED


@of_every_method
def test_one_token_a_row_is_one_label(method, tmp_path):
    rows = make_rows("plain")
    tokens = rows.map(lambda row: {"labels": [row["label"], *[-100] * 5]}, remove_columns="label")
    compared(method, lambda: BertForTokenClassification(config(CLASSES)), tmp_path, tokens, rows, CLASSES)


@of_every_method
def test_one_class_a_row_is_one_label_of_two(method, tmp_path):
    if method in NOT_OF_CELLS:
        pytest.skip("refused for several labels, as another test shows")
    rows = make_rows("plain").map(lambda row: {"label": row["label"] % 2})
    cells = rows.map(lambda row: {"labels": [float(row["label"])]}, remove_columns="label")
    several = {"problem_type": "multi_label_classification"}
    compared(method, lambda: BertForSequenceClassification(config(1, **several)), tmp_path, cells, rows, 2)


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_weights_of_rows_are_those_of_their_labels(kind, tmp_path):
    """A weight of each label, also of those that are none; a weight of 0 is as if the label were none."""
    rows = make_rows(kind)
    lists = [[float((row + place) % 3) for place in range(len(labels))] for row, labels in enumerate(rows["labels"])]
    of_labels = run(tmp_path, "elr", kind, rows=rows.add_column("label_weight", lists))
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    again = run(tmp_path, "elr", kind, rows=rows.add_column("label_weight", lists), **parts)
    assert distance(of_labels, again) < TOLERANCE
    assert distance(of_labels, run(tmp_path, "elr", kind)) > MOVED
    equal = run(tmp_path, "elr", kind, rows=rows.add_column("label_weight", [1.0] * len(rows)))
    assert distance(equal, run(tmp_path, "elr", kind)) == 0.0
    short = rows.add_column("label_weight", [[1.0]] * len(rows))
    with pytest.raises(ValueError, match="'label_weight' must be one number per row, or one for each of its"):
        run(tmp_path, "elr", kind, rows=short)


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_missing_labels(kind, tmp_path):
    # At a rate of 0 nothing changes; one rate for all classes is the same rate for each.
    plain = run(tmp_path, "cross_entropy", kind)
    assert distance(plain, run(tmp_path, "cross_entropy", kind, trainer={"missing_rate": 0.0})) < TOLERANCE
    one = run(tmp_path, "cross_entropy", kind, trainer={"missing_rate": 0.4})
    each = run(tmp_path, "cross_entropy", kind, trainer={"missing_rate": [0.4] * CLASSES})
    assert distance(one, each) == 0.0
    assert distance(one, plain) > MOVED
    with pytest.raises(ValueError, match="missing_rate must be a share in"):
        make_trainer(tmp_path, "cross_entropy", kind, trainer={"missing_rate": 1.0})


def test_missing_labels_of_one_label_are_refused(tmp_path):
    with pytest.raises(ValueError, match="missing_rate is for token and multi-label classification"):
        make_trainer(tmp_path, trainer={"missing_rate": 0.4})


@pytest.mark.parametrize("kind", ["tokens", "cells"])
@pytest.mark.parametrize("method", sorted(ONE_LABEL_ONLY))
def test_methods_of_one_label_are_refused(kind, method, tmp_path):
    with pytest.raises(ValueError, match=f"method {METHODS[method].__name__} is for examples with one label"):
        run(tmp_path, method, kind)


def test_a_loss_of_normalised_logits_is_refused_for_cells(tmp_path):
    with pytest.raises(ValueError, match=r"method SR normalises the logits of a row, .* take another"):
        run(tmp_path, "sr", "cells")


def other_labels(kind: str, rows: Any) -> list[Any]:
    """Checked labels of every third row, all different from the given ones."""
    flip = (lambda label: 1 - label) if kind == "cells" else (lambda label: (label + 1) % CLASSES)
    checked = []
    for number in range(len(rows)):
        labels = torch.as_tensor(rows[number]["labels"]).tolist()
        checked.append(None if number % 3 else [flip(one) if one != -100 else one for one in labels])
    return checked


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_checked_labels_are_trained_on(kind, tmp_path):
    rows = make_rows(kind)
    checked = other_labels(kind, rows)
    ours = run(tmp_path / "a", "cross_entropy", kind, trainer={"checked": checked})
    replaced = []
    for number in range(len(rows)):
        row = dict(rows[number])
        new = row["labels"] if checked[number] is None else checked[number]
        replaced.append({**row, "labels": torch.as_tensor(new).to(torch.as_tensor(row["labels"]).dtype)})
    expected = run(tmp_path / "b", "cross_entropy", kind, rows=replaced)
    assert distance(expected, ours) < TOLERANCE
    assert distance(run(tmp_path / "c", "cross_entropy", kind), ours) > MOVED


@pytest.mark.parametrize("kind", ["tokens", "cells"])
def test_soft_correction_is_certain_of_checked_labels(kind, tmp_path):
    rows = make_rows(kind)
    checked = other_labels(kind, rows)
    trainer = make_trainer(tmp_path, "soft_correction", kind, trainer={"checked": checked}, max_steps=1)
    trainer.train()
    targets, found = trainer.method.targets, trainer.checked
    assert torch.equal(targets[found.index].argmax(1), torch.from_numpy(found.labels))
    assert targets[found.index].max(1).values.min() == 1
    assert targets.sum(1) == pytest.approx(torch.ones(len(targets)))
    assert make_trainer(tmp_path / "auto", "auto", kind, trainer={"checked": checked}).checked is not None


@pytest.mark.parametrize("kind", ["tokens", "cells"])
@pytest.mark.parametrize(
    ("checked", "message"),
    [
        ([0] * 3, "checked must be a list or None for each of the"),
        ({"a": 1}, "must be a file, or a list for each example in the form of 'labels'"),
    ],
)
def test_checked_labels_of_another_form_are_refused(kind, checked, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, "cross_entropy", kind, trainer={"checked": checked})


def test_a_missing_rate_beside_the_correction_is_refused(tmp_path):
    with pytest.raises(ValueError, match="soft_correction corrects missing labels too"):
        make_trainer(tmp_path, "soft_correction", "cells", trainer={"missing_rate": 0.2}).train()


@pytest.mark.parametrize("argument", [{"class_prior": "given"}, {"transition": "counted"}])
def test_soft_correction_of_tags_takes_no_argument_of_one_label(argument, tmp_path):
    model = make_model("tokens")
    model.name_or_path = "pretrained"
    trainer = make_trainer(tmp_path, SoftCorrection(**argument), model)
    with pytest.raises(ValueError, match=f"{next(iter(argument))} is for examples with one label, not for token"):
        trainer.train()


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("tokens", [0, 9, -100], "labels of tokens must be classes 0 to 2, or -100 for none, got 9"),
        ("tokens", [0, -1, -100], "labels of tokens must be classes 0 to 2, or -100 for none, got -1"),
        ("cells", [0.0, 0.5, 1.0], "must be 1. for a class that it has and 0. for the others, got 0.5"),
        ("cells", [0.0, 1.0], "labels of an example must be 3 zeros and ones, one for each class, got 2 in row 0"),
    ],
)
def test_labels_that_fit_no_class_are_refused(kind, labels, message, tmp_path):
    rows = make_rows(kind, 3).remove_columns("labels").add_column("labels", [labels] * 3)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, "cross_entropy", kind, rows=rows)
