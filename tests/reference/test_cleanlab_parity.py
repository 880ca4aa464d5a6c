"""The functions that cleanlab has too, beside ours on the same arrays.

Its joint is `[given, true]`, ours `[true, given]`.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hf_noisy.detection.label_quality import (
    confidence_weighted_entropy,
    confident_learning,
    normalized_margin,
    self_confidence,
)
from hf_noisy.detection.transition_matrix import (
    calibrated_joint,
    confident_joint,
    confident_transition_matrix,
    transition_matrix_from_joint,
)

pytest.importorskip("cleanlab", reason="needs cleanlab: pip install 'hf-noisy[test]'")

from cleanlab.count import calibrate_confident_joint, compute_confident_joint, estimate_joint, estimate_latent
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores


def draw(seed, num_rows=2000, num_classes=6, dtype=np.float64, concentration=0.3):
    """Noisy labels, and rows that lean towards the true class."""
    rng = np.random.default_rng(seed)
    true = rng.choice(num_classes, num_rows, p=rng.dirichlet(np.full(num_classes, 5.0)))
    labels = np.where(rng.random(num_rows) < 0.3, (true + rng.integers(1, 3, num_rows)) % num_classes, true)
    mixed = 0.5 * np.eye(num_classes)[true] + 0.5 * rng.dirichlet(np.full(num_classes, concentration), num_rows)
    return (mixed / mixed.sum(1, keepdims=True)).astype(dtype), labels


CASES = [
    pytest.param(*draw(seed, num_classes=num_classes, dtype=dtype), id=f"{num_classes}-{np.dtype(dtype)}-{seed}")
    for num_classes in (2, 6, 40)
    for dtype in (np.float32, np.float64)
    for seed in (0, 1)
]


@pytest.mark.parametrize(("probabilities", "labels"), CASES)
class TestEveryCase:
    def test_confident_joint(self, probabilities, labels):
        theirs = compute_confident_joint(labels, probabilities, calibrate=False)
        assert_array_equal(confident_joint(labels, probabilities), theirs.T)

    def test_calibrated_joint(self, probabilities, labels):
        # cleanlab rounds to whole rows and keeps the total of each given label.
        theirs = compute_confident_joint(labels, probabilities, calibrate=True)
        counts = np.bincount(labels, minlength=probabilities.shape[1])
        ours = calibrated_joint(confident_joint(labels, probabilities), counts)
        assert np.abs(ours - theirs.T).max() <= 1
        assert_allclose(ours.sum(0), theirs.sum(1))

    def test_transition_matrix(self, probabilities, labels):
        joint = compute_confident_joint(labels, probabilities, calibrate=True)
        _, noise_matrix, _ = estimate_latent(joint, labels)
        # `noise_matrix[given, true]` is P(given | true), so its columns sum to 1.
        assert_allclose(transition_matrix_from_joint(joint.T), noise_matrix.T, atol=1e-9)

    def test_transition_matrix_without_their_rounding(self, probabilities, labels):
        joint = calibrate_confident_joint(compute_confident_joint(labels, probabilities, calibrate=False), labels)
        # A count that is off by one changes a row of the matrix by no more than two over its rows.
        difference = np.abs(confident_transition_matrix(labels, probabilities) - (joint / joint.sum(0)).T)
        assert (difference <= 2 * len(joint) / joint.sum(0)[:, None]).all()

    def test_self_confidence(self, probabilities, labels):
        theirs = get_label_quality_scores(labels, probabilities, method="self_confidence")
        assert_array_equal(self_confidence(labels, probabilities), theirs)

    def test_normalized_margin(self, probabilities, labels):
        theirs = get_label_quality_scores(labels, probabilities, method="normalized_margin")
        assert_allclose(normalized_margin(labels, probabilities), theirs, atol=1e-7)

    def test_confidence_weighted_entropy(self, probabilities, labels):
        ours = confidence_weighted_entropy(labels, probabilities)
        # They take a probability, and a ratio of entropy and probability, below 1e-6 for 1e-6.
        usual = (self_confidence(labels, probabilities) >= 1e-6) & (ours < 1 - 1e-6)
        theirs = get_label_quality_scores(labels, probabilities, method="confidence_weighted_entropy")
        assert usual.mean() > 0.9
        assert_allclose(ours[usual], theirs[usual], rtol=1e-5)

    def test_flags(self, probabilities, labels):
        theirs = np.zeros(len(labels), dtype=bool)
        off_diagonal = compute_confident_joint(labels, probabilities, return_indices_of_off_diagonals=True)[1]
        theirs[off_diagonal] = True
        assert_array_equal(confident_learning(labels, probabilities), theirs)


def test_find_label_issues_flags_a_part_of_ours():
    # cleanlab takes back the flag of a row whose given label is the most probable class.
    probabilities, labels = draw(3)
    theirs = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    ours = confident_learning(labels, probabilities)
    assert_array_equal(theirs, ours & (probabilities.argmax(1) != labels))


def test_joint_probabilities():
    probabilities, labels = draw(4)
    ours = calibrated_joint(confident_joint(labels, probabilities), np.bincount(labels, minlength=6)) / len(labels)
    assert_allclose(ours, estimate_joint(labels, probabilities).T, atol=1 / len(labels))


def test_a_class_without_rows():
    probabilities, labels = draw(5)
    kept = labels != 2
    theirs = compute_confident_joint(labels[kept], probabilities[kept], calibrate=False)
    assert_array_equal(confident_joint(labels[kept], probabilities[kept]), theirs.T)


def test_where_no_row_is_confident_of_another_class():
    probabilities = np.full((4, 2), 0.5)
    theirs = compute_confident_joint(np.array([0, 0, 1, 1]), probabilities, calibrate=False)
    assert_array_equal(confident_joint(np.array([0, 0, 1, 1]), probabilities), theirs.T)


def test_where_we_differ_on_purpose():
    # A row that is certain of its label is their worst and our best.
    certain, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    theirs = get_label_quality_scores(labels, certain, method="confidence_weighted_entropy")
    assert_array_equal(theirs[:3], [0, 0, 0])
    assert_array_equal(confidence_weighted_entropy(labels, certain), [1, 1, 1, 0])
