import inspect
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax

from hf_noisy.detection import fit_evidence
from hf_noisy.detection.evidence import _mix, class_priors

plain_fit_evidence = inspect.unwrap(fit_evidence)  # users have no type checks


def gaussians(shares, rows=600, width=10, distance=2.0, seed=0):
    """Features and true labels of classes around points on the axes."""
    rng = np.random.default_rng(seed)
    true = rng.choice(len(shares), rows, p=shares)
    return rng.normal(size=(rows, width)) + distance * np.eye(len(shares), width)[true], true


def flipped(true, classes, rate, seed=1):
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(true)) < rate
    return np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)


@pytest.fixture(scope="module")
def noisy():
    features, true = gaussians([0.5, 0.5])
    given = flipped(true, 2, 0.4)
    return features, given, true, fit_evidence(features, given)


def test_the_posterior_is_better_than_the_given_labels(noisy):
    _, given, true, evidence = noisy
    assert (given == true).mean() < 0.65
    assert (evidence.posterior.argmax(1) == true).mean() > 0.85
    assert (evidence.probabilities.argmax(1) == true).mean() > 0.85
    assert evidence.noise_rate.rate == pytest.approx(0.4, abs=0.12)
    assert evidence.transition[0, 1] > 0.2


def test_draws_of_a_predictor_have_one_weight_and_take_part_alike():
    rng = np.random.default_rng(2)
    labels, priors = np.arange(30) % 3, class_priors(None, np.array([10, 10, 10]))
    first, second, other = (log_softmax(rng.normal(size=(30, 3)) + np.eye(3)[labels], axis=1) for _ in range(3))
    alone, weights = _mix([[first], [other]], priors, labels)
    repeated, same = _mix([[first, first], [other]], priors, labels)
    np.testing.assert_allclose(repeated, alone)
    np.testing.assert_allclose(same, weights)
    mixed, weights = _mix([[first, second]], {"uniform": np.zeros(3)}, labels)
    assert weights.tolist() == [[1]]
    np.testing.assert_allclose(mixed, (np.exp(first) + np.exp(second)) / 2)


def test_other_rows_are_predicted(noisy):
    evidence = noisy[-1]
    others, true = gaussians([0.5, 0.5], seed=5)
    predicted = evidence.predict(others)
    np.testing.assert_allclose(predicted.sum(1), 1)
    assert (predicted.argmax(1) == true).mean() > 0.85
    np.testing.assert_allclose(evidence.predict(others.astype(np.float16)), predicted, atol=0.01)
    with pytest.raises(ValueError, match="features must have the width 10 of the fit, got 4"):
        evidence.predict(others[:, :4])
    with pytest.raises(ValueError, match="features must be finite"):
        evidence.predict(others * np.nan)


def test_results_are_distributions_and_weights_sum_to_one(noisy):
    evidence = noisy[-1]
    for distributions in (evidence.probabilities, evidence.posterior, evidence.transition):
        assert (distributions >= 0).all()
        np.testing.assert_allclose(distributions.sum(1), 1)
    assert sum(evidence.weights.values()) == pytest.approx(1)
    assert sum(evidence.prior_weights.values()) == pytest.approx(1)
    assert evidence.prior_weights.keys() == {"uniform", "between", "given"}
    assert evidence.probabilities.max(1).mean() == pytest.approx(evidence.expected_accuracy, abs=5e-3)


def test_it_is_the_same_for_every_type_of_features_and_labels(noisy):
    features, given, _, evidence = noisy
    found = fit_evidence(features.astype(np.float32), given.astype(np.int32))
    np.testing.assert_allclose(found.posterior, evidence.posterior, atol=1e-3)
    half = fit_evidence(features.astype(np.float16), given.astype(np.int8), num_classes=2)
    assert (half.posterior.argmax(1) == evidence.posterior.argmax(1)).mean() > 0.99
    again = fit_evidence(features, given)
    np.testing.assert_array_equal(again.posterior, evidence.posterior)


def test_given_frequencies_win_where_classes_are_unbalanced():
    features, true = gaussians([0.9, 0.1])
    given = flipped(true, 2, 0.05)
    chosen, uniform = (fit_evidence(features, given, class_prior=prior) for prior in (None, "uniform"))
    assert chosen.prior_weights["given"] > chosen.prior_weights["uniform"]
    assert (chosen.posterior.argmax(1) == true).mean() > (uniform.posterior.argmax(1) == true).mean()


def test_uniform_frequencies_win_where_wrong_labels_are_of_one_class():
    features, true = gaussians([0.25] * 4, distance=4.0)
    given = np.where(np.random.default_rng(1).random(len(true)) < 0.4, 0, true)
    evidence = fit_evidence(features, given)
    assert (evidence.posterior.argmax(1) == true).mean() > (given == true).mean() + 0.2


def test_class_priors_by_name_and_as_an_array(noisy):
    features, given, _, _ = noisy
    counts = np.array([3, 1, 0])
    np.testing.assert_allclose(np.exp(class_priors("given", counts)["given"]), [0.75, 0.25, 0.125])
    np.testing.assert_allclose(class_priors("uniform", counts)["uniform"], 0)
    np.testing.assert_allclose(np.exp(class_priors([6, 2, 0], counts)["array"]), [0.75, 0.25, 1e-6])
    known = class_priors(None, counts)
    np.testing.assert_allclose(2 * known["between"], known["given"])
    assert fit_evidence(features, given, class_prior=[0.5, 0.5]).prior_weights == {"array": pytest.approx(1.0)}
    mostly_second = fit_evidence(features, given, class_prior=[0.1, 0.9]).posterior.argmax(1)
    assert mostly_second.mean() > fit_evidence(features, given, class_prior="uniform").posterior.argmax(1).mean()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("equal", "class_prior must be 'uniform', 'given', an array or None, got 'equal'"),
        ([0.5, 0.3, 0.2], "class_prior must be 2 frequencies of at least 0"),
        ([1.0, -0.1], "class_prior must be 2 frequencies of at least 0"),
        ([0.0, 0.0], "class_prior must be 2 frequencies of at least 0"),
        ([np.nan, 1.0], "class_prior must be 2 frequencies of at least 0"),
    ],
)
def test_other_class_priors_are_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        class_priors(prior, np.array([5, 5]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, np.int64), "labels must hold at least 2 classes"),
        (np.arange(4), "one of them with 2 rows, got 4 rows of 4 classes"),
        (np.array([0, 1, 1]), "one class id for each of the 4 rows"),
        (np.array([0, 1, -1, 0]), "labels must be classes from 0"),
        (np.array([0.0, 1.0, 1.0, 0.0]), "labels must be one integer per row"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        plain_fit_evidence(np.random.default_rng(0).normal(size=(4, 3)), labels)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="labels must hold at least 2 classes"):
        fit_evidence(np.empty((0, 3)), np.empty(0, np.int64))


@pytest.mark.parametrize("features", ["random", "constant", "one number", "two points"])
def test_small_and_uninformative_data_give_finite_results(features):
    rng = np.random.default_rng(0)
    rows = {
        "random": rng.normal(size=(9, 20)),
        "constant": np.ones((9, 3)),
        "one number": rng.normal(size=(9, 1)),
        "two points": np.eye(2)[np.arange(9) % 2],
    }[features]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 3])  # one class without rows, one with a single row
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = fit_evidence(rows, labels, num_classes=5)
    for values in (evidence.probabilities, evidence.posterior, evidence.transition, evidence.predict(rows)):
        assert np.isfinite(values).all()
    assert not {2, 4} & set(evidence.probabilities.argmax(1))
    assert not {2, 4} & set(evidence.posterior.argmax(1))


def test_copies_do_not_confirm_their_own_wrong_label():
    features, true = gaussians([0.5, 0.5], rows=200, distance=4.0)
    given = true.copy()
    features[:10], given[:10] = features[0], 1 - true[0]  # ten copies, all with the same wrong label
    evidence = fit_evidence(features, given)
    assert (evidence.probabilities[:10].argmax(1) == true[0]).all()


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("features", ["constant", "random"])
def test_features_that_say_nothing_change_no_label(features, classes, caplog):
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, 600)
    given = np.where(rng.random(600) < 0.26, (true + 1) % classes, true)
    evidence = fit_evidence(np.ones((600, 16)) if features == "constant" else rng.normal(size=(600, 16)), given)
    assert not evidence.informed
    np.testing.assert_array_equal(evidence.posterior.argmax(1), given)
    assert tuple(evidence.noise_rate) == (0.0, 0.0, 1.0)
    assert "no better than chance" in caplog.text


def test_other_rows_are_predicted_even_where_labels_are_kept():
    features, true = gaussians([0.5, 0.5], rows=600, distance=3.0)
    wrong = np.random.default_rng(2).random(600) < 0.4
    evidence = fit_evidence(features[:60], np.where(wrong, 1 - true, true)[:60])  # too few and too noisy to tell
    assert not evidence.informed
    assert (evidence.predict(features[60:]).argmax(1) == true[60:]).mean() > 0.9


def test_little_is_still_something(caplog):
    features, true = gaussians([0.5, 0.5], rows=600, distance=1.0)
    assert fit_evidence(features, true).informed
    assert not caplog.text


@pytest.mark.parametrize(("distance", "taken"), [(0.8, "likely"), (2.0, "counted")])
def test_the_transition_of_weak_predictors_is_the_likely_one(distance, taken):
    features, true = gaussians([0.25] * 4, distance=distance)
    found = {one: fit_evidence(features, true, transition=one) for one in ("auto", "counted", "likely")}
    assert (found["auto"].expected_accuracy < 0.75) == (taken == "likely")
    np.testing.assert_array_equal(found["auto"].posterior, found[taken].posterior)
    assert np.abs(found["counted"].posterior - found["likely"].posterior).max() > 0.01


@pytest.mark.parametrize("distance", [1.0, 1.5])
def test_right_labels_of_hard_rows_are_doubted_less_by_the_likely_transition(distance):
    features, true = gaussians([0.25] * 4, distance=distance)
    wrong = {}
    for transition in ("counted", "likely"):
        posterior = fit_evidence(features, true, transition=transition).posterior
        wrong[transition] = (1 - posterior[np.arange(len(true)), true].mean(), (posterior.argmax(1) != true).mean())
    assert wrong["counted"][0] > 0.2
    assert wrong["counted"][1] > 0.1
    assert wrong["likely"][0] < wrong["counted"][0] / 2
    assert wrong["likely"][1] < wrong["counted"][1] / 5


def test_random_errors_are_corrected_under_the_likely_transition(noisy):
    features, given, true, counted = noisy
    evidence = fit_evidence(features, given, transition="likely")
    assert np.abs(evidence.transition - counted.transition).max() > 1e-3
    assert (evidence.posterior.argmax(1) == true).mean() > 0.85
    assert np.diagonal(evidence.transition).mean() == pytest.approx((given == true).mean(), abs=0.1)
    np.testing.assert_allclose(evidence.posterior.sum(1), 1)


def test_another_transition_is_refused(noisy):
    with pytest.raises(ValueError, match="transition must be one of counted, likely, auto, got 'dual_t'"):
        plain_fit_evidence(*noisy[:2], transition="dual_t")
