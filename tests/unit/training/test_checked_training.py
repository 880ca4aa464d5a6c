"""Training with rows that a person has checked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset, Value

from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.detection import CheckedCorrection
from hf_noisy.detection.checked_choice import CORRECTED, GIVEN, UNCHECKED, choose_labels
from hf_noisy.methods import SoftCorrection
from hf_noisy.training.auto_measure import measure
from hf_noisy.training.auto_rules import choose
from hf_noisy.training.checked_labels import CheckedLabels
from hf_noisy.training.trainer import NoisyTrainer
from hf_noisy.training.vote_targets import VoteTargets
from tests.contract.runs import CLASSES, distance, make_args, make_model, make_rows

UNKNOWN = -1
NO_VOTES = VoteTargets(None, None, SoftCorrection(), False, CLASSES, SINGLE_LABEL)


def noisy_rows(count=90, rate=0.3):
    """Texts of random tokens, whose column of features tells their class; given labels, and the true ones."""
    rng = np.random.default_rng(0)
    true = np.arange(count) % CLASSES
    features = rng.normal(size=(count, 8)) + 4 * np.eye(8)[true]
    given = np.where(rng.random(count) < rate, (true + 1) % CLASSES, true)
    rows = make_rows(count=count).remove_columns("label")
    return rows.add_column("label", given.tolist()).add_column("features", features.tolist()), true


def some_checked(true, count=20):
    return np.where(np.arange(len(true)) < count, true, UNKNOWN)


def make_trainer(folder, rows, checked=None, method="soft_correction", **changes):
    return NoisyTrainer(
        make_model("plain"), make_args(folder, **changes), train_dataset=rows, method=method, checked=checked
    )


def test_targets_are_the_correction_and_checked_rows_are_as_they_were_checked(tmp_path):
    rows, true = noisy_rows()
    trainer = make_trainer(tmp_path, rows, some_checked(true), max_steps=1)
    trainer.train()
    features, given = np.array(rows["features"], np.float32), np.array(rows["label"])
    expected = CheckedCorrection().fit(
        features, given, np.arange(20), true[:20], num_classes=CLASSES, seed=trainer.args.seed
    )
    np.testing.assert_allclose(trainer.method.targets.numpy(), expected.posterior, atol=1e-6)
    np.testing.assert_array_equal(trainer.method.targets.numpy()[:20], np.eye(CLASSES)[true[:20]])


def test_a_column_says_the_same_as_the_argument(tmp_path):
    rows, true = noisy_rows()
    column = [int(label) if label >= 0 else None for label in some_checked(true)]
    with_column = rows.add_column("checked_label", column, feature=Value("int64"))
    one = make_trainer(tmp_path / "a", with_column, max_steps=2)
    other = make_trainer(tmp_path / "b", rows, some_checked(true), max_steps=2)
    one.train()
    other.train()
    np.testing.assert_array_equal(one.checked.index, other.checked.index)
    assert distance(one, other) == 0


def test_any_method_trains_on_the_checked_labels(tmp_path):
    rows, true = noisy_rows()
    right = rows.remove_columns("label").add_column("label", true.tolist())
    with_checked = make_trainer(tmp_path / "a", rows, true, "cross_entropy", max_steps=3)
    with_checked.train()
    with_true = make_trainer(tmp_path / "b", right, None, "cross_entropy", max_steps=3)
    with_true.train()
    assert distance(with_checked, with_true) == 0


def test_labels_of_a_batch_are_replaced_hard_and_soft():
    rows, true = noisy_rows(12)
    checked = CheckedLabels(rows, some_checked(true, 6), CLASSES, SINGLE_LABEL, NO_VOTES)
    index, given = torch.tensor([8, 0, 5]), torch.tensor([2, 2, 2])
    assert checked(given, index).tolist() == [2, int(true[0]), int(true[5])]
    soft = torch.full((3, CLASSES), 1 / CLASSES)
    expected = torch.stack([soft[0], torch.eye(CLASSES)[true[0]], torch.eye(CLASSES)[true[5]]])
    torch.testing.assert_close(checked(soft, index), expected)
    with pytest.raises(ValueError, match="found by row numbers, which the training loader adds"):
        checked(given, None)


def test_rows_that_name_no_classes_take_those_of_the_model():
    rows = [{"labels": 0}, {"labels": 1}]
    assert CheckedLabels(rows, np.array([-1, 1]), 2, SINGLE_LABEL, NO_VOTES).rows.index.tolist() == [1]
    with pytest.raises(ValueError, match="not among the classes"):
        CheckedLabels(rows, np.array([-1, 2]), 2, SINGLE_LABEL, NO_VOTES)


def test_bad_checked_rows_are_refused_when_the_trainer_is_made(tmp_path):
    rows, true = noisy_rows()
    with pytest.raises(ValueError, match="90 rows"):
        make_trainer(tmp_path, rows, true[:-1])
    with pytest.raises(FileNotFoundError, match="is missing; download it"):
        make_trainer(tmp_path, rows, "checked.csv")
    with pytest.raises(ValueError, match="without streaming"):
        make_trainer(tmp_path, rows.to_iterable_dataset(), true, "cross_entropy", max_steps=1)


def test_a_run_with_other_checked_rows_is_not_resumed(tmp_path):
    rows, true = noisy_rows()
    steps = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    make_trainer(tmp_path, rows, some_checked(true), **steps).train()
    with pytest.raises(ValueError, match="checked labels differ"):
        make_trainer(tmp_path, rows, some_checked(true, 30), **steps).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-2")
        )


def test_use_checked_false_takes_the_posterior_of_the_given_labels(tmp_path):
    rows, true = noisy_rows()
    plain = make_trainer(tmp_path / "a", rows, None, SoftCorrection("uniform"), max_steps=1)
    plain.train()
    checked = make_trainer(tmp_path / "b", rows, some_checked(true), SoftCorrection("uniform", False), max_steps=1)
    checked.train()
    np.testing.assert_array_equal(checked.method.targets[20:], plain.method.targets[20:])
    np.testing.assert_array_equal(checked.method.targets.numpy()[:20], np.eye(CLASSES)[true[:20]])


def test_auto_compares_labels_on_the_checked_rows(tmp_path):
    rows, true = noisy_rows(rate=0.4)
    trainer = make_trainer(tmp_path, rows, some_checked(true, 40), "auto", max_steps=1)
    trainer.train()
    assert trainer.choice.method == "soft_correction"
    assert trainer.choice.why.startswith("of 40 checked rows, each without its own checked label, these are right: ")


def test_auto_does_not_correct_where_features_say_nothing():
    rows, true = noisy_rows(rate=0.3)
    noise = np.random.default_rng(1).normal(size=(len(true), 8))
    rows = rows.remove_columns("features").add_column("features", noise.tolist())
    checked = CheckedLabels(rows, some_checked(true, 40), CLASSES, SINGLE_LABEL, NO_VOTES).rows
    measured = measure(make_model("plain"), rows, checked=checked)
    measured = replace(measured, noise=measured.noise._replace(beyond_chance=0.0))
    assert measured.noise.labels.checked == 40
    assert choose(measured).method == "gjs"


def test_the_choice_needs_to_be_sure():
    features = np.random.default_rng(2).normal(size=(200, 8))
    true = np.arange(200) % 2
    given = np.where(np.arange(200) < 40, 1 - true, true)  # features say nothing, 20 % are wrong
    index = np.arange(0, 200, 20)
    found = choose_labels(features, given, index, true[index])
    assert set(found.accuracy) == {CORRECTED, GIVEN, *UNCHECKED.values()}
    assert found.checked == 10
    assert found.best == CORRECTED or found.sure >= 0.9


def test_the_choice_names_an_unchecked_posterior_if_it_is_better():
    from hf_noisy.detection.checked_choice import LabelChoice
    from hf_noisy.training.auto_rules import _by_checked_rows

    name = UNCHECKED["given"]
    choice = _by_checked_rows(LabelChoice(name, {name: 0.9, CORRECTED: 0.7, GIVEN: 0.6}, 0.95, 50))
    assert choice.arguments == {"class_prior": "given", "use_checked": False}
    assert "probability of 95%" in choice.why


def test_rows_of_a_checked_column_need_no_value(tmp_path):
    rows, true = noisy_rows()
    column = [int(label) if label >= 0 else None for label in some_checked(true)]
    rows = rows.add_column("checked_label", column, feature=Value("int64"))
    assert isinstance(rows, Dataset)
    make_trainer(tmp_path, rows, None, "cross_entropy", max_steps=1, remove_unused_columns=False).train()


@pytest.mark.parametrize(("kind", "column"), [("plain", "checked_label"), ("tokens", "checked_labels")])
def test_checked_rows_of_a_stream_are_refused(kind, column, tmp_path):
    rows = make_rows("plain", count=6).remove_columns("label").add_column("labels", [[0] * 5] * 6)
    streamed = rows.add_column(column, [None] * 6, feature=Value("int64")).to_iterable_dataset()
    with pytest.raises(ValueError, match=f"got a stream with column '{column}'; load it without streaming"):
        NoisyTrainer(make_model(kind), make_args(tmp_path, max_steps=1), train_dataset=streamed)
