import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hf_noisy.core import blocks
from hf_noisy.core.checks import check_transition_matrix
from hf_noisy.detection.transition_matrix import (
    calibrated_joint,
    confident_joint,
    confident_transition_matrix,
    dual_t_transition_matrix,
    transition_matrix_from_joint,
)

TRUE_MATRIX = np.array([[0.7, 0.2, 0.1], [0.0, 0.8, 0.2], [0.3, 0.1, 0.6]])


def noisy_rows(num_rows=30_000, sharpness=40.0, seed=0):
    """Probabilities of the given label, exact under `TRUE_MATRIX`, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((num_rows, 3))
    clean = np.exp(logits - logits.max(1, keepdims=True))
    posterior = clean / clean.sum(1, keepdims=True) @ TRUE_MATRIX
    labels = (posterior.cumsum(1) < rng.random(num_rows)[:, None]).sum(1)
    return labels, posterior


def draw(seed, num_rows, num_classes):
    rng = np.random.default_rng(seed)
    # Every class is given and predicted at least once.
    sure = np.eye(num_classes) * 0.9 + 0.1 / num_classes
    probabilities = np.concatenate([sure, rng.dirichlet(np.full(num_classes, 0.3), num_rows)])
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_rows)])
    return labels, probabilities


inputs = st.builds(draw, st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(2, 6))
ESTIMATORS = [confident_transition_matrix, dual_t_transition_matrix]


def test_joint_by_hand():
    # Thresholds are (0.9 + 0.2) / 2 and (0.9 + 0.5) / 2; the last row passes none.
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
    joint = confident_joint(np.array([0, 0, 1, 1]), probabilities)
    assert_array_equal(joint, [[1, 0], [1, 1]])
    scaled = calibrated_joint(joint, np.array([2, 2]))
    assert_array_equal(scaled, [[1, 0], [1, 2]])
    assert_allclose(transition_matrix_from_joint(scaled), [[1, 0], [1 / 3, 2 / 3]])


def test_confident_joint_finds_the_matrix_where_the_model_knows_the_true_class():
    # A model of the true class; given labels drawn by the matrix.
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 20_000)
    labels = (TRUE_MATRIX[true].cumsum(1) < rng.random(20_000)[:, None]).sum(1)
    probabilities = 0.8 * np.eye(3)[true] + 0.2 * rng.dirichlet(np.ones(3), 20_000)
    assert_allclose(confident_transition_matrix(labels, probabilities), TRUE_MATRIX, atol=0.015)


def test_dual_t_finds_the_matrix_where_the_model_is_sure_of_the_true_class():
    # One row in fifty is predicted at random; the anchors are sure.
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 30_000)
    labels = (TRUE_MATRIX[true].cumsum(1) < rng.random(30_000)[:, None]).sum(1)
    predicted = np.where(rng.random(30_000) < 0.02, rng.integers(0, 3, 30_000), true)
    probabilities = 0.9 * np.eye(3)[predicted] + 0.1 / 3
    probabilities[:30] = np.eye(3)[predicted[:30]]
    assert_allclose(dual_t_transition_matrix(labels, probabilities), TRUE_MATRIX, atol=0.025)


def test_dual_t_counts_the_noise_twice_where_the_posterior_is_exact():
    # What its docstring warns of: almost every row is an anchor here, so both factors are close to the matrix.
    labels, posterior = noisy_rows()
    assert_allclose(dual_t_transition_matrix(labels, posterior), TRUE_MATRIX @ TRUE_MATRIX, atol=0.02)


def test_dual_t_of_certain_predictions_is_a_count():
    predicted, labels = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
    assert_allclose(dual_t_transition_matrix(labels, np.eye(2)[predicted]), [[2 / 3, 1 / 3], [0, 1]])


def test_dual_t_by_hand():
    # Anchors are rows 0 and 2; of the rows predicted 0 one in two is given 0, of those predicted 1 all are given 1.
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    expected = np.array([[0.9, 0.1], [0.3, 0.7]]) @ np.array([[0.5, 0.5], [0.0, 1.0]])
    assert_allclose(dual_t_transition_matrix(np.array([0, 1, 1]), probabilities), expected)


def test_anchors_that_share_the_highest_probability_are_averaged(monkeypatch):
    probabilities = np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.8, 0.0, 0.2], [0.0, 0.1, 0.9]])
    labels = np.array([0, 1, 0, 2])
    for elements in (3, 6, 100):
        monkeypatch.setattr(blocks, "ELEMENTS_A_BLOCK", elements)
        assert_allclose(dual_t_transition_matrix(labels, probabilities)[0], [0.8, 0.1, 0.1])


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_clean_labels_give_the_identity(estimate):
    labels = np.arange(60) % 4
    assert_allclose(estimate(labels, np.eye(4)[labels]), np.eye(4), atol=1e-12)


@given(inputs, st.integers(0, 1000), st.integers(1, 40))
def test_properties(data, seed, elements):
    labels, probabilities = data
    order = np.random.default_rng(seed).permutation(len(labels))
    for estimate in ESTIMATORS:
        matrix = estimate(labels, probabilities)
        assert matrix.dtype == np.float64
        check_transition_matrix(matrix, probabilities.shape[1])
        assert_allclose(estimate(labels[order], probabilities[order]), matrix, atol=1e-12)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "ELEMENTS_A_BLOCK", elements)
            assert_allclose(estimate(labels, probabilities), matrix, atol=1e-12)


@given(inputs, st.integers(0, 1000))
def test_names_of_the_classes_do_not_matter(data, seed):
    labels, probabilities = data
    renamed = np.random.default_rng(seed).permutation(probabilities.shape[1])
    for estimate in ESTIMATORS:
        # Class k becomes `renamed[k]`.
        moved = np.empty_like(probabilities)
        moved[:, renamed] = probabilities
        expected = estimate(labels, probabilities)
        assert_allclose(estimate(renamed[labels], moved)[np.ix_(renamed, renamed)], expected, atol=1e-12)


@given(inputs)
def test_a_calibrated_joint_has_the_rows_of_the_data(data):
    counts = np.bincount(data[0])
    scaled = calibrated_joint(confident_joint(*data), counts)
    assert_allclose(scaled.sum(0), counts)


@pytest.mark.parametrize(
    ("matrix", "num_classes", "message"),
    [
        (np.ones((2, 3)) / 3, None, r"matrix must be \[classes, classes\] of at least 2 classes, got \(2, 3\)"),
        (np.ones((1, 1)), None, r"of at least 2 classes, got \(1, 1\)"),
        (np.eye(2), 3, "matrix must have 3 classes, got 2; estimate it on the same data"),
        (np.array([[np.nan, 1], [0, 1]]), None, "matrix must hold finite numbers only"),
        (np.array([["1", "0"], ["0", "1"]]), None, "matrix must hold finite numbers only"),
        (np.array([[1.5, -0.5], [0, 1]]), None, r"matrix must not be negative, got -0\.5"),
        (np.array([[0.9, 0.2], [0.1, 0.8]]), None, r"sum to 1, got 1\.1 in row 0; its columns do: transpose it"),
        (np.array([[0.9, 0.1], [0.1, 0.8]]), None, r"sum to 1, got 0\.9 in row 1; divide each row by its sum"),
    ],
)
def test_matrices_that_are_not_row_stochastic_are_refused(matrix, num_classes, message):
    with pytest.raises(ValueError, match=message):
        check_transition_matrix(matrix, num_classes)


def test_empty_classes_are_refused():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    with pytest.raises(
        ValueError, match="labels must hold every class, but no row has class 2; leave such classes out"
    ):
        confident_transition_matrix(np.array([0, 1]), probabilities)
    with pytest.raises(ValueError, match="must predict every class for some row, but never class 2; train longer"):
        dual_t_transition_matrix(np.array([0, 2]), probabilities)
    with pytest.raises(ValueError, match="joint must hold a row of every true class, but has none of class 1"):
        transition_matrix_from_joint(np.array([[1, 2], [0, 0]]))
    with pytest.raises(ValueError, match="joint must count a row of every given label, but has none of class 1"):
        calibrated_joint(np.array([[1, 0], [2, 0]]), np.array([3, 4]))


@pytest.mark.parametrize("entry", [-1.0, np.nan])
def test_joints_that_count_nothing_are_refused(entry):
    with pytest.raises(ValueError, match="joint must hold finite counts of at least 0"):
        transition_matrix_from_joint(np.array([[1.0, entry], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="joint must hold finite counts of at least 0"):
        calibrated_joint(np.array([[1.0, entry], [0.0, 1.0]]), np.array([1, 1]))


@pytest.mark.parametrize("function", [*ESTIMATORS, confident_joint])
def test_bad_input_is_refused(function):
    with pytest.raises(ValueError, match=r"probabilities must sum to 1 in each row, got 0\.9 in row 1"):
        function(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.7]]))
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got -1"):
        function(np.array([0, -1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
