"""What holds for every kind of noise."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.data import noise
from hf_noisy.data.records import measured_transition_matrix

FIXTURES = Path(__file__).parents[3] / "reference" / "fixtures"
RATE, ROWS, CLASSES = 0.4, 5000, 4
LABELS = np.arange(ROWS) % CLASSES
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 6))
MATRIX = [[0.6, 0.2, 0.1, 0.1], [0.0, 0.7, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25], [0.3, 0.2, 0.1, 0.4]]
BY_CLASS = {
    "symmetric": noise.symmetric,
    "with self": lambda rate, **options: noise.symmetric(rate, include_self=True, **options),
    "pair": noise.pair,
    "map": lambda rate, **options: noise.asymmetric(rate, {0: 2, 3: 1}, **options),
    "superclasses": lambda rate, **options: noise.superclass_map(rate, [0, 1, 1, 0], **options),
    "transition": lambda rate, **options: noise.transition(MATRIX, **options),
}
BY_ROW = {
    "instance": noise.instance_dependent,
    "shared": lambda rate, **options: noise.instance_dependent(rate, shared_weight=True, **options),
    "parts": noise.part_dependent,
}
GLOBAL_RATE = ["symmetric", "pair", *BY_ROW]
ALL = BY_CLASS | BY_ROW


@settings(max_examples=50)
@given(
    rate=st.floats(0, 0.99),
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(GLOBAL_RATE),
)
def test_exactly_the_rounded_share_flips_and_never_to_itself(rate, labels, seed, kind):
    true = np.array(labels)
    features = np.random.default_rng(seed).normal(size=(len(true), 2))
    found = ALL[kind](rate).apply(true, CLASSES, seed, features)
    assert (found != true).sum() == round(rate * len(true))
    assert ((found >= 0) & (found < CLASSES)).all()


@settings(max_examples=50)
@given(
    rate=st.floats(0, 0.99),
    labels=st.lists(st.integers(0, 3), max_size=40),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(sorted(ALL)),
    exact=st.booleans(),
)
def test_any_labels_stay_classes_and_the_input_stays_as_it_was(rate, labels, seed, kind, exact):
    true = np.array(labels, dtype=np.int64)
    features = np.random.default_rng(seed).normal(size=(len(true), 3))
    found = ALL[kind](rate, exact=exact).apply(true, CLASSES, seed, features)
    assert found.dtype == np.int64
    assert ((found >= 0) & (found < CLASSES)).all()
    assert true.tolist() == labels


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("exact", [True, False])
def test_noise_is_a_function_of_seed_and_stream(kind, exact):
    kind = ALL[kind](RATE, exact=exact)
    first = kind.apply(LABELS, CLASSES, 1, FEATURES)
    assert (first == kind.apply(LABELS, CLASSES, 1, FEATURES)).all()
    assert (first != kind.apply(LABELS, CLASSES, 2, FEATURES)).mean() > 0.1
    assert (first != kind.apply(LABELS, CLASSES, 1, FEATURES, "validation")).mean() > 0.1


@settings(max_examples=30)
@given(kind=st.sampled_from(sorted(BY_CLASS)), rows=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_an_independent_draw_of_a_row_does_not_depend_on_the_other_rows(kind, rows, seed):
    kind = BY_CLASS[kind](RATE, exact=False)
    assert (kind.apply(LABELS[:rows], CLASSES, seed) == kind.apply(LABELS, CLASSES, seed)[:rows]).all()


@pytest.mark.parametrize("kind", BY_ROW)
def test_an_independent_draw_of_a_row_depends_on_others_only_by_the_scale_of_the_features(kind, monkeypatch):
    monkeypatch.setattr("hf_noisy.data.noise.feature_noise.standardise", lambda features: features)
    kind = BY_ROW[kind](RATE, exact=False)
    whole = kind.apply(LABELS, CLASSES, 0, FEATURES)
    assert (kind.apply(LABELS[:300], CLASSES, 0, FEATURES[:300]) == whole[:300]).all()


@pytest.mark.parametrize("kind", ALL)
def test_independent_draws_are_not_exact_but_near_the_rate(kind):
    exact, independent = (ALL[kind](RATE, exact=exact).apply(LABELS, CLASSES, 0, FEATURES) for exact in (True, False))
    assert (independent != LABELS).sum() != (exact != LABELS).sum()
    assert abs((independent != LABELS).mean() - (exact != LABELS).mean()) < 0.05
    # Both come from the same draws: only rows next to a threshold differ.
    assert (independent != exact).mean() < 0.06


@pytest.mark.parametrize("kind", BY_CLASS)
@pytest.mark.parametrize("exact", [True, False])
def test_the_measured_matrix_approaches_the_expected_one(kind, exact):
    kind = BY_CLASS[kind](RATE, exact=exact)
    expected = kind.transition_matrix(CLASSES)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    measured = measured_transition_matrix(LABELS, kind.apply(LABELS, CLASSES, 0), CLASSES)
    np.testing.assert_allclose(measured, expected, atol=0.045)


@pytest.mark.parametrize("num_classes", [4, 10])
def test_transition_matrices_equal_those_of_the_published_code(num_classes):
    reference = json.loads((FIXTURES / "noise_transition_matrices.json").read_text())
    rate, matrices = reference["rate"], reference["matrices"]
    for name, kind in {
        "symmetric_excl_self": noise.symmetric(rate),
        "symmetric_incl_self": noise.symmetric(rate, include_self=True),
        "pairflip": noise.pair(rate),
    }.items():
        expected = np.array(matrices[f"{name} C={num_classes} r={rate}"])
        np.testing.assert_allclose(kind.transition_matrix(num_classes), expected, atol=1e-12)


def test_with_self_the_rate_counts_redrawn_rows():
    noisy = noise.symmetric(0.8, include_self=True).apply(LABELS, CLASSES, 0)
    assert abs((noisy != LABELS).mean() - 0.8 * 3 / 4) < 0.02


def test_draws_stay_those_of_the_first_release():
    labels = np.arange(12) % 3
    assert noise.symmetric(0.5).apply(labels, 3, 7).tolist() == [2, 2, 0, 0, 2, 1, 0, 1, 2, 0, 1, 1]
    assert noise.pair(0.5).apply(labels, 3, 7).tolist() == [1, 2, 0, 0, 2, 0, 0, 1, 2, 0, 1, 0]
    features = np.sin(np.arange(24.0)).reshape(12, 2)
    assert noise.instance_dependent(0.5).apply(labels, 3, 7, features).tolist() == [2, 0, 0, 1, 2, 0, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.2, float("nan")])
@pytest.mark.parametrize("kind", sorted(ALL.keys() - {"transition"}))
def test_a_rate_outside_is_refused(kind, rate):
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\), got"):
        ALL[kind](rate)


@pytest.mark.parametrize("kind", ALL)
def test_labels_out_of_range_are_refused(kind):
    with pytest.raises(ValueError, match=r"labels must be classes 0 to 3, got 4"):
        ALL[kind](RATE).apply(np.array([0, 4]), CLASSES)
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ALL[kind](RATE).apply(np.array([0, 0]), 1)
