import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from hf_noisy.dygen.label_diffusion import (
    STEPS,
    LabelDenoiser,
    LabelDiffusion,
    candidate_weights,
    refined,
    signal,
)
from hf_noisy.dygen.prior import suspects_by_branch, trusted_votes
from tests.unit.dygen.synthetic import make, symmetric


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), symmetric(0.3, 3), rows=90)


def test_candidates_are_one_two_or_all_by_their_votes():
    votes = np.array([[0.95, 0.05, 0.0, 0.0], [0.3, 0.0, 0.6, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 1.0]])
    expected = [[1, 0, 0, 0], [1 / 3, 0, 2 / 3, 0], [0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1]]
    assert_allclose(candidate_weights(votes), expected)


def test_a_drawn_candidate_gains_and_no_other_class_becomes_one():
    weights = torch.tensor([[0.4, 0.6, 0.0], [0.4, 0.6, 0.0], [0.0, 1.0, 0.0]])
    found = refined(weights, torch.tensor([[0, 2, 2], [0, 2, 2]]))
    first = 0.4 + 0.6 / 2  # half of what is missing, and then the weights sum to 1.3
    second = first / 1.3 + (1 - first / 1.3) / 2
    torch.testing.assert_close(found[0, 0].item(), second / (1 + (1 - first / 1.3) / 2))
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert torch.equal(found[1:], weights[1:])
    many = refined(weights[:1], torch.zeros(200, 1, dtype=torch.int64).view(200, 1))
    assert many[0, 0] > 0.6


def test_noise_hides_the_label_by_and_by():
    steps = signal(torch.arange(STEPS))[:, 0]
    assert (steps.diff() < 0).all()
    assert steps[0] > 0.95
    assert steps[-1] < 0.05
    denoiser, labels = LabelDenoiser(4, 3), torch.tensor([0, 1, 2]).repeat(3000)
    for step in (0, STEPS - 1):
        noised = denoiser.noised(labels, torch.full_like(labels, step), torch.Generator().manual_seed(0))
        own = noised.gather(1, labels[:, None])[:, 0]
        assert own.mean().item() == pytest.approx(5 * signal(torch.tensor([step])).sqrt().item(), abs=0.25)
        assert own.std().item() == pytest.approx(5 * (1 - signal(torch.tensor([step]))).sqrt().item(), abs=0.25)


def test_trusted_rows_keep_their_label_and_neighbours_name_that_of_a_suspect(made):
    suspects, _, rate = suspects_by_branch(made.trajectories, made.given, "train", 0.3, 0)
    assert rate == 0.3
    votes = trusted_votes(made.trajectories, made.given, "train", suspects[0])
    assert_allclose(votes.sum(1), 1)
    assert_allclose(votes[~suspects[0]], np.eye(3)[made.given[~suspects[0]]])
    assert (votes.argmax(1) == made.true).mean() > 0.9 > (made.given == made.true).mean()


def test_labels_come_out_better_than_they_were_given_and_again_the_same(made):
    fits = [
        LabelDiffusion.fit(made.trajectories, made.given, 0.3, epochs=12, seed=3, show_progress=False)
        for _ in range(2)
    ]
    state = torch.random.get_rng_state()
    first, second = (fitted.posterior("train", made.given) for fitted in fits)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first, second)
    assert (first.argmax(1) == made.true).mean() > (made.given == made.true).mean() + 0.15
    others = fits[0].posterior("test")
    assert (others.argmax(1) == made.test_true).mean() > 0.9
    for posterior in (first, others):
        assert (posterior >= 0).all()
        assert_allclose(posterior.sum(1), 1, atol=1e-5)


def test_checked_labels_help_the_rows_that_nobody_looked_at(tmp_path):
    made = make(tmp_path, symmetric(0.6, 3), rows=90)
    checked = np.where(np.arange(len(made.true)) % 3 == 0, made.true, -1)
    right = {}
    for name, known in (("none", None), ("a third", checked)):
        fitted = LabelDiffusion.fit(
            made.trajectories, made.given, 0.6, epochs=6, seed=3, show_progress=False, checked=known
        )
        right[name] = (fitted.posterior("train", made.given).argmax(1) == made.true)[checked < 0].mean()
    assert right["a third"] > right["none"] + 0.1


def test_other_labels_and_rates_are_refused(made):
    with pytest.raises(ValueError, match="labels"):
        LabelDiffusion.fit(made.trajectories, 2 - made.given)
    with pytest.raises(ValueError, match=r"noise_rate must be a number in \[0, 1\), got 1.5"):
        LabelDiffusion.fit(made.trajectories, made.given, 1.5)
