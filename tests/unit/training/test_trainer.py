import math
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from scipy.special import log_softmax
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.methods import Batch, LossMethod, Method, Step
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import (
    CLASSES,
    WORDS,
    bert,
    distance,
    logged_losses,
    make_args,
    make_model,
    make_rows,
    make_trainer,
    parameters,
    run,
)

SMALL = BertConfig(
    vocab_size=WORDS, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
)


class Bag(nn.Module):
    """A module that transformers does not know: it takes no labels and returns what `form` makes of logits."""

    def __init__(self, form: Any = lambda logits: SequenceClassifierOutput(logits=logits)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(WORDS, 8)
        self.head = nn.Linear(8, CLASSES)
        self.form = form

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.form(self.head(self.embedding(input_ids).mean(1)))


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows: Dataset) -> None:
        self.rows = [{"input_ids": torch.tensor(row["input_ids"]), "labels": row["label"]} for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Spy(Method):
    """Cross-entropy that keeps the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.setups: list[tuple[bool, int | None]] = []
        self.steps = 0

    def setup(self, model: nn.Module, accelerator: Any, num_rows: int | None = None) -> None:
        self.setups.append((accelerator is not None, num_rows))

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        self.batches.append(batch)
        outputs = model(**batch.inputs)
        return Step(nn.functional.cross_entropy(outputs.logits, batch.labels, reduction="none"), outputs)

    def after_step(self, model: nn.Module) -> None:
        assert type(model).__name__ == "BertForSequenceClassification"
        self.steps += 1


def with_labels(labels: list[Any], **columns: Any) -> Dataset:
    rows = make_rows().select(range(len(labels)))
    return Dataset.from_dict({**rows.remove_columns("label").to_dict(), "label": labels, **columns})


# What is refused


def test_unknown_method_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"method 'gce2' is not known \(did you mean 'gce'\?\); choose one of"):
        NoisyTrainer(bert(), make_args(tmp_path), train_dataset=make_rows(), method="gce2")


@pytest.mark.parametrize("model_class", [BertModel, BertForMaskedLM])
def test_model_without_classes_is_refused(model_class, tmp_path):
    with pytest.raises(
        ValueError, match=r"head suitable for your task|BertForMaskedLM is not a text or image classifier|no linear"
    ):
        NoisyTrainer(model_class(SMALL), make_args(tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], "labels must be classes 0 to 2, got 3 in row 3"),
        ([0, 1, 2, -1], "labels must be classes 0 to 2, got -1"),
        ([0, 1, 2, -100], "labels must be classes 0 to 2, got -100"),
        ([0, 1, 2, None], "labels has a missing value"),
        ([0.0, 1.0, 2.0, math.nan], "labels has a missing value"),
        ([0.5, 1.0, 2.0, 0.0], "labels must be one integer per row"),
    ],
)
def test_bad_labels_are_refused_before_the_first_step(labels, message, tmp_path):
    trainer = make_trainer(tmp_path, Spy(), rows=with_labels(labels))
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.method.batches == []


@pytest.mark.parametrize("label", [3, -1])
def test_bad_labels_of_any_dataset_are_refused(label, tmp_path):
    rows = [*Rows(make_rows()), {"input_ids": torch.zeros(6, dtype=torch.long), "labels": label}]
    with pytest.raises(ValueError, match="labels must"):
        run(tmp_path, rows=rows)
    lazy = with_labels([0, 1, 2, label]).with_transform(lambda batch: batch)
    with pytest.raises(ValueError, match="labels must"):
        run(tmp_path, rows=lazy)


def test_no_label_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the batch has no labels; name the label column 'label' or 'labels'"):
        run(tmp_path, rows=make_rows().rename_column("label", "target"))


def test_fewer_than_two_classes_are_refused(tmp_path):
    network = bert()
    network.config.num_labels = 1
    network.classifier = nn.Linear(8, 1)
    with pytest.raises(ValueError, match="model has 1 class, but at least 2 are needed"):
        run(tmp_path, "cross_entropy", network, rows=with_labels([0, 0, 0]))


def test_second_loss_is_refused(tmp_path):
    with pytest.raises(ValueError, match="compute_loss_func and method both define the loss"):
        make_trainer(tmp_path, trainer={"compute_loss_func": lambda *given, **more: None})


def test_label_smoothing_belongs_to_cross_entropy_alone(tmp_path):
    with pytest.raises(ValueError, match=r"label_smoothing_factor=0\.1 and the method both define the targets"):
        make_trainer(tmp_path, "coregularization", "branches", label_smoothing_factor=0.1)
    trainer = make_trainer(tmp_path, label_smoothing_factor=0.1)
    assert isinstance(trainer.method, LossMethod)
    assert trainer.method.loss.label_smoothing == 0.1
    trainer.train()
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)
    model, rows = bert(), make_rows()
    logits = model.eval()(input_ids=torch.tensor(rows["input_ids"])).logits
    whole = run(
        tmp_path, "cross_entropy", bert(), label_smoothing_factor=0.1, per_device_train_batch_size=21, max_steps=1
    )
    assert logged_losses(whole)[0] == pytest.approx(expected(logits, torch.tensor(rows["label"])).item(), abs=1e-4)


def test_a_class_without_rows_warns_and_works(tmp_path):
    with pytest.warns(UserWarning, match="no training row has label 1; these classes cannot be learned"):
        trainer = run(tmp_path, rows=with_labels([0, 2, 0, 2, 2]))
    assert distance(trainer, bert()) > 1e-3


# What methods see


def test_batches_carry_rows_progress_and_epoch(tmp_path):
    rows = make_rows()
    spy = Spy()
    trainer = run(tmp_path, spy, rows=rows, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert spy.steps == trainer.state.global_step == 6
    assert spy.setups == [(False, None), (True, 21)]
    assert all(set(batch.inputs) == {"input_ids", "attention_mask"} for batch in spy.batches)
    for batch in spy.batches:
        chosen = rows.select(batch.index.tolist())
        assert batch.labels.tolist() == list(chosen["label"])
        assert batch.inputs["input_ids"].tolist() == list(chosen["input_ids"])
    for epoch in range(2):
        seen = torch.cat([batch.index for batch in spy.batches if batch.epoch == epoch])
        assert sorted(seen.tolist()) == list(range(21))
    assert sorted({round(batch.progress * 6, 6) for batch in spy.batches}) == [0, 1, 2, 3, 4, 5]


def test_metrics_of_a_method_are_averaged_over_micro_batches(tmp_path):
    rows = make_rows("branches", 8)
    trainer = run(
        tmp_path,
        "coregularization",
        "branches",
        rows=rows,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=2,
        learning_rate=0.0,
    )
    first = trainer.state.log_history[0]
    inputs = {name: torch.tensor(rows[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        probabilities = make_model("branches")(**inputs).branch_logits.softmax(-1)
    task = -probabilities[torch.arange(8), :, torch.tensor(rows["label"])].log().mean()
    assert first["cross_entropy"] == pytest.approx(task.item(), rel=1e-5)
    consensus = probabilities.mean(1, keepdim=True)
    divergence = (consensus * ((consensus + 1e-5) / (probabilities + 1e-5)).log()).sum(-1).mean()
    assert first["disagreement"] == pytest.approx(divergence.item(), rel=1e-4)
    assert not any("disagreement" in entry for entry in trainer.state.log_history if "loss" not in entry)


def test_ranks_of_one_tensor_parallel_model_count_once(tmp_path, monkeypatch):
    trainer, rows = make_trainer(tmp_path), make_rows("plain", 8)
    inputs = {"input_ids": torch.tensor(rows["input_ids"]), "labels": torch.tensor(rows["label"])}
    trainer.model.train()
    alone = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=8)
    monkeypatch.setattr(Accelerator, "num_processes", 4)
    assert trainer.compute_loss(trainer.model, inputs, num_items_in_batch=8) == 4 * alone
    monkeypatch.setattr(trainer, "get_tp_size", lambda: 2)
    assert trainer.compute_loss(trainer.model, inputs, num_items_in_batch=8) == 2 * alone


# Evaluation


@pytest.mark.parametrize(
    ("method", "model"), [("cross_entropy", "plain"), ("coregularization", "branches"), ("coregularization", "lora")]
)
def test_evaluation_is_plain_cross_entropy(method, model, tmp_path):
    rows = make_rows(model, 10)
    seen = []

    def accuracy(prediction: Any) -> dict[str, float]:
        seen.append(prediction.predictions)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = run(tmp_path, method, model, trainer={"eval_dataset": rows, "compute_metrics": accuracy})
    metrics = trainer.evaluate()
    inputs = {name: torch.tensor(rows[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        logits = trainer.model.eval()(**inputs).logits.numpy()
    labels = np.array(rows["label"])
    assert metrics["eval_loss"] == pytest.approx(-log_softmax(logits, -1)[np.arange(10), labels].mean(), abs=1e-6)
    assert metrics["eval_accuracy"] == (logits.argmax(-1) == labels).mean()
    assert seen[0].shape == (10, CLASSES)
    np.testing.assert_allclose(seen[0], logits, atol=1e-6)


def test_evaluation_during_training_changes_nothing(tmp_path):
    rows = make_rows("plain", 7, seed=3)
    plain = run(tmp_path)
    watched = run(tmp_path, eval_strategy="steps", eval_steps=1, trainer={"eval_dataset": {"a": rows, "b": rows}})
    assert distance(plain, watched) == 0.0
    assert "eval_a_loss" in watched.state.log_history[1]


def test_prediction_needs_no_labels(tmp_path):
    trainer = run(tmp_path, "coregularization", "branches")
    rows = make_rows("plain", 7, seed=3)
    unlabelled = trainer.predict(rows.remove_columns("label"))
    assert unlabelled.label_ids is None
    assert (unlabelled.predictions == trainer.predict(rows).predictions).all()


# What `Trainer` accepts


def test_trainer_arguments_by_position_and_name(tmp_path):
    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": torch.tensor([row["input_ids"] for row in rows]),
            "labels": torch.tensor([row["label"] for row in rows]),
        }

    positional = NoisyTrainer(bert(), make_args(tmp_path), collate, make_rows(), method="cross_entropy")
    positional.train()
    assert distance(positional, run(tmp_path, trainer={"data_collator": collate, "compute_loss_func": None})) == 0.0


def test_model_init_and_optimizers(tmp_path):
    made = NoisyTrainer(args=make_args(tmp_path), model_init=lambda: bert(), train_dataset=make_rows())
    made.train()
    assert distance(made, bert()) > 1e-3
    first = parameters(made)
    made.train()  # begins again with a new model
    assert distance(made, first) == 0.0
    model = bert()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    given = run(tmp_path, "cross_entropy", model, trainer={"optimizers": (optimizer, schedule)})
    assert distance(given, run(tmp_path, learning_rate=0.5, lr_scheduler_type="constant")) == 0.0


def test_callbacks_and_a_stop(tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 2

    assert run(tmp_path, trainer={"callbacks": [Stop()]}).state.global_step == 2


def test_processing_class_pads(tmp_path):
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, WORDS)}}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    texts = [" ".join(f"w{2 + (i + j) % 20}" for j in range(1 + i % 5)) for i in range(12)]
    rows = Dataset.from_dict({"text": texts, "label": [i % 3 for i in range(12)]})
    rows = rows.map(lambda row: tokenizer(row["text"], return_token_type_ids=False))
    trainer = run(tmp_path, rows=rows, trainer={"processing_class": tokenizer, "eval_dataset": rows})
    assert math.isfinite(trainer.evaluate()["eval_loss"])
    assert distance(trainer, bert()) > 1e-3


def test_torch_dataset_and_stream_are_the_dataset(tmp_path):
    rows = make_rows("plain", 24)
    plain = run(tmp_path, rows=rows, train_sampling_strategy="sequential")
    assert distance(plain, run(tmp_path, rows=Rows(rows), train_sampling_strategy="sequential")) < 1e-6
    spy = Spy()
    stream = run(tmp_path, spy, rows=rows.to_iterable_dataset(), max_steps=6)
    assert distance(plain, stream) < 1e-6
    assert all((batch.index == -1).all() for batch in spy.batches)


@pytest.mark.parametrize(
    "form",
    [lambda logits: SequenceClassifierOutput(logits=logits), lambda logits: {"logits": logits}],
    ids=["output", "dictionary"],
)
def test_plain_module_is_trained_and_evaluated(form, tmp_path):
    rows = make_rows("plain", 10)
    trainer = run(tmp_path, "cross_entropy", Bag(form), rows=rows, bf16=False)
    assert distance(trainer, Bag()) > 1e-3
    metrics = trainer.evaluate(rows)
    logits = trainer.model.head(trainer.model.embedding(torch.tensor(rows["input_ids"])).mean(1)).detach()
    expected = nn.functional.cross_entropy(logits, torch.tensor(rows["label"])).item()
    assert metrics["eval_loss"] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(trainer.predict(rows).predictions, logits.numpy(), atol=1e-6)


def test_best_model_is_loaded_whatever_the_names_in_its_file(tmp_path):
    # A vision transformer is saved under other names than those of its modules.
    rows = make_rows("vit", 10)
    best: dict[str, torch.Tensor] = {}

    class Keep(TrainerCallback):
        def on_save(self, args, state, control, model=None, **kwargs):
            best[f"checkpoint-{state.global_step}"] = parameters(model)

    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = run(
        tmp_path,
        "cross_entropy",
        "vit",
        **settings,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the first is the worst, and so not the last
        trainer={"eval_dataset": rows, "callbacks": [Keep()]},
    )
    name = trainer.state.best_model_checkpoint.rsplit("/", 1)[-1]
    assert name != "checkpoint-6"
    assert distance(trainer, best[name]) == 0.0


def test_second_training_goes_on_from_the_first(tmp_path):
    trainer = run(tmp_path)
    before = parameters(trainer)
    trainer.train()
    assert distance(trainer, before) > 1e-3


def test_last_batch_can_be_dropped(tmp_path):
    spy = Spy()
    run(tmp_path, spy, dataloader_drop_last=True)
    assert [len(batch.labels) for batch in spy.batches] == [8, 8, 8, 8]
