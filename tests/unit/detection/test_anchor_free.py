import numpy as np
import pytest
from numpy.testing import assert_allclose

from hf_noisy.core.checks import check_transition_matrix
from hf_noisy.detection.anchor_free import anchor_free_transition_matrix


def clusters(matrix, num_rows, spread=0.1, seed=0):
    """Features around one centre a class, and given labels drawn by the matrix."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(matrix), num_rows)
    features = rng.standard_normal((len(matrix), 16))[true] + spread * rng.standard_normal((num_rows, 16))
    labels = (matrix[true].cumsum(1) < rng.random(num_rows)[:, None]).sum(1)
    return features.astype(np.float32), labels


def symmetric(num_classes, rate):
    return np.full((num_classes, num_classes), rate / (num_classes - 1)) + np.eye(num_classes) * (
        1 - rate - rate / (num_classes - 1)
    )


def pair(num_classes, rate):
    return (1 - rate) * np.eye(num_classes) + rate * np.roll(np.eye(num_classes), 1, axis=1)


@pytest.mark.parametrize(
    "matrix",
    [symmetric(3, 0.3), symmetric(5, 0.6), pair(4, 0.4), np.array([[0.9, 0.1], [0.4, 0.6]])],
    ids=["symmetric", "most are wrong", "pair", "two classes"],
)
def test_the_matrix_is_found_where_neighbours_share_a_class(matrix):
    features, labels = clusters(matrix, 6000)
    # Six times in ten wrong leaves little to learn from three draws.
    assert_allclose(anchor_free_transition_matrix(features, labels, len(matrix)), matrix, atol=0.1)


def test_clean_labels_give_the_identity():
    features, labels = clusters(np.eye(4), 400)
    assert_allclose(anchor_free_transition_matrix(features, labels, 4), np.eye(4), atol=1e-6)


def test_rows_may_come_in_any_order_and_scale():
    features, labels = clusters(symmetric(3, 0.3), 500)
    matrix = anchor_free_transition_matrix(features, labels, 3)
    check_transition_matrix(matrix, 3)
    order = np.random.default_rng(1).permutation(500)
    assert_allclose(anchor_free_transition_matrix(features[order], labels[order], 3), matrix, atol=1e-9)
    # Powers of two leave cosines exactly as they were.
    scale = 2.0 ** np.random.default_rng(2).integers(-3, 4, (500, 1)).astype(np.float32)
    assert_allclose(anchor_free_transition_matrix(features * scale, labels, 3), matrix, atol=1e-9)


def test_many_rows_are_sampled_by_seed():
    features, labels = clusters(pair(3, 0.3), 4000)
    first = anchor_free_transition_matrix(features, labels, 3, max_rows=2000, seed=1)
    assert_allclose(first, pair(3, 0.3), atol=0.08)
    assert np.array_equal(first, anchor_free_transition_matrix(features, labels, 3, max_rows=2000, seed=1))
    assert not np.array_equal(first, anchor_free_transition_matrix(features, labels, 3, max_rows=2000, seed=2))


def test_vectors_without_direction_and_lone_classes_stay_finite():
    features = np.zeros((6, 2), dtype=np.float16)
    check_transition_matrix(anchor_free_transition_matrix(features, np.array([0, 0, 0, 0, 1, 2]), 3), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 3, 0])}, "labels must be classes 0 to 2, got 3"),
        ({"labels": np.array([0, 1, 1, 0])}, "labels must hold every class, but no row has class 2"),
        ({"features": np.full((4, 2), np.nan)}, "features must be finite, but 4 rows have NaN or infinity"),
        ({"max_rows": 2}, "must allow at least 3 rows, got 4 and 2"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"features": np.eye(4, 2), "labels": np.array([0, 1, 2, 0]), "num_classes": 3} | change
    with pytest.raises(ValueError, match=message):
        anchor_free_transition_matrix(**arguments)
