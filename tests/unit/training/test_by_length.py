"""Evaluation in batches of like length gives what evaluation in the order of the rows gives."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer

from hf_noisy.training.by_length import RowsByLength
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, WORDS, bert, make_args, make_method

ROWS = 23


class Words:
    """As much of a tokenizer as a collator needs."""

    model_input_names = ("input_ids", "attention_mask")
    padding_side = "right"

    def pad(self, rows, **_):
        width = max(len(row["input_ids"]) for row in rows)
        filled = {name: [list(row[name]) + [0] * (width - len(row[name])) for row in rows]
                  for name in self.model_input_names}  # fmt: skip
        filled["labels"] = [row["label"] for row in rows]
        if "index" in rows[0]:
            filled["index"] = [row["index"] for row in rows]
        return {name: torch.tensor(values) for name, values in filled.items()}


def texts(count: int = ROWS, seed: int = 0) -> Dataset:
    draw = np.random.default_rng(seed)
    ids = [draw.integers(3, WORDS, size).tolist() for size in draw.integers(1, 15, count)]
    mask = [[1] * len(row) for row in ids]
    return Dataset.from_dict(
        {"input_ids": ids, "attention_mask": mask, "label": draw.integers(0, CLASSES, count).tolist()}
    )


def make(folder, trainer_class=NoisyTrainer, method="cross_entropy", words=None, **settings):
    extra, words = {k: settings.pop(k) for k in ("compute_metrics",) if k in settings}, words or Words()
    if trainer_class is NoisyTrainer:
        extra["method"] = make_method(method)
    collate = {"data_collator": words.pad}
    trainer = trainer_class(bert(), make_args(folder, **settings), train_dataset=texts(), **collate, **extra)
    trainer.processing_class = words
    return trainer


def widths(trainer) -> list[int]:
    """Tokens of every row that the model is given, from here on."""
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.extend([kwargs["input_ids"].shape[1]] * len(kwargs["input_ids"])),
        with_kwargs=True,
    )
    return seen


def test_predictions_labels_and_loss_are_those_of_trainer(tmp_path):
    rows = texts()
    ours, plain = make(tmp_path), make(tmp_path, Trainer)
    seen, unsorted = widths(ours), widths(plain)
    found, expected = ours.predict(rows), plain.predict(rows)
    np.testing.assert_allclose(found.predictions, expected.predictions, atol=1e-6)
    assert np.ptp(expected.predictions, 0).min() > 1e-3, "all rows alike: nothing is compared"
    np.testing.assert_array_equal(found.label_ids, rows["label"])
    assert found.metrics["test_loss"] == pytest.approx(expected.metrics["test_loss"], abs=1e-6)
    assert len(seen) == len(unsorted) == ROWS
    assert sum(seen) < 0.75 * sum(unsorted)
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("names", [[], ["inputs"]])
def test_metrics_see_the_rows_in_order(tmp_path, names):
    rows, seen = texts(), []
    plain, ours = (
        make(
            tmp_path, kind, compute_metrics=lambda prediction: seen.append(prediction) or {}, include_for_metrics=names
        )
        for kind in (Trainer, NoisyTrainer)
    )
    compute_metrics = ours.compute_metrics
    plain.evaluate(rows), ours.evaluate(rows)
    expected, found = seen
    np.testing.assert_array_equal(found.label_ids, rows["label"])
    np.testing.assert_allclose(found.predictions, expected.predictions, atol=1e-6)
    if names:
        for row, ids in zip(found.inputs, rows["input_ids"], strict=True):
            assert row[: len(ids)].tolist() == ids
    assert ours.compute_metrics is compute_metrics


def test_a_teacher_is_evaluated_in_the_same_way(tmp_path):
    rows, seen = texts(), []
    trainer = make(tmp_path, method="nrd", compute_metrics=lambda given: seen.append(given.label_ids.tolist()) or {})
    trainer.train()
    trainer.evaluate(rows)
    assert seen == [list(rows["label"])] * len(seen)
    assert len(seen) > 1


def test_loaders_of_others_keep_the_order(tmp_path):
    trainer, rows = make(tmp_path), texts()
    used = trainer.get_eval_dataloader(rows)
    trainer.evaluation_loop(used, "Evaluation")
    for loader in (used, trainer.get_eval_dataloader(rows), trainer.get_test_dataloader(rows)):
        assert torch.cat([batch["labels"] for batch in loader]).tolist() == list(rows["label"])


def test_an_error_in_metrics_leaves_the_trainer_as_it_was(tmp_path):
    def broken(_):
        raise ZeroDivisionError

    trainer, rows = make(tmp_path, compute_metrics=broken), texts()
    with pytest.raises(ZeroDivisionError):
        trainer.evaluate(rows)
    assert trainer.compute_metrics is broken


def test_training_grouped_by_length_does_not_shuffle_predictions(tmp_path):
    rows = texts()
    for in_front in (False, True):  # with padding in front rows are not sorted
        words = Words()
        words.padding_side = "left" if in_front else "right"
        trainer = make(tmp_path, words=words, train_sampling_strategy="group_by_length")
        seen = widths(trainer)
        assert trainer.predict(rows).label_ids.tolist() == list(rows["label"])
        assert (seen == sorted(seen, reverse=True)) is not in_front


SETTINGS = [
    {"eval_do_concat_batches": False},
    {"dataloader_drop_last": True},
    {"batch_eval_metrics": True},
    {"include_for_metrics": ["loss"]},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_where_batches_matter_they_are_those_of_trainer(tmp_path, settings):
    metrics = {"compute_metrics": lambda prediction, compute_result=True: {}}
    ours, plain = (make(tmp_path, kind, **settings, **metrics) for kind in (NoisyTrainer, Trainer))
    seen, expected = widths(ours), widths(plain)
    ours.evaluate(texts()), plain.evaluate(texts())
    assert seen == expected


def test_only_masked_tokens_are_sorted(tmp_path):
    trainer, rows = make(tmp_path, NoisyTrainer), texts()
    assert trainer._get_eval_sampler(rows).order is not None
    assert trainer._get_eval_sampler(rows.remove_columns("attention_mask")).order is None
    assert trainer._get_eval_sampler(rows.with_transform(lambda batch: batch)).order is None


def test_rows_of_one_length_keep_their_order():
    assert RowsByLength(range(4), np.full(4, 7)).order is None
