import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hf_noisy.detection import mixture
from hf_noisy.detection.mixture import _check, small_loss

COMPONENTS = ["gaussian", "beta"]


def losses_of(num_clean=700, num_wrong=300, seed=0):
    """Beta-like losses: the clean ones near 0, the wrong ones near 4 nats; True where the row is clean."""
    rng = np.random.default_rng(seed)
    losses = np.concatenate([4 * rng.beta(1, 12, num_clean), 5 * rng.beta(12, 4, num_wrong)])
    return losses, np.arange(len(losses)) < num_clean


@pytest.mark.parametrize("components", COMPONENTS)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_two_groups_are_told_apart(components, share):
    losses, clean = losses_of(round(2000 * (1 - share)), round(2000 * share))
    probability = small_loss(losses, components)
    assert ((probability > 0.5) == clean).mean() > 0.97
    assert probability.mean() == pytest.approx(clean.mean(), abs=0.1)


def test_gaussian_posterior_of_a_known_mixture():
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(1, 0.5, 12_000), rng.normal(3, 0.8, 6000)])
    inside = (losses > 1.1) & (losses < 2.9)
    density = [w / s * np.exp(-0.5 * ((losses - m) / s) ** 2) for w, m, s in [(2, 1, 0.5), (1, 3, 0.8)]]
    expected = density[0] / (density[0] + density[1])
    # The floor of the variance widens both components by a few percent.
    difference = np.abs(small_loss(losses)[inside] - expected[inside])
    assert difference.max() < 0.15
    assert difference.mean() < 0.05


@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_a_larger_loss_is_never_cleaner(seed, num_rows):
    losses = np.random.default_rng(seed).gamma(1.0, 1.0, num_rows)
    probability = small_loss(losses)
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert np.diff(probability[np.argsort(losses)]).max() <= 1e-9


@pytest.mark.parametrize("components", COMPONENTS)
def test_order_scale_and_shift_do_not_matter(components):
    losses, _ = losses_of()
    expected = small_loss(losses, components)
    order = np.random.default_rng(1).permutation(len(losses))
    assert_allclose(small_loss(losses[order], components), expected[order], atol=1e-9)
    assert_allclose(small_loss(8 * losses + 2, components), expected, atol=1e-6)
    assert_allclose(small_loss(losses.astype(np.float32), components), expected, atol=1e-3)


@pytest.mark.parametrize("components", COMPONENTS)
def test_quantiles_stand_for_many_rows(components, monkeypatch):
    losses, _ = losses_of(7000, 3000)
    expected = small_loss(losses, components)
    monkeypatch.setattr(mixture, "MAX_FITTED", 1000)
    assert_allclose(small_loss(losses, components), expected, atol=0.02)


@pytest.mark.parametrize("components", COMPONENTS)
def test_few_distinct_losses_warn_of_nothing(components):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(small_loss(np.full(5, 2.0), components), np.ones(5))
        found = small_loss(np.array([0.0] * 30 + [4.0] * 10), components)
    assert found[:30].min() > 0.5 > found[30:].max()


def test_same_seed_gives_the_same_numbers_and_leaves_the_global_generator():
    losses, _ = losses_of()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert_array_equal(small_loss(losses, seed=3), small_loss(losses, seed=3))
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.array([1.0, 2.0, 3.0]), r"at least 4 real numbers, one per row, got float64 of \(3,\)"),
        ([1.0, 2.0, 3.0, 4.0], "at least 4 real numbers, one per row, got list"),
        (np.ones((4, 2)), r"at least 4 real numbers, one per row, got float64 of \(4, 2\)"),
        (np.array([1.0, 2.0, 3.0, np.nan]), "losses must be finite, got nan in row 3; drop an epoch"),
        (np.array([1.0, np.inf, 3.0, 4.0]), "losses must be finite, got inf in row 1; drop an epoch"),
    ],
)
def test_losses_that_tell_nothing_are_refused(losses, message):
    with pytest.raises(ValueError, match=message):
        _check(losses, "gaussian")


def test_unknown_components_are_refused():
    with pytest.raises(ValueError, match="components must be gaussian or beta, got 'gamma'"):
        _check(np.ones(4), "gamma")
