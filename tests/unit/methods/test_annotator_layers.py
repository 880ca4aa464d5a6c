"""Training on the votes of several annotators."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from hf_noisy.data.weak.vote_table import votes_from_matrix
from hf_noisy.methods.annotator_layers import AnnotatorLayers
from tests.unit.methods.pairs import ROWS, LinearOne, given_labels, make_batch

ALL, LABELS = torch.arange(ROWS), given_labels()


def votes_of(count, classes, annotators=3, seed=0):
    table = np.random.default_rng(seed).integers(-1, classes, (count, annotators))
    table[0] = -1
    table[1, 0] = classes - 1
    return table


def test_each_vote_goes_through_the_matrix_of_its_annotator_and_the_matrices_learn():
    votes = votes_of(ROWS, 4)
    model, method = LinearOne(), AnnotatorLayers(matrix_learning_rate=0.1)
    method.use_votes(votes_from_matrix(votes))
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


def test_a_negative_learning_rate_is_refused():
    with pytest.raises(ValueError, match="matrix_learning_rate must be at least 0"):
        AnnotatorLayers(matrix_learning_rate=-1.0)
