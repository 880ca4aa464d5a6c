import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.purification.dmlp.ridge import Ridge, Scaling


def problem(rows=60, width=5, classes=3, seed=0, distance=2.0):
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = distance * draw.normal(size=(classes, width))
    return centres[labels] + draw.normal(size=(rows, width)), labels


def test_scaled_columns_have_mean_zero_and_rows_about_length_one():
    features, _ = problem(500)
    scaled = Scaling.fit(features)(features * 1.0)
    np.testing.assert_allclose(scaled[:, :-1].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose((scaled[:, :-1] ** 2).sum(1).mean(), 1, rtol=1e-5)
    assert (scaled[:, -1] == 1).all()
    assert scaled.dtype == np.float32


@given(st.floats(0.1, 100), st.floats(-50, 50))
@settings(max_examples=20)
def test_unit_and_origin_of_the_features_do_not_matter(unit, origin):
    features, _ = problem()
    moved = unit * features + origin
    np.testing.assert_allclose(Scaling.fit(moved)(moved), Scaling.fit(features)(features), atol=1e-4)


def test_constant_columns_are_told_and_left_out():
    features, labels = problem()
    wider = np.insert(features, 2, 7.0, axis=1)
    with pytest.warns(UserWarning, match="1 of 6 columns of features are constant and are not used"):
        model = Ridge.fit(wider, labels, 3)
    np.testing.assert_allclose(model(wider), Ridge.fit(features, labels, 3)(features), atol=1e-5)


def test_features_that_never_vary_are_refused():
    with pytest.raises(ValueError, match="the same in every row"):
        Ridge.fit(np.ones((4, 3)), np.array([0, 1, 0, 1]), 2)


@pytest.mark.parametrize("rows", [8, 60])  # fewer rows than columns, and more
def test_left_out_rows_are_those_of_refitting_without_them(rows):
    features, labels = problem(rows, width=10)
    scaling, model = Scaling.fit(features), Ridge.fit(features, labels, 3, penalty=0.5)
    scaled, targets = scaling(features).astype(np.float64), np.eye(3)[labels]
    for row in (0, rows - 1):
        others = np.arange(rows) != row
        gram = scaled[others].T @ scaled[others] + 0.5 * np.eye(scaled.shape[1])
        scores = scaled[row] @ np.linalg.solve(gram, scaled[others].T @ targets[others])
        expected = model.temperature * scores
        expected -= np.log(np.exp(expected).sum())
        np.testing.assert_allclose(model.left_out[row], expected, atol=1e-8)


def test_weights_solve_the_normal_equations():
    features, labels = problem()
    model = Ridge.fit(features, labels, 3)
    scaled = model.scaling(features).astype(np.float64)
    left = (scaled.T @ scaled + model.penalty * np.eye(scaled.shape[1])) @ model.weight
    np.testing.assert_allclose(left, scaled.T @ np.eye(3)[labels], atol=1e-8)


def test_the_penalty_is_the_likeliest_for_left_out_rows():
    features, labels = problem(distance=0.5)
    chosen = Ridge.fit(features, labels, 3)
    rows = np.arange(len(labels))
    likelihood = chosen.left_out[rows, labels].mean()
    for penalty in np.logspace(-3, 2, 16):
        other = Ridge.fit(features, labels, 3, penalty=float(penalty)).left_out[rows, labels].mean()
        assert other <= likelihood + 1e-9
    assert chosen.penalty > 1e-3


def test_a_class_without_rows_gets_little_but_something():
    features, labels = problem(classes=2)
    log_p = Ridge.fit(features, labels, 3)(features)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, atol=1e-9)
    assert (log_p.argmax(1) != 2).all()
    assert np.isfinite(log_p).all()
