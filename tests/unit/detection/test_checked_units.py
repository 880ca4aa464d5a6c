import numpy as np
import pytest

from hf_noisy.detection.checked_units import unit_share


def drawn(seed, rows=40, of=1000, size=20):
    """Errors of `rows` random rows of a population in which errors come by whole rows."""
    draw = np.random.default_rng(seed)
    own = draw.beta(0.3, 2.7, of)  # share of wrong labels of each row
    chosen = draw.permutation(of)[:rows]
    outcome = draw.random((of, size)) < own[:, None]
    return outcome[chosen].ravel(), np.repeat(chosen, size), outcome.mean()


def test_the_interval_holds_the_rate_though_errors_come_by_row():
    held, naive = [], []
    for seed in range(300):
        outcome, rows, rate = drawn(seed)
        found = unit_share(outcome, rows, 1000)
        held.append(found.low <= rate <= found.high)
        half = 1.96 * np.sqrt(outcome.mean() * (1 - outcome.mean()) / len(outcome))
        naive.append(abs(outcome.mean() - rate) <= half)
    assert np.mean(held) >= 0.93
    assert np.mean(naive) < 0.8  # what the labels would give if they were independent


def test_no_error_is_no_proof_that_there_is_none():
    found = unit_share(np.zeros(200, bool), np.repeat(np.arange(10), 20), 1000)
    assert (found.rate, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_all_rows_leave_no_doubt_and_none_says_nothing():
    assert unit_share(np.array([True, False]), np.array([0, 1]), 2)[:3] == (0.5, 0.5, 0.5)
    nothing = unit_share(np.zeros(0, bool), np.zeros(0, np.int64), 5)
    assert np.isnan(nothing.rate)
    assert nothing[1:] == (0.0, 1.0, 0)
