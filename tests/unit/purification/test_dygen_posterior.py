import datasets
import numpy as np
import pytest

from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.purification.dygen_posterior import dygen_posterior
from hf_noisy.purification.policies import purify
from hf_noisy.purification.summary import summarise
from tests.unit.dygen.synthetic import make, symmetric


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), symmetric(0.3, 3))


@pytest.fixture(scope="module")
def dygen(made):
    return DyGen.fit(made.trajectories, made.given, 0.3, show_progress=False)


def dataset(made, rows=slice(None)):
    return datasets.Dataset.from_dict({"label": made.given[rows], "clean_label": made.true[rows]})


def test_posterior_is_that_of_the_fit(made, dygen):
    purified = purify(dataset(made), "dygen", dygen=dygen)
    expected = dygen.posterior("train", made.given)
    np.testing.assert_allclose(np.array(purified["label_posterior"]), expected, atol=1e-6)
    summary = summarise(purified)
    assert summary.true_noise_after < summary.true_noise_before - 0.15
    assert set(purified["purifier"]) == {"dygen"}


def test_other_splits_by_name(made, dygen):
    test = datasets.Dataset.from_dict({"label": made.test_true})
    purified = purify(test, "dygen", "flag", dygen=dygen, recorded_split="test")
    expected = dygen.posterior("test", made.test_true)
    np.testing.assert_allclose(np.array(purified["label_posterior"]), expected, atol=1e-6)


def test_a_saved_fit_gives_the_same(made, dygen, tmp_path):
    dygen.save_pretrained(tmp_path)
    loaded = DyGen.from_pretrained(tmp_path, Trajectories(made.trajectories.path))
    found = dygen_posterior(made.given, dygen=loaded)
    np.testing.assert_array_equal(found, dygen_posterior(made.given, dygen=dygen))


def test_rows_of_another_dataset_are_refused(made, dygen):
    with pytest.raises(
        ValueError, match="dataset must have the 300 rows recorded as 'train', in their order, got 299"
    ):
        purify(dataset(made, slice(299)), "dygen", dygen=dygen)
    with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 300 rows with other labels"):
        purify(dataset(made).shuffle(seed=0), "dygen", dygen=dygen)


def test_a_fit_without_trajectories_and_unknown_splits_are_refused(made, dygen, tmp_path):
    dygen.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"dygen has no trajectories; pass them to DyGen\.from_pretrained"):
        dygen_posterior(made.given, dygen=DyGen.from_pretrained(tmp_path))
    with pytest.raises(ValueError, match="split 'dev' was not recorded; choose one of train, test"):
        dygen_posterior(made.given, dygen=dygen, recorded_split="dev")
