import pickle

import datasets
import numpy as np
import pytest
from datasets.fingerprint import Hasher

from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.purify.base import Purifier
from hf_noisy.purify.dygen_purifier import DyGenPurifier
from hf_noisy.purify.policies import purify
from hf_noisy.purify.summary import summarise
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
    purified = purify(dataset(made), DyGenPurifier(dygen))
    expected = dygen.posterior("train", made.given)
    np.testing.assert_allclose(np.array(purified["label_posterior"]), expected, atol=1e-6)
    summary = summarise(purified)
    assert summary.true_noise_after < summary.true_noise_before - 0.15
    assert set(purified["purifier"]) == {"dygen"}


def test_other_splits_by_name(made, dygen):
    test = datasets.Dataset.from_dict({"label": made.test_true})
    purified = purify(test, DyGenPurifier(dygen, "test"), "flag")
    expected = dygen.posterior("test", made.test_true)
    np.testing.assert_allclose(np.array(purified["label_posterior"]), expected, atol=1e-6)


def test_it_is_a_purifier_that_can_be_pickled_and_hashed(made, dygen, tmp_path):
    purifier = DyGenPurifier(dygen)
    assert isinstance(purifier, Purifier)
    assert dygen.fitted_prior is not None  # what the user holds is left alone
    again = pickle.loads(pickle.dumps(purifier))
    batch = {"label": made.given}
    np.testing.assert_array_equal(again(batch)["label_posterior"], purifier(batch)["label_posterior"])
    dygen.save_pretrained(tmp_path)
    loaded, second = (
        DyGenPurifier(DyGen.from_pretrained(tmp_path, Trajectories(made.trajectories.path))) for _ in "ab"
    )
    assert Hasher.hash(loaded) == Hasher.hash(second)
    assert Hasher.hash(purifier) == Hasher.hash(DyGenPurifier(dygen)) != Hasher.hash(DyGenPurifier(dygen, "test"))
    np.testing.assert_array_equal(loaded(batch)["label_posterior"], purifier(batch)["label_posterior"])


def test_rows_of_another_dataset_are_refused(made, dygen):
    with pytest.raises(
        ValueError, match="dataset must have the 300 rows recorded as 'train', in their order, got 299"
    ):
        purify(dataset(made, slice(299)), DyGenPurifier(dygen))
    with pytest.raises(ValueError, match="belong to another dataset: split 'train' has 300 rows with other labels"):
        purify(dataset(made).shuffle(seed=0), DyGenPurifier(dygen))


def test_a_fit_without_trajectories_and_unknown_splits_are_refused(dygen, tmp_path):
    dygen.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"dygen has no trajectories; pass them to DyGen\.from_pretrained"):
        DyGenPurifier(DyGen.from_pretrained(tmp_path))
    with pytest.raises(ValueError, match="split 'dev' was not recorded; choose one of train, test"):
        DyGenPurifier(dygen, "dev")
