import numpy as np
import pytest

from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.near_copies import near_copy_groups
from hf_noisy.detection.probe import out_of_fold_probabilities


def groups_of(features):
    return near_copy_groups(directions(features, mean_direction(features)))


@pytest.fixture(scope="module")
def twins():
    """300 rows of 3 classes, a fifth of the labels wrong, and a near-copy of each with its label."""
    draw = np.random.default_rng(0)
    true = np.arange(300) % 3
    features = draw.normal(size=(300, 64)) + 4 * np.eye(3, 64)[true]
    given = np.where(draw.random(300) < 0.2, (true + 1) % 3, true)
    near = features + 0.1 * draw.normal(size=features.shape)
    return np.concatenate([features, near]), np.tile(given, 2), np.tile(true, 2)


def test_near_copies_are_groups(twins):
    groups = groups_of(twins[0])
    np.testing.assert_array_equal(groups[:300], np.arange(300))
    np.testing.assert_array_equal(groups[300:], np.arange(300))
    mixed = groups_of(np.concatenate([twins[0], np.repeat(10 * np.eye(64)[:4], 20, axis=0)]))
    assert mixed.max() < 680
    np.testing.assert_array_equal(mixed[300:600], np.arange(300))


def test_near_copies_do_not_confirm_a_wrong_label(twins):
    features, given, true = twins
    wrong = given != true
    found = {
        "evidence": fit_evidence(features, given).posterior,
        "probe": out_of_fold_probabilities(features, given),
    }
    for name, posterior in found.items():
        assert (posterior.argmax(1) == true)[wrong].mean() > 0.8, name
    assert 0.08 < fit_evidence(features, given).noise_rate.rate < 0.3


def test_few_near_copies_and_small_dense_classes_are_left(twins):
    features, *_ = twins
    np.testing.assert_array_equal(groups_of(features[:330]), np.arange(330))
    dense = np.repeat(np.random.default_rng(0).normal(size=(40, 16)), 5, axis=0)
    dense += 0.1 * np.random.default_rng(1).normal(size=dense.shape)
    np.testing.assert_array_equal(groups_of(dense), np.arange(200))


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_rows_of_few_dimensions_are_no_copies_of_each_other(width):
    features = np.random.default_rng(0).normal(size=(1000, width))
    sizes = np.bincount(groups_of(np.c_[features, np.ones(1000)]))
    assert (sizes > 1).sum() < 60
    assert sizes.max() <= 4


def test_equal_rows_are_groups_at_any_number(monkeypatch):
    features = np.repeat(np.random.default_rng(0).normal(size=(40, 16)), 2, axis=0)
    monkeypatch.setattr("hf_noisy.detection.near_copies._MOST_ROWS", 10)
    np.testing.assert_array_equal(groups_of(features), np.repeat(np.arange(0, 80, 2), 2))
    np.testing.assert_array_equal(groups_of(features[:6]), [0, 0, 2, 2, 4, 4])


def test_counted_as_rows_of_their_own_they_would(twins, monkeypatch):
    features, given, true = twins
    monkeypatch.setattr("hf_noisy.detection.predictors.near_copy_groups", copy_groups)
    posterior = fit_evidence(features, given).posterior
    assert (posterior.argmax(1) == true)[given != true].mean() < 0.65
