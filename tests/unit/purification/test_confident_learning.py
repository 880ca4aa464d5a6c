import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.transition_matrix import confident_transition_matrix
from hf_noisy.purification.confident_learning import confident_posterior, cross_validated_posterior
from hf_noisy.purification.policies import purify
from hf_noisy.purification.summary import summarise

PAIR = 0.7 * np.eye(4) + 0.3 * np.roll(np.eye(4), 1, axis=1)
SYMMETRIC = 0.6 * np.eye(4) + 0.1
KINDS = pytest.mark.parametrize("transition", [PAIR, SYMMETRIC], ids=["pair", "symmetric"])


def draw(probabilities, rng):
    return (rng.random((len(probabilities), 1)) > probabilities.cumsum(1)).sum(1).clip(max=probabilities.shape[1] - 1)


def clusters(transition=SYMMETRIC, rows=800, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, len(transition), rows)
    features = 3 * rng.normal(size=(len(transition), 6))[clean] + spread * rng.normal(size=(rows, 6))
    return features.astype(np.float32), draw(transition[clean], rng), clean


@KINDS
def test_labels_come_out_better_than_they_were_given(transition):
    features, labels, clean = clusters(transition)
    rows = {"features": features, "label": labels, "clean_label": clean}
    summary = summarise(purify(datasets.Dataset.from_dict(rows), "confident_learning"))
    assert summary.true_noise_after < summary.true_noise_before / 3
    assert summary.true_precision > 0.9
    assert summary.estimated_noise_before == pytest.approx(summary.true_noise_before, abs=0.05)


@KINDS
def test_posterior_is_that_of_bayes_where_predictions_are_exact(transition):
    # What a perfect model of the given labels predicts, for rows that are sure and rows that are not.
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.full(4, 0.05), 20000)
    predicted = true @ transition
    labels = draw(predicted, rng)
    expected = true * transition[:, labels].T
    expected /= expected.sum(1, keepdims=True)
    estimate = confident_transition_matrix(labels, predicted)
    np.testing.assert_allclose(estimate, transition, atol=0.06)
    found = confident_posterior(labels, predicted)
    assert np.abs(found - expected).mean() < 0.05


def test_without_noise_nothing_changes():
    clean = np.arange(90) % 3
    predicted = 0.04 + 0.88 * np.eye(3)[clean]
    found = confident_posterior(clean, predicted)
    assert (found.argmax(1) == clean).all()
    np.testing.assert_allclose(found.max(1), 1, atol=1e-6)


@KINDS
def test_joint_and_wrong_rows_are_those_of_cleanlab(transition):
    cleanlab = pytest.importorskip("cleanlab", reason="the reference is not installed")
    features, labels, clean = clusters(transition)
    predicted = out_of_fold_probabilities(features, labels)
    joint = cleanlab.count.estimate_joint(labels, predicted).T  # theirs has the given class first
    found = confident_transition_matrix(labels, predicted)
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), atol=0.01)  # theirs rounds to rows
    theirs = cleanlab.filter.find_label_issues(labels, predicted, filter_by="both")
    ours = confident_posterior(labels, predicted).argmax(1) != labels
    assert (ours == theirs).mean() > 0.95
    wrong = labels != clean

    def f1(flags):
        return 2 * (flags & wrong).sum() / (flags.sum() + wrong.sum())

    assert f1(ours) > f1(theirs) - 0.02


def test_out_of_fold_probabilities_do_not_know_the_row():
    features, labels, _ = clusters(rows=200)
    noise = np.random.default_rng(1).normal(size=(200, 60))  # wide enough to learn labels by heart
    predicted = out_of_fold_probabilities(noise, labels, folds=5)
    np.testing.assert_allclose(predicted.sum(1), 1)
    assert (predicted.argmax(1) == labels).mean() < 0.45
    np.testing.assert_array_equal(
        out_of_fold_probabilities(features, labels, seed=3), out_of_fold_probabilities(features, labels, seed=3)
    )
    assert (out_of_fold_probabilities(features, labels, seed=3) != out_of_fold_probabilities(features, labels)).any()


@settings(max_examples=40)
@given(seed=st.integers(0, 9999), rows=st.integers(2, 40), classes=st.integers(2, 5), sharp=st.floats(0.02, 5))
def test_rows_sum_to_one_whatever_is_predicted(seed, rows, classes, sharp):
    rng = np.random.default_rng(seed)
    predicted = rng.dirichlet(np.full(classes, sharp), rows)
    labels = rng.integers(0, classes, rows)
    labels[:2] = [0, 1]
    found = confident_posterior(labels, predicted)
    assert found.shape == (rows, classes)
    assert found.dtype == np.float32
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert set(found.argmax(1)) <= set(labels)  # no row moves to a class that none was given


def test_rare_and_absent_classes_work():
    features, labels, _ = clusters(rows=100)
    labels = np.where(labels == 3, 0, labels)
    labels[:2] = 4
    found = cross_validated_posterior(features, labels, num_classes=6)
    assert found.shape == (100, 6)
    assert (found[:, [3, 5]] == 0).all()


def test_predictions_take_the_place_of_features():
    features, labels, _ = clusters()
    predicted = out_of_fold_probabilities(features, labels)
    dataset = datasets.Dataset.from_dict({"label": labels})
    found = purify(dataset, "confident_learning", probabilities=predicted)
    expected = confident_posterior(labels, predicted)
    np.testing.assert_array_equal(np.float32(found["label_posterior"]), expected)
    np.testing.assert_allclose(expected, cross_validated_posterior(features, labels), atol=1e-6)


def test_bad_input_is_refused():
    features, labels, _ = clusters(rows=20)
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        cross_validated_posterior(features, labels, folds=1)
    with pytest.raises(ValueError, match="labels must hold at least 2 classes, got class 0 alone"):
        cross_validated_posterior(features, np.zeros(20, dtype=np.int64))
    with pytest.raises(ValueError, match="every class must have at least 2 rows for cross-validation, but 1 classes"):
        cross_validated_posterior(features, np.eye(20, dtype=np.int64)[0])
    with pytest.raises(ValueError, match=r"probabilities must not be negative, .*pass softmax"):
        confident_posterior(labels, features)
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 3"):
        confident_posterior(labels, np.full((20, 2), 0.5))
    features[3, 0] = np.nan
    with pytest.raises(ValueError, match="features must be finite, but 1 rows have NaN or infinity"):
        cross_validated_posterior(features, labels)
