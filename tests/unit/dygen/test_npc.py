import inspect

import numpy as np
import pytest

from hf_noisy.dygen import npc as module
from hf_noisy.dygen.npc import NPC, reference_rows
from tests.unit.dygen.synthetic import make, make_store, symmetric


def confused(path, *, branches=2, rows=600, seed=0):
    """Clusters of which the classifier calls a quarter of the rows at random something else, not too surely."""
    rng = np.random.default_rng(seed)
    centres, arrays, true = 2 * rng.normal(size=(3, 6)), {}, {}
    for split, count in {"train": rows, "test": 200}.items():
        true[split] = rng.integers(0, 3, count)
        wrong = rng.random((branches, count)) < 0.25
        said = np.where(wrong, (true[split] + rng.integers(1, 3, (branches, count))) % 3, true[split])
        logits = np.where(wrong, 0.8, 3.0)[..., None] * np.eye(3)[said]
        embeddings = centres[true[split]] + 0.3 * rng.normal(size=(branches, count, 6))
        arrays[split] = [(embeddings, rng.normal(size=logits.shape)), (embeddings, logits)]
    return make_store(path, arrays), true


def test_predictions_come_out_better_than_the_classifier_made_them(tmp_path):
    trajectories, true = confused(tmp_path, branches=1, rows=300)
    fitted = NPC.fit(trajectories, show_progress=False, epochs=150)
    for split in ("train", "test"):
        said = trajectories.logits(split)[-1].argmax(-1)  # of each branch
        posterior = fitted.posterior(split)
        assert posterior.dtype == np.float64
        np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-5)
        assert (posterior.argmax(1) == true[split]).mean() > (said == true[split]).mean() + 0.05


def test_the_prior_is_the_vote_of_the_surest_neighbours(tmp_path):
    trajectories, true = confused(tmp_path)
    prior = NPC.fit(trajectories, show_progress=False, epochs=1).prior
    assert prior.shape == (2, 600, 3)
    assert (prior.argmax(-1) == true["train"]).mean() > 0.95
    np.testing.assert_array_equal(prior.sum(-1), 1)


@pytest.mark.parametrize(("rows", "passes"), [(300, 334), (128 * 200, 10)])
def test_few_rows_are_passed_more_often(tmp_path, monkeypatch, rows, passes):
    asked = []

    def stop(*_, epochs, **__):
        asked.append(epochs)
        raise InterruptedError

    monkeypatch.setattr(module, "fit_vae", stop)
    with pytest.raises(InterruptedError):
        NPC.fit(confused(tmp_path, branches=1, rows=rows)[0], show_progress=False)
    assert asked == [passes]


def test_given_labels_are_not_read():
    assert "labels" not in inspect.signature(NPC.fit).parameters


def test_branches_are_calibrated_each_on_its_own(tmp_path):
    two, _ = confused(tmp_path / "two")
    arrays = {
        split: [(two.embeddings(split, epoch, 1)[None], two.logits(split)[epoch - 1][1:]) for epoch in two.epochs]
        for split in two.splits
    }
    one = make_store(tmp_path / "one", arrays)
    both, second = (NPC.fit(trajectories, show_progress=False, epochs=5) for trajectories in (two, one))
    for name, value in second.vae.state_dict().items():
        np.testing.assert_allclose(both.vae.state_dict()[name][1:], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_epoch_of_the_fit_is_read_whatever_is_recorded_later(tmp_path):
    trajectories, _ = confused(tmp_path)
    fitted = NPC.fit(trajectories, show_progress=False, epochs=2)
    before = fitted.posterior("test")
    for split in trajectories.splits:
        rows = trajectories.num_rows(split)
        trajectories.write(split, 3, np.zeros((2, rows, 6), np.float32), np.zeros((2, rows, 3), np.float32))
    fitted.trajectories = type(trajectories)(trajectories.path)
    assert 3 in fitted.trajectories.epochs
    np.testing.assert_array_equal(fitted.posterior("test"), before)


def test_the_same_seed_gives_the_same_posterior(tmp_path):
    trajectories = make(tmp_path, symmetric(0.3, 3)).trajectories
    first, again, other = (
        NPC.fit(trajectories, seed=seed, show_progress=False, epochs=2).posterior("test") for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_that_is_never_predicted_does_no_harm(tmp_path):
    trajectories = make(tmp_path, symmetric(0.3, 4), absent=2).trajectories
    assert np.isfinite(NPC.fit(trajectories, show_progress=False, epochs=2).posterior("test")).all()


def test_references_are_the_surest_of_each_class_in_every_batch():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=300)
    chosen = reference_rows(probabilities, seed=3)
    assert len(chosen) == len(np.unique(chosen)) == 3 * 4  # batches of 128, 128 and 44 rows
    said, sure = probabilities.argmax(1), probabilities.max(1)
    for label in range(4):
        assert sure[said == label].max() in sure[chosen]
    whole = reference_rows(probabilities[: module._BATCH], seed=3)
    assert [sure[row] == sure[: module._BATCH][said[: module._BATCH] == said[row]].max() for row in whole] == [
        True
    ] * 4


@pytest.mark.parametrize("neighbours", [0, -1])
def test_neighbours_out_of_range_are_refused(tmp_path, neighbours):
    trajectories = make(tmp_path, symmetric(0.3, 3)).trajectories
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        NPC.fit(trajectories, neighbours=neighbours)


def test_trajectories_without_an_epoch_are_refused(tmp_path):
    empty = make_store(tmp_path, {"train": [(np.zeros((1, 4, 2)), np.zeros((1, 4, 3)))]})
    empty = type(empty).create(tmp_path, {key: value for key, value in empty.manifest.items() if key != "format"})
    with pytest.raises(ValueError, match="no complete epoch"):
        NPC.fit(empty)
