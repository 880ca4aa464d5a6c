import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.data import noise
from hf_noisy.data.records import measured_transition_matrix


@st.composite
def matrices(draw):
    size = draw(st.integers(2, 6))
    weights = draw(st.lists(st.lists(st.integers(0, 9), min_size=size, max_size=size), min_size=size, max_size=size))
    matrix = np.array(weights, dtype=float) + np.eye(size) * 1e-3
    return matrix / matrix.sum(axis=1, keepdims=True)


@settings(max_examples=100)
@given(matrix=matrices(), rows=st.integers(0, 60), seed=st.integers(0, 2**31))
def test_counts_of_each_class_are_its_shares_to_within_one_row(matrix, rows, seed):
    labels = np.random.default_rng(seed).integers(0, len(matrix), rows)
    found = noise.transition(matrix).apply(labels, len(matrix), seed)
    for label, row in enumerate(matrix):
        counts = np.bincount(found[labels == label], minlength=len(matrix))
        assert (np.abs(counts - row * (labels == label).sum()) < 1).all()


def test_the_remainder_goes_to_the_largest_rest_and_a_tie_to_the_lower_class():
    def counts(row, rows):
        kind = noise.transition([row, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return np.bincount(kind.apply(np.zeros(rows, dtype=np.int64), 3), minlength=3).tolist()

    assert counts([0.5, 0.3, 0.2], 7) == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert counts([0.5, 0.25, 0.25], 5) == [3, 1, 1]  # 2.5, 1.25, 1.25
    assert counts([0.4, 0.2, 0.4], 2) == [1, 0, 1]  # 0.8, 0.4, 0.8
    assert counts([0.25, 0.5, 0.25], 2) == [1, 1, 0]  # 0.5, 1, 0.5
    assert counts([0.29, 0.71, 0.0], 100) == [29, 71, 0]


@settings(max_examples=50)
@given(matrix=matrices(), seed=st.integers(0, 2**31))
def test_an_independent_draw_gives_nothing_that_has_no_probability(matrix, seed):
    labels = np.arange(500) % len(matrix)
    found = noise.transition(matrix, exact=False).apply(labels, len(matrix), seed)
    assert (matrix[labels, found] > 0).all()


def test_an_independent_draw_follows_the_matrix():
    matrix = np.array([[0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
    labels = np.arange(60000) % 3
    found = noise.transition(matrix, exact=False).apply(labels, 3)
    np.testing.assert_allclose(measured_transition_matrix(labels, found, 3), matrix, atol=0.01)


def test_the_matrix_of_another_noise_makes_noise_like_it():
    labels = np.arange(3000) % 10
    kind = noise.cifar10_map(0.4)
    found = noise.transition(kind.transition_matrix(10)).apply(labels, 10)
    np.testing.assert_allclose(measured_transition_matrix(labels, found, 10), kind.transition_matrix(10))


def test_equal_matrices_make_equal_noises():
    assert noise.transition([[0.5, 0.5], [0.0, 1.0]]) == noise.transition(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert noise.transition([[0.5, 0.5], [0.0, 1.0]]) != noise.transition([[0.4, 0.6], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.4], [0.0, 1.0]], "rows that sum to 1, got 0.9 in row 0; divide each row by its sum"),
        ([[0.5, 0.2], [0.5, 0.8]], "rows that sum to 1, got 0.7 in row 0; its columns do: transpose it"),
        ([[1.2, -0.2], [0.0, 1.0]], "must not be negative, got -0.2"),
        ([[1.0, float("nan")], [0.0, 1.0]], "finite numbers only"),
        ([[float("inf"), 0.0], [0.0, 1.0]], "finite numbers only"),
        ([[1.0, 0.0]], r"must be \[classes, classes\] of at least 2 classes, got \(1, 2\)"),
        ([[1.0]], r"at least 2 classes, got \(1, 1\)"),
        ([[1.0, 0.0], [1.0]], "rows of numbers, all of one length"),
    ],
)
def test_what_is_no_transition_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        noise.transition(matrix)


def test_a_matrix_for_other_classes_is_refused():
    with pytest.raises(ValueError, match="matrix is for 2 classes, but the labels have 3"):
        noise.transition([[0.5, 0.5], [0.0, 1.0]]).apply(np.array([0, 2]), 3)
