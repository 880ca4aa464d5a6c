"""Methods that correct the loss by a transition matrix."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from hf_noisy.detection.anchor_free import anchor_free_transition_matrix
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.transition_matrix import confident_transition_matrix, dual_t_transition_matrix
from hf_noisy.methods import BackwardCorrection, ForwardCorrection, TRevision, VolumeMinimization
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, make_args, make_model, make_rows
from tests.unit.methods.pairs import ROWS, LinearOne, given_labels, make_batch
from tests.unit.methods.test_soft_correction import rows_with_features

ALL, LABELS = torch.arange(ROWS), given_labels()
T = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.0, 0.8, 0.2, 0.0], [0.2, 0.1, 0.6, 0.1], [0.0, 0.0, 0.3, 0.7]])


def with_matrix(method, matrix):
    method.noise.register_buffer("values", matrix)
    return method


def losses_and_logits(method, epoch=0, num_epochs=4):
    model = LinearOne()
    step = method(model, make_batch(ALL, LABELS, epoch, num_epochs))
    return step.losses, model(ALL).logits


@pytest.mark.parametrize("kind", [ForwardCorrection, BackwardCorrection, TRevision])
def test_the_identity_is_cross_entropy(kind):
    losses, logits = losses_and_logits(with_matrix(kind(), torch.eye(4)))
    torch.testing.assert_close(losses, F.cross_entropy(logits, LABELS, reduction="none"))


def test_forward_correction_is_the_formula():
    losses, logits = losses_and_logits(with_matrix(ForwardCorrection(), T))
    probabilities = logits.softmax(1) @ T.double()
    torch.testing.assert_close(losses, -probabilities[ALL, LABELS].log())


def test_backward_correction_is_unbiased_over_the_noise():
    model, method = LinearOne(), with_matrix(BackwardCorrection(T), T)
    by_given = torch.stack([method(model, make_batch(ALL, torch.full((ROWS,), k))).losses for k in range(4)], 1)
    expected = -model(ALL).logits.log_softmax(1)
    torch.testing.assert_close(by_given @ T.double().T, expected, rtol=1e-5, atol=1e-5)


def test_a_matrix_without_inverse_is_refused():
    with pytest.raises(ValueError, match=r"nearly no inverse .* take method='forward_correction'"):
        losses_and_logits(with_matrix(BackwardCorrection(), torch.full((4, 4), 0.25)))


def test_an_estimate_that_would_be_blown_up_is_mixed_with_uniform_noise():
    # Two classes that the estimate hardly tells apart: its inverse has entries of 25.
    near = torch.tensor([[0.52, 0.48, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.9, 0.1], [0.0, 0.0, 0.1, 0.9]])
    uniform = torch.full((4, 4), (1 - 0.705) / 3).fill_diagonal_(0.705)
    method = with_matrix(BackwardCorrection(max_condition=5.0), near)
    losses, logits = losses_and_logits(method)
    used = torch.linalg.inv(method._inverse.double())
    share = ((used - near) / (uniform - near))[0, 1]
    assert 0 < share < 1
    torch.testing.assert_close(used, torch.lerp(near, uniform, share.float()).double(), rtol=0, atol=1e-4)
    assert torch.linalg.cond(used).item() == pytest.approx(5.0, rel=1e-3)
    torch.testing.assert_close(losses, -(method._inverse[LABELS] * logits.log_softmax(1)).sum(1))
    by_rows = with_matrix(BackwardCorrection(), near)
    by_rows.noise.num_rows = 4 * 5**2
    torch.testing.assert_close(losses_and_logits(by_rows)[0], losses)
    # The matrix of the user is used as it is.
    own = with_matrix(BackwardCorrection(near), near)
    assert losses_and_logits(own)[0].abs().max() > 2 * losses.abs().max()
    with pytest.raises(ValueError, match="max_condition must be at least 1, got 0"):
        BackwardCorrection(max_condition=0.0)


def test_t_revision_weighs_first_and_then_learns():
    method = with_matrix(TRevision(revision_learning_rate=0.1), T)
    model = LinearOne()
    method.setup(model, Accelerator(cpu=True), ROWS)
    p = model(ALL).logits.softmax(1).detach()
    weight = p[ALL, LABELS] / (p @ T.double())[ALL, LABELS]
    for epoch in (0, 3):
        step = method(model, make_batch(ALL, LABELS, epoch))
        torch.testing.assert_close(step.metrics["weight"], weight)
        torch.testing.assert_close(step.losses, -weight * p[ALL, LABELS].log())
        model.zero_grad()
        step.losses.mean().backward()
        gradient = model.weights[0].grad.clone()
        assert (method.slack.value.grad is None) == (epoch == 0)
        method.after_step(model)
        assert bool(method.slack.value.any()) == (epoch == 3)
        if epoch == 0:
            model.zero_grad()
            (weight * F.cross_entropy(model(ALL).logits, LABELS, reduction="none")).mean().backward()
            torch.testing.assert_close(gradient, model.weights[0].grad)


def test_volume_minimisation_starts_as_published_and_learns_its_matrix():
    model, method = LinearOne(), VolumeMinimization(volume_weight=0.5)
    method.setup(model, Accelerator(cpu=True), ROWS)
    start = method.matrix.detach()
    other = 1 / (1 + np.exp(2.0))
    assert start[0, 0].item() == pytest.approx(1 / (1 + 3 * other))
    assert start[0, 1].item() == pytest.approx(other / (1 + 3 * other))
    step = method(model, make_batch(ALL, LABELS))
    expected = -(model(ALL).logits.softmax(1) @ start.double())[ALL, LABELS].log() + 0.5 * start.det().abs().log()
    torch.testing.assert_close(step.losses, expected, rtol=1e-5, atol=1e-6)
    step.losses.mean().backward()
    adam = torch.nn.Parameter(method.weights.value.detach().clone())
    adam.grad = method.weights.value.grad.clone()
    torch.optim.Adam([adam], lr=0.01).step()
    method.after_step(model)
    torch.testing.assert_close(method.weights.value, adam)
    torch.testing.assert_close(method.matrix.sum(1), torch.ones(4))


def train(folder, rows, method, model="plain", **changes):
    trainer = NoisyTrainer(make_model(model), make_args(folder, **changes), train_dataset=rows, method=method)
    trainer.train()
    return trainer


@pytest.mark.parametrize("estimator", ["confident_joint", "dual_t", "anchor_free"])
def test_the_matrix_is_estimated_before_training_from_features(estimator, tmp_path):
    rows, _ = rows_with_features()
    trainer = train(tmp_path, rows, ForwardCorrection(estimator=estimator), max_steps=1)
    features, labels = np.array(rows["features"], np.float32), np.array(rows["label"])
    probabilities = out_of_fold_probabilities(features, labels, seed=trainer.args.seed)
    expected = {
        "confident_joint": lambda: confident_transition_matrix(labels, probabilities),
        "dual_t": lambda: dual_t_transition_matrix(labels, probabilities),
        "anchor_free": lambda: anchor_free_transition_matrix(features, labels, CLASSES, seed=trainer.args.seed),
    }[estimator]()
    np.testing.assert_allclose(trainer.method.matrix.numpy(), expected, atol=1e-6)
    assert expected[0, 1] > 0.02  # the wrong labels are of the next class


def test_a_network_without_features_estimates_it_after_some_epochs(tmp_path):
    trainer = train(tmp_path, make_rows(), ForwardCorrection(warmup_ratio=0.5), num_train_epochs=4)
    noise = trainer.method.noise
    predicted = noise.memory.values.double().numpy()
    predicted /= predicted.sum(1, keepdims=True)
    np.testing.assert_allclose(
        noise.values.numpy(), confident_transition_matrix(np.array(make_rows()["label"]), predicted), atol=1e-6
    )
    with pytest.raises(ValueError, match="estimator 'anchor_free' needs features, but the model has random weights"):
        train(tmp_path, make_rows(), ForwardCorrection(estimator="anchor_free"))


def test_checked_labels_are_used_for_the_estimate(tmp_path):
    rows, true = rows_with_features()
    checked = rows.add_column("checked_label", true.tolist())
    np.testing.assert_allclose(
        train(tmp_path, checked, ForwardCorrection(), max_steps=1).method.matrix.numpy(), np.eye(CLASSES), atol=0.02
    )


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"matrix must hold probabilities whose rows sum to 1, got sums \[1.5, 1.0\]"):
        ForwardCorrection([[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"matrix must be square"):
        ForwardCorrection([[1.0, 0.0]])
    with pytest.raises(ValueError, match="estimator must be confident_joint, dual_t, anchor_free, got 'magic'"):
        BackwardCorrection(estimator="magic")
    with pytest.raises(ValueError, match=r"warmup_ratio must be in \[0, 1\), got 1.0"):
        TRevision(warmup_ratio=1.0)
    with pytest.raises(ValueError, match=r"matrix must be \[3, 3\], one row per class, got \(2, 2\)"):
        train(tmp_path, make_rows(), ForwardCorrection(np.eye(2)))
    with pytest.raises(ValueError, match="volume_weight must be at least 0, got -1"):
        VolumeMinimization(volume_weight=-1.0)
    with pytest.raises(ValueError, match="revision_learning_rate must be at least 0, got -1"):
        TRevision(revision_learning_rate=-1.0)
