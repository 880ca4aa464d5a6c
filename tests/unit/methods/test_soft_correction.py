import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_noisy.detection import fit_evidence
from hf_noisy.methods import Batch, SoftCorrection
from hf_noisy.models.frozen_features import frozen_features
from hf_noisy.models.inference import default_collator
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, distance, make_args, make_model, make_rows, parameters

STEPS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}


def rows_with_features(count=40, classes=CLASSES):
    """Texts of random tokens, whose column of features tells their class, with a fifth of the labels wrong."""
    rng = np.random.default_rng(0)
    true = np.arange(count) % classes
    features = rng.normal(size=(count, 8)) + 4 * np.eye(8)[true]
    given = np.where(rng.random(count) < 0.2, (true + 1) % classes, true)
    rows = make_rows(count=count).remove_columns("label")
    return rows.add_column("label", given.tolist()).add_column("features", features.tolist()), true


def make_trainer(folder, rows, method=None, model="plain", **changes):
    model = make_model(model) if isinstance(model, str) else model
    return NoisyTrainer(model, make_args(folder, **changes), train_dataset=rows, method=method or SoftCorrection())


def test_loss_is_cross_entropy_with_the_targets_of_the_rows():
    method, model = SoftCorrection(), make_model("plain")
    method.targets = torch.softmax(torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(0)), 1)
    index, labels = torch.tensor([7, 2, 5]), torch.tensor([0, 1, 2])
    inputs = {"input_ids": torch.randint(3, 9, (3, 6), generator=torch.Generator().manual_seed(1))}
    step = method(model, Batch(inputs, labels, index, 0.0, 0))
    expected = -(method.targets[index] * model(**inputs).logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(step.losses, expected)


def test_targets_are_the_posterior_of_the_evidence(tmp_path):
    rows, true = rows_with_features()
    trainer = make_trainer(tmp_path, rows, max_steps=1)
    trainer.train()
    features, given = np.array(rows["features"], np.float32), np.array(rows["label"])
    expected = fit_evidence(features, given, num_classes=CLASSES, transition="auto", seed=trainer.args.seed)
    np.testing.assert_allclose(trainer.method.targets.numpy(), expected.posterior, atol=1e-6)
    np.testing.assert_array_equal(trainer.method.evidence.posterior, expected.posterior)
    assert (trainer.method.targets.numpy().argmax(1) == true).mean() > (given == true).mean()


def test_training_follows_the_targets_and_not_the_labels(tmp_path):
    rows, _ = rows_with_features()
    trained = make_trainer(tmp_path / "a", rows, max_steps=3)
    trained.train()
    other = make_trainer(tmp_path / "b", rows, "cross_entropy", max_steps=3)
    other.train()
    assert distance(trained, other) > 1e-3


@pytest.mark.parametrize("transition", [None, "counted", "likely", "auto"])
def test_labels_are_counted_where_the_features_stay_as_they_are(tmp_path, transition):
    rows, _ = rows_with_features()
    model = make_model("plain")
    model.base_model.requires_grad_(False)
    trainer = make_trainer(tmp_path, rows, SoftCorrection(transition=transition), model=model, max_steps=1)
    trainer.train()
    features, given = np.array(rows["features"], np.float32), np.array(rows["label"])
    taken = transition or "counted"
    expected = fit_evidence(features, given, num_classes=CLASSES, transition=taken, seed=trainer.args.seed)
    np.testing.assert_allclose(trainer.method.targets.numpy(), expected.posterior, atol=1e-6)


def test_another_transition_is_refused():
    with pytest.raises(ValueError, match="transition must be one of counted, likely, auto, got 'dual_t'"):
        SoftCorrection(transition="dual_t")


def test_class_prior_is_passed_on(tmp_path):
    rows, _ = rows_with_features()
    trainer = make_trainer(tmp_path, rows, SoftCorrection(class_prior="given"), max_steps=1)
    trainer.train()
    assert trainer.method.evidence.prior_weights == {"given": pytest.approx(1)}


def test_a_class_without_rows_gets_no_target(tmp_path):
    rows, _ = rows_with_features(classes=2)
    trainer = make_trainer(tmp_path, rows, max_steps=1)
    trainer.train()
    assert trainer.method.targets.shape == (40, CLASSES)
    assert 2 not in trainer.method.targets.argmax(1)


def test_a_resumed_run_has_the_targets_of_its_checkpoint(tmp_path, monkeypatch):
    rows, _ = rows_with_features()
    whole = make_trainer(tmp_path, rows, **STEPS)
    whole.train()
    monkeypatch.setattr("hf_noisy.methods.soft_correction.fit_evidence", lambda *_, **__: pytest.fail("fitted again"))
    resumed = make_trainer(tmp_path, rows, **STEPS)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.method.evidence is None
    assert torch.equal(resumed.method.targets, whole.method.targets)
    assert distance(whole, resumed) == 0.0


def test_features_are_those_of_the_encoder_before_training(tmp_path):
    model, rows = make_model("plain", dropout=0.5), make_rows(count=30)
    model.name_or_path = "pretrained"
    features = frozen_features(model, rows, default_collator(None))
    labels = np.array(rows["label"])
    expected = fit_evidence(features, labels, num_classes=CLASSES, transition="auto", seed=42)
    trainer = make_trainer(tmp_path, rows, model=model, max_steps=1)
    before, state = parameters(model), torch.get_rng_state()
    trainer._set_up_method()
    assert torch.equal(torch.get_rng_state(), state)
    assert distance(trainer, before) == 0.0
    np.testing.assert_allclose(trainer.method.targets.numpy(), expected.posterior, atol=1e-5)


def test_random_weights_without_features_are_refused(tmp_path):
    trainer = make_trainer(tmp_path, make_rows(), max_steps=1)
    with pytest.raises(ValueError, match="features are needed, but the model has random weights"):
        trainer.train()


def test_rows_of_one_class_are_refused(tmp_path):
    rows = Dataset.from_dict({**make_rows().to_dict(), "label": [1] * 21, "features": np.eye(21, 4).tolist()})
    with pytest.raises(ValueError, match="labels must hold at least 2 classes"):
        make_trainer(tmp_path, rows, max_steps=1).train()


def test_soft_labels_are_refused(tmp_path):
    rows = rows_with_features()[0].remove_columns("label")
    rows = rows.add_column("label", [[0.2, 0.3, 0.5]] * 40)
    with pytest.raises(ValueError, match="labels must be one class per row for this method"):
        make_trainer(tmp_path, rows, max_steps=1).train()
