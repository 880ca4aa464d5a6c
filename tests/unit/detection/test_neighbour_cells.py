"""The approximate search of nearest rows, which very many rows take."""

import numpy as np
import pytest

from hf_noisy.detection import neighbour_cells
from hf_noisy.detection.neighbours import nearest
from hf_noisy.detection.surroundings import check_nearest_index, surroundings


@pytest.fixture
def rows():
    """Rows around 40 directions, every tenth followed by a near-copy."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(2000, 16)) + 6 * draw.normal(size=(40, 16))[draw.integers(0, 40, 2000)]
    features[1::10] = features[0::10] + 1e-3 * draw.normal(size=(200, 16))
    return features.astype(np.float32) * draw.uniform(0.5, 2, size=(2000, 1)).astype(np.float32)


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_all_cells_together_hold_the_nearest_rows(rows, monkeypatch):
    monkeypatch.setattr(neighbour_cells, "_CELL", 100)
    monkeypatch.setattr(neighbour_cells, "_SEARCHED", 20)
    chosen = np.arange(0, 2000, 2)
    distances, found = neighbour_cells.nearest_in_cells(rows, chosen, 5)
    expected, others = nearest(unit(rows[chosen]), unit(rows[chosen]), 5, own=np.arange(1000))
    np.testing.assert_allclose(distances, expected, atol=1e-4)
    assert (found == others).mean() > 0.999


def test_the_nearest_cells_hold_nearly_all_of_them(rows, monkeypatch):
    monkeypatch.setattr(neighbour_cells, "_CELL", 100)
    distances, found = neighbour_cells.nearest_in_cells(rows, np.arange(2000), 10)
    expected, others = nearest(unit(rows), unit(rows), 10, own=np.arange(2000))
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, others, strict=True)]) > 0.95
    np.testing.assert_array_equal(found[0::10, 0], np.arange(1, 2000, 10))  # all near-copies
    np.testing.assert_allclose(distances[0::10, 0], expected[0::10, 0], rtol=1e-3)
    assert (found != np.arange(2000)[:, None]).all()


@pytest.fixture(autouse=True)
def _none_is_searched_among_all(monkeypatch):
    monkeypatch.setattr(neighbour_cells, "_FARTHEST", 0)


def test_the_farthest_rows_are_searched_among_all(rows, monkeypatch):
    monkeypatch.setattr(neighbour_cells, "_CELL", 100)
    monkeypatch.setattr(neighbour_cells, "_SEARCHED", 1)
    expected, others = nearest(unit(rows), unit(rows), 10, own=np.arange(2000))
    before = neighbour_cells.nearest_in_cells(rows, np.arange(2000), 10)[0]
    far = np.argsort(-before.mean(1))[:50]
    assert not np.allclose(before[far], expected[far], atol=1e-4)
    monkeypatch.setattr(neighbour_cells, "_FARTHEST", 50)
    distances, found = neighbour_cells.nearest_in_cells(rows, np.arange(2000), 10)
    np.testing.assert_allclose(distances[far], expected[far], atol=1e-4)
    assert (found[far] == others[far]).mean() > 0.999


@pytest.mark.parametrize("size", [1, 3])
def test_small_cells_are_searched_until_there_are_enough_rows(rows, monkeypatch, size):
    monkeypatch.setattr(neighbour_cells, "_CELL", size)
    monkeypatch.setattr(neighbour_cells, "_SEARCHED", 1)
    distances, found = neighbour_cells.nearest_in_cells(rows[:60], np.arange(60), 10)
    assert np.isfinite(distances).all()
    assert all(len(set(one)) == 10 for one in found)


def test_very_many_rows_are_searched_in_cells(rows, monkeypatch):
    exact = surroundings(rows, "auto")
    np.testing.assert_array_equal(exact.distances, surroundings(rows, "exact").distances)
    monkeypatch.setattr("hf_noisy.detection.surroundings._MOST_EXACT", 500)
    monkeypatch.setattr(neighbour_cells, "_CELL", 100)
    found = surroundings(rows, "auto")
    assert not np.array_equal(found.distances, exact.distances)
    assert np.abs(found.distances.mean(1) / exact.distances.mean(1) - 1).mean() < 0.02
    with pytest.raises(ValueError, match="index must be one of auto, exact, faiss, got 'annoy'"):
        check_nearest_index("annoy")
