import numpy as np
import pytest
import torch
from scipy.special import softmax

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


def test_it_is_fitted_without_gradients_and_for_half_precision_too():
    features, targets = rows()
    expected = fit_linear_head(features.astype(np.float16).astype(np.float32), targets, 0.01)
    state = torch.get_rng_state()
    with torch.no_grad():
        found = fit_linear_head(features.astype(np.float16), targets, 0.01)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(found.weight, expected.weight)
