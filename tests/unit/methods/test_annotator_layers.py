"""Training on the votes of several annotators."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from hf_noisy.methods.annotator_layers import AnnotatorLayers
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, distance, make_args, make_model, make_rows
from tests.unit.methods.pairs import ROWS, LinearOne, given_labels, make_batch

ALL, LABELS = torch.arange(ROWS), given_labels()


def votes_of(count, classes, annotators=3, seed=0):
    table = np.random.default_rng(seed).integers(-1, classes, (count, annotators))
    table[0] = -1
    table[1, 0] = classes - 1
    return table


def test_without_layers_the_loss_is_the_cross_entropy_with_the_shares_of_the_votes():
    votes = votes_of(ROWS, 4)
    model, method = LinearOne(), AnnotatorLayers(votes, per_annotator=False)
    losses = method(model, make_batch(ALL, LABELS)).losses
    logs = model(ALL).logits.log_softmax(1)
    counts = torch.from_numpy(np.stack([(votes == label).sum(1) for label in range(4)], axis=1)).to(logs)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(losses, -(shares * logs).sum(1))
    assert losses[0] == 0  # nobody voted


def test_each_vote_goes_through_the_matrix_of_its_annotator_and_the_matrices_learn():
    votes = votes_of(ROWS, 4)
    model, method = LinearOne(), AnnotatorLayers(votes, matrix_learning_rate=0.1)
    method.setup(model, Accelerator(cpu=True), ROWS)
    step = method(model, make_batch(ALL, LABELS))
    before = method.matrices.detach().clone()
    seen = model(ALL).logits.softmax(1) @ before.to(torch.float64)  # [annotators, rows, answers]
    expected = [
        np.mean([-np.log(seen[who, row, label].item()) for who, label in enumerate(given) if label >= 0] or [0.0])
        for row, given in enumerate(votes)
    ]
    np.testing.assert_allclose(step.losses.detach().numpy(), expected, rtol=1e-5)
    step.losses.mean().backward()
    method.after_step(model)
    assert (method.matrices - before).abs().max() > 1e-3


def test_the_trainer_learns_the_votes_and_not_the_labels(tmp_path):
    rows = make_rows(count=40)
    votes = votes_of(40, CLASSES)

    def trained(name, given):
        method = AnnotatorLayers(given)
        trainer = NoisyTrainer(
            make_model("plain"), make_args(tmp_path / name, max_steps=3), train_dataset=rows, method=method
        )
        trainer.train()
        return trainer

    assert distance(trained("a", votes), trained("b", votes_of(40, CLASSES, seed=1))) > 1e-4


@pytest.mark.parametrize(
    ("votes", "options", "rows", "message"),
    [
        (votes_of(ROWS, 4), {"matrix_learning_rate": -1.0}, ROWS, "matrix_learning_rate must be at least 0"),
        (votes_of(ROWS, 9), {}, ROWS, "votes are of 9 classes, but the model has 4"),
        (votes_of(ROWS, 4), {}, ROWS + 1, f"votes are on {ROWS} rows, but the training set has {ROWS + 1}"),
    ],
)
def test_votes_that_do_not_fit_are_refused(votes, options, rows, message):
    with pytest.raises(ValueError, match=message):
        AnnotatorLayers(votes, **options).setup(LinearOne(), Accelerator(cpu=True), rows)
