import numpy as np
import pytest
from scipy.special import expit, softmax

from hf_noisy.detection.linear_head import fit_linear_head


def rows(count=80, width=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)).astype(np.float32)
    return features, rng.dirichlet(np.ones(classes), count).astype(np.float32)


@pytest.mark.parametrize("penalty", [0.003, 0.1])
def test_gradient_at_the_optimum_is_zero_for_soft_targets(penalty):
    features, targets = rows()
    head = fit_linear_head(features, targets, penalty)
    errors = softmax(head.logits(features), axis=1) - targets
    gradient = features.T @ errors / len(features) + penalty * head.weight
    np.testing.assert_allclose(gradient, 0, atol=5e-5)
    np.testing.assert_allclose(errors.mean(0), 0, atol=1e-4)  # the bias has no penalty


def test_hard_targets_give_the_regression_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features, targets = rows()
    labels, penalty = targets.argmax(1), 0.01
    head = fit_linear_head(features, np.eye(3, dtype=np.float32)[labels], penalty)
    theirs = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-8, max_iter=1000).fit(features, labels)
    np.testing.assert_allclose(softmax(head.logits(features), axis=1), theirs.predict_proba(features), atol=1e-3)


def test_each_class_of_a_set_has_the_regression_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features, targets = rows()
    sets, penalty = targets > 0.3, 0.01
    probabilities = expit(fit_linear_head(features, sets, penalty, sigmoid=True).logits(features))
    regression = LogisticRegression(C=1 / (penalty * len(sets)), tol=1e-8, max_iter=1000)
    for found, given in zip(probabilities.T, sets.T, strict=True):
        np.testing.assert_allclose(found, regression.fit(features, given).predict_proba(features)[:, 1], atol=1e-3)


def test_gradient_of_sigmoid_heads_is_zero_for_soft_targets():
    features, targets = rows()
    head = fit_linear_head(features, targets, 0.01, sigmoid=True)
    errors = expit(head.logits(features)) - targets
    np.testing.assert_allclose(features.T @ errors / len(features) + 0.01 * head.weight, 0, atol=5e-5)
    np.testing.assert_allclose(errors.mean(0), 0, atol=1e-4)


def test_rows_of_targets_are_weights_where_they_do_not_sum_to_one():
    features, targets = rows()
    weighted = fit_linear_head(features, targets * 2, 0.02)
    np.testing.assert_allclose(weighted.weight, fit_linear_head(features, targets, 0.01).weight, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_refused(value):
    features, targets = rows()
    features = features.astype(np.float64)
    features[3, 1] = value
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="needs finite features"):
        fit_linear_head(features, targets, 0.01)


def test_half_precision_is_fitted_in_single_precision():
    features, targets = rows()
    expected = fit_linear_head(features.astype(np.float16).astype(np.float32), targets, 0.01)
    found = fit_linear_head(features.astype(np.float16), targets, 0.01)
    np.testing.assert_array_equal(found.weight, expected.weight)


def test_logits_far_from_zero_stay_finite():
    features, targets = rows()
    for sigmoid in (False, True):
        head = fit_linear_head(1e4 * features, targets, 1e-8, sigmoid)
        assert np.isfinite(head.weight).all()
        assert np.isfinite(head.bias).all()
