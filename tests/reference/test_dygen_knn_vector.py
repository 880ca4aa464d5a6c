"""The prior from neighbours against numbers of the published code."""

import json
from pathlib import Path

import numpy as np
import pytest

from hf_noisy.dygen import prior
from hf_noisy.dygen.prior import neighbour_probabilities, paper_prior
from hf_noisy.dynamics.scores import DynamicsScore
from tests.unit.dygen.synthetic import make_store

VECTOR = json.loads((Path(__file__).parent / "fixtures" / "dygen_knn_prior.json").read_text())
POINTS = np.array(VECTOR["inputs"]["z0"])
LABELS = np.array(VECTOR["inputs"]["noisy_labels"])
SUSPECTED = np.array(VECTOR["inputs"]["markers(1=flagged noisy)"]) == 1
PROBABILITIES = np.array(VECTOR["outputs"]["proba"])
PRIOR_LABELS = np.array(VECTOR["outputs"]["prior_label"])


def test_probabilities():
    found = neighbour_probabilities(POINTS[~SUSPECTED], LABELS[~SUSPECTED], POINTS, 3)
    np.testing.assert_allclose(found, PROBABILITIES, rtol=0, atol=1e-9)


def test_a_class_missing_from_the_reference_gets_no_share():
    # Class 1 of four now has no row to be found by.
    found = neighbour_probabilities(POINTS[~SUSPECTED], np.array([0, 2, 3])[LABELS[~SUSPECTED]], POINTS, 4)
    np.testing.assert_allclose(found[:, [0, 2, 3]], PROBABILITIES, rtol=0, atol=1e-9)
    assert (found[:, 1] == 0).all()


@pytest.fixture
def trajectories(tmp_path):
    """Two branches over the vector's points, whose later epoch has nothing to do with the first."""
    first = (np.stack([POINTS, POINTS]), np.zeros((2, 30, 3)))
    later = (np.random.default_rng(0).normal(size=(2, 30, 3)), np.zeros((2, 30, 3)))
    return make_store(tmp_path, {"train": [first, later]}, {"train": LABELS})


def test_prior_labels(trajectories, monkeypatch):
    # The vector says which rows are suspected: a score that ranks just these first.
    score = SUSPECTED.astype(float)
    monkeypatch.setattr(prior, "dynamics_score", lambda *_, **__: DynamicsScore(score, score, score))
    found = paper_prior(trajectories, LABELS, SUSPECTED.mean() + 1e-9)
    np.testing.assert_array_equal(found.suspects, SUSPECTED)
    assert found.probabilities.shape == (2, 30, 3)
    for branch in found.probabilities:
        np.testing.assert_array_equal(branch.argmax(1), PRIOR_LABELS)
        np.testing.assert_array_equal(np.sort(branch, axis=1), [[0, 0, 1]] * 30)
    np.testing.assert_array_equal(found.probabilities[0].argmax(1)[~SUSPECTED], LABELS[~SUSPECTED])
    # Points are stored in float32.
    np.testing.assert_allclose(found.of(trajectories, "train"), PROBABILITIES, rtol=0, atol=1e-5)
