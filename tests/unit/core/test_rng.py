import random
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from hf_noisy.core.rng import random_state_kept, uniforms

ROWS = np.arange(4000)


def test_a_row_has_the_same_numbers_in_any_batch():
    whole = uniforms(3, stream="test", index=ROWS, size=4)
    order = np.random.default_rng(0).permutation(ROWS)
    for batch in np.array_split(order, 7):
        assert (uniforms(3, stream="test", index=batch, size=4) == whole[batch]).all()
    assert (uniforms(3, stream="test", index=np.array([5, 5]), size=4) == whole[[5, 5]]).all()


def test_more_numbers_continue_the_fewer():
    assert (uniforms(0, stream="a", index=ROWS, size=5)[:, :2] == uniforms(0, stream="a", index=ROWS, size=2)).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_type_of_the_index_does_not_matter(dtype):
    index = np.arange(100)
    given = uniforms(0, stream="a", index=index.astype(dtype), size=1)
    assert (given == uniforms(0, stream="a", index=index, size=1)).all()


def test_numbers_lie_strictly_between_zero_and_one():
    numbers = uniforms(0, stream="a", index=ROWS, size=50)
    assert numbers.dtype == np.float64
    assert numbers.shape == (4000, 50)
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert len(np.unique(numbers)) == numbers.size


def test_numbers_are_uniform_over_rows_and_within_a_row():
    numbers = uniforms(7, stream="a", index=ROWS, size=3)
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    row = uniforms(7, stream="a", index=np.array([0]), size=4000)[0]
    assert stats.kstest(row, "uniform").pvalue > 0.01
    # Neighbours, which a weak hash would tie together, are independent too.
    counts, *_ = np.histogram2d(numbers[:-1, 0], numbers[1:, 0], bins=8, range=[[0, 1], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > 0.01


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"stream": "b"}, {"epoch": 1}, {"seed": -1}, {"seed": 2**40}], ids=lambda value: str(value)
)
def test_seeds_streams_and_epochs_are_independent(other):
    key = {"seed": 0, "stream": "a", "epoch": 0}
    first, second = (
        uniforms(given.pop("seed"), index=ROWS, size=1, **given)[:, 0] for given in (dict(key), {**key, **other})
    )
    assert not (first == second).any()
    assert abs(stats.pearsonr(first, second).statistic) < 0.05
    assert stats.kstest(np.mod(first + second, 1.0), "uniform").pvalue > 0.01


def test_numbers_are_the_same_on_every_machine():
    # Recorded once: noise injected by an older release has to stay reproducible.
    numbers = uniforms(0, stream="noise", index=np.array([0, 1, 10**12]), size=2, epoch=3)
    expected = [
        [0.8892255105535601, 0.5728418126849882],
        [0.5386201687776832, 0.8470440887556244],
        [0.9252423760916001, 0.7149026753137392],
    ]
    np.testing.assert_array_equal(numbers, expected)


def test_size_zero_gives_no_numbers():
    assert uniforms(0, stream="a", index=ROWS, size=0).shape == (4000, 0)
    assert uniforms(0, stream="a", index=np.array([], dtype=np.int64), size=2).shape == (0, 2)


def test_random_state_is_kept_when_an_error_passes_through():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    expected = draw()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)

    def fail():
        with random_state_kept():
            draw()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert draw() == expected


def test_several_devices_are_no_reason_to_warn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.zeros(1))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    monkeypatch.setattr(torch.random, "_fork_rng_warned_already", False)
    with warnings.catch_warnings(), random_state_kept():
        warnings.simplefilter("error")


def test_every_generator_is_kept():
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draw()
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    with random_state_kept():
        assert draw() == expected
    assert draw() == expected
