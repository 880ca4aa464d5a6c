import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from hf_noisy.dygen.evidence import Evidence, mean_prediction, posterior_given_label, suspicion
from tests.unit.dygen.synthetic import default_class, draw_labels, make, make_store, symmetric


def store_of(path, probabilities, features=None):
    """One epoch and branch whose predictions are `probabilities`."""
    logits = np.log(np.array(probabilities))[None]
    trajectories = make_store(path, {"train": [(np.zeros((1, logits.shape[1], 2)), logits)]})
    if features is not None:
        trajectories.write_features("train", np.array(features, np.float32))
    return trajectories


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_predictions_are_averaged_over_branches_and_epochs(tmp_path):
    shares = [[[0.9, 0.1]], [[0.5, 0.5]]], [[[0.7, 0.3]], [[0.1, 0.9]]]  # [epoch][branch][row]
    epochs = [(np.zeros((2, 1, 3)), np.log(np.array(epoch))) for epoch in shares]
    found = mean_prediction(make_store(tmp_path, {"train": epochs}), "train")
    np.testing.assert_allclose(found, [[0.55, 0.45]], atol=1e-6)


def test_average_prediction_is_divided_out(tmp_path):
    # Averages with one more row's worth for either class: (1.4 + 1) / 4 and (0.6 + 1) / 4.
    trajectories = store_of(tmp_path, [[0.8, 0.2], [0.6, 0.4]])
    evidence = Evidence.fit(trajectories, np.array([0, 1]))
    np.testing.assert_allclose(evidence.mean_probability, [0.6, 0.4], atol=1e-7)
    found = np.exp(evidence.log_probabilities(trajectories, "train"))
    np.testing.assert_allclose(found, [[8 / 11, 3 / 11], [0.5, 0.5]], atol=1e-6)


def test_without_features_only_the_classifier_counts(tmp_path):
    made = make(tmp_path, symmetric(0.2, 3), features=False)
    evidence = Evidence.fit(made.trajectories, made.given)
    assert (evidence.centre, evidence.centroids) == (None, None)
    predicted = mean_prediction(made.trajectories, "train")
    expected = log_softmax(np.log(predicted) - np.log((predicted.sum(0) + 1) / (300 + 3)), axis=1)
    found = evidence.log_probabilities(made.trajectories, "train", made.given)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # A given label moves nothing where there is no centroid to leave a row out of.
    np.testing.assert_array_equal(found, evidence.log_probabilities(made.trajectories, "train"))


def slow_log_probabilities(trajectories, evidence, labels):
    """Row by row, each centroid computed again without the row."""
    predicted = mean_prediction(trajectories, "train")
    features = unit(trajectories.features("train").astype(np.float64))
    centred = unit(features - features.mean(0))
    result = []
    for row in range(len(labels)):
        others = np.arange(len(labels)) != row
        distances = [
            ((centred[row] - centred[others & (labels == label)].mean(0)) ** 2).sum()
            for label in range(trajectories.num_classes)
        ]
        near = np.maximum(log_softmax(-evidence.sharpness * np.array(distances)), -20)
        result.append(log_softmax(np.log(predicted[row] + 1e-9) - np.log(evidence.mean_probability) + near))
    return np.array(result)


def test_a_row_is_left_out_of_its_own_centroid(tmp_path):
    made = make(tmp_path, symmetric(0.3, 4), rows=40, spread=2.0)
    evidence = Evidence.fit(made.trajectories, made.given)
    found = evidence.log_probabilities(made.trajectories, "train", made.given)
    np.testing.assert_allclose(found, slow_log_probabilities(made.trajectories, evidence, made.given), atol=1e-9)
    # With itself in the mean, every row would look more like its given label.
    own = np.arange(40), made.given
    assert (evidence.log_probabilities(made.trajectories, "train")[own] > found[own]).all()


def test_sharpness_fits_the_classes_alike(tmp_path):
    made = make(tmp_path, default_class(0.4, 3), rows=90)
    evidence = Evidence.fit(made.trajectories, made.given)
    squared = evidence._squared_distances(made.trajectories.features("train"), made.given)

    def balanced_likelihood(sharpness):
        fit = log_softmax(-sharpness * squared, axis=1)[np.arange(90), made.given]
        return np.mean([fit[made.given == label].mean() for label in range(3)])

    best = balanced_likelihood(evidence.sharpness)
    assert all(best >= balanced_likelihood(evidence.sharpness * factor) for factor in (0.9, 0.99, 1.01, 1.1))


@pytest.mark.parametrize("features", [True, False])
def test_class_without_rows_is_never_chosen(features, tmp_path):
    made = make(tmp_path, symmetric(0.2, 4), absent=2, features=features)
    if features:
        with pytest.warns(UserWarning, match=r"no row has the given label \[2\]"):
            evidence = Evidence.fit(made.trajectories, made.given)
    else:
        evidence = Evidence.fit(made.trajectories, made.given)
    for split, labels in (("train", made.given), ("train", None), ("test", None)):
        found = evidence.log_probabilities(made.trajectories, split, labels)
        assert np.isfinite(found).all()
        assert np.exp(found[:, 2]).max() < 1e-12
    posterior, _ = posterior_given_label(evidence.log_probabilities(made.trajectories, "train"), made.given, 0.1)
    assert 2 not in posterior.argmax(1)


def test_class_without_rows_changes_nothing_about_the_others(tmp_path):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 5)), rng.integers(0, 2, 30)
    two = log_softmax(rng.normal(size=(30, 2)), axis=1)
    three = np.concatenate([two, np.full((30, 1), -40.0)], axis=1)
    small = store_of(tmp_path / "two", np.exp(two), features)
    large = store_of(tmp_path / "three", np.exp(three), features)
    expected = Evidence.fit(small, labels)
    with pytest.warns(UserWarning, match="no row has the given label"):
        found = Evidence.fit(large, labels)
    assert found.sharpness == pytest.approx(expected.sharpness, rel=1e-6)
    np.testing.assert_allclose(
        np.exp(found.log_probabilities(large, "train", labels))[:, :2],
        np.exp(expected.log_probabilities(small, "train", labels)),
        atol=1e-6,
    )


def test_the_only_row_of_a_class_is_judged_by_the_classifier(tmp_path):
    features = [[1, 0, 0], [1, 0.1, 0], [1, -0.1, 0], [0, 0.3, 1]]
    trajectories = store_of(tmp_path, [[0.5, 0.5]] * 4, features)
    labels = np.array([0, 0, 0, 1])
    found = Evidence.fit(trajectories, labels).log_probabilities(trajectories, "train", labels)
    np.testing.assert_allclose(np.exp(found[3]), [0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("kind", [symmetric, default_class])
@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_known_transition_is_recovered(kind, rate):
    rng = np.random.default_rng(1)
    classes, rows = 4, 6000
    transition, true = kind(rate, classes), rng.integers(0, classes, rows)
    labels = draw_labels(true, transition, rng)
    # Evidence with the exact likelihood of Gaussian classes, wrong about every seventh row.
    centres = 2.2 * np.eye(classes)
    points = centres[true] + rng.normal(size=(rows, classes))
    evidence = log_softmax(-((points[:, None] - centres) ** 2).sum(2) / 2, axis=1)
    assert 0.08 < (evidence.argmax(1) != true).mean() < 0.2
    posterior, found = posterior_given_label(evidence, labels, float((labels != true).mean()))
    np.testing.assert_allclose(found, transition, atol=0.04)
    assert (posterior.argmax(1) == true).mean() > max((labels == true).mean(), (evidence.argmax(1) == true).mean())


def test_rounds_end_at_the_noise_rate():
    rng = np.random.default_rng(2)
    evidence, labels = log_softmax(rng.normal(size=(400, 3)), axis=1), rng.integers(0, 3, 400)

    def expected_noise(rate, rounds=20):
        posterior, _ = posterior_given_label(evidence, labels, rate, max_iterations=rounds)
        return 1 - posterior[np.arange(400), labels].mean()

    start = expected_noise(0.99)
    assert start == pytest.approx(1 - np.exp(evidence)[np.arange(400), labels].mean())
    by_round = [expected_noise(0.0, rounds) for rounds in range(21)]
    rate = (by_round[2] + by_round[3]) / 2
    assert expected_noise(rate) == by_round[3] <= rate < by_round[2]


def test_noise_rate_zero_trusts_the_labels_most_but_not_blindly():
    # 99 rows support their label; one has overwhelming evidence against it.
    evidence = np.log(np.array([[0.9, 0.1]] * 99 + [[1e-12, 1.0]]))
    posterior, transition = posterior_given_label(evidence, np.zeros(100, int), 0.0)
    assert (posterior[:99, 0] > 0.9).all()
    assert posterior[99].argmax() == 1
    np.testing.assert_allclose(transition.sum(1), 1)


def test_transition_has_a_pseudo_count_of_one_row_a_class():
    evidence = np.log(np.array([[1.0, 1e-300]] * 3 + [[1e-300, 1.0]]))
    _, transition = posterior_given_label(evidence, np.array([0, 0, 1, 1]), 0.5)
    np.testing.assert_allclose(transition, [[2.5 / 4, 1.5 / 4], [0.5 / 2, 1.5 / 2]])


def test_suspicion_is_positive_where_evidence_is_against_the_label():
    evidence = np.log(np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2]]))
    found = suspicion(evidence, np.array([0, 1, 1]))
    np.testing.assert_allclose(found, [-np.log(3.5), np.log(3.5), 0.0], atol=1e-12)
    np.testing.assert_allclose(np.exp(evidence).sum(1), 1)  # the evidence given is left as it was


random_problem = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(6, 25), st.floats(0, 0.9))


@settings(max_examples=50)
@given(random_problem)
def test_posterior_is_stochastic_and_follows_permutations(problem):
    seed, classes, rows, rate = problem
    rng = np.random.default_rng(seed)
    evidence, labels = log_softmax(3 * rng.normal(size=(rows, classes)), axis=1), rng.integers(0, classes, rows)
    posterior, transition = posterior_given_label(evidence, labels, rate)
    for stochastic in (posterior, transition):
        assert (stochastic >= 0).all()
        np.testing.assert_allclose(stochastic.sum(1), 1, atol=1e-12)
    if abs(1 - posterior[np.arange(rows), labels].mean() - rate) < 1e-9:
        return  # the last digit decides whether there is another round
    order, new = rng.permutation(rows), rng.permutation(classes)
    moved, moved_transition = posterior_given_label(evidence[order], labels[order], rate)
    np.testing.assert_allclose(moved, posterior[order], atol=1e-8)
    np.testing.assert_allclose(moved_transition, transition, atol=1e-8)
    renamed, renamed_transition = posterior_given_label(evidence[:, np.argsort(new)], new[labels], rate)
    np.testing.assert_allclose(renamed[:, new], posterior, atol=1e-8)
    np.testing.assert_allclose(renamed_transition[np.ix_(new, new)], transition, atol=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(8, 25))
def test_evidence_follows_permutations(seed, classes, rows):
    rng = np.random.default_rng(seed)
    probabilities, features = rng.dirichlet(np.ones(classes), rows) + 1e-3, rng.normal(size=(rows, 4))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    order, new = rng.permutation(rows), rng.permutation(classes)

    def log_probabilities(folder, probabilities, features, labels):
        trajectories = store_of(Path(folder), probabilities, features)
        return Evidence.fit(trajectories, labels).log_probabilities(trajectories, "train", labels)

    with tempfile.TemporaryDirectory() as folder:
        found = log_probabilities(folder, probabilities, features, labels)
        moved = log_probabilities(folder, probabilities[order], features[order], labels[order])
        renamed = log_probabilities(folder, probabilities[:, np.argsort(new)], features, new[labels])
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(np.exp(moved), np.exp(found)[order], atol=1e-4)
    np.testing.assert_allclose(np.exp(renamed)[:, new], np.exp(found), atol=1e-4)
