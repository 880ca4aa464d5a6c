import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from hf_noisy.dynamics.scores import centroid_distances, centroids, dynamics_score


def direct_distances(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.linalg.norm(embeddings[:, None, :].astype(np.float64) - centres[None], axis=-1)


def test_centroids_are_class_means() -> None:
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(700, 5)), rng.integers(0, 4, 700)
    expected = np.stack([embeddings[labels == k].mean(0) for k in range(4)])
    np.testing.assert_allclose(centroids(embeddings, labels, 4), expected, atol=1e-13)


def test_a_class_without_rows_gets_the_overall_mean_and_a_warning() -> None:
    embeddings, labels = np.arange(8.0).reshape(4, 2), np.array([0, 0, 2, 2])
    with pytest.warns(UserWarning, match=r"label \[1\]"):
        means = centroids(embeddings, labels, 3)
    np.testing.assert_array_equal(means[1], embeddings.mean(0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distances_agree_with_the_direct_formula_across_blocks(dtype: type) -> None:
    rng = np.random.default_rng(1)
    embeddings, labels = rng.normal(size=(601, 16)).astype(dtype), rng.integers(0, 3, 601)
    centres = centroids(embeddings, labels, 3)
    distances = centroid_distances(embeddings, centres)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, direct_distances(embeddings, centres), rtol=1e-12)


@given(offset=st.floats(-1e6, 1e6), spread=st.floats(1e-4, 1e2))
def test_distances_survive_a_common_offset(offset: float, spread: float) -> None:
    rng = np.random.default_rng(2)
    embeddings = offset + spread * rng.normal(size=(20, 6))
    centres = centroids(embeddings, np.arange(20) % 3, 3)
    np.testing.assert_allclose(
        centroid_distances(embeddings, centres), direct_distances(embeddings, centres), rtol=1e-8
    )


def test_a_row_beside_its_centroid_keeps_its_digits() -> None:
    centres = np.array([[1e3, 0.0, 0.0], [-1e3, 0.0, 0.0]])
    embeddings = centres + np.array([0.0, 1e-6, 0.0])
    assert np.diag(centroid_distances(embeddings, centres)) == pytest.approx(1e-6, rel=1e-9)
    assert np.diag(centroid_distances(centres, centres)).tolist() == [0.0, 0.0]


def test_score_is_mean_plus_deviation() -> None:
    distances = np.random.default_rng(3).random((4, 9))
    score = dynamics_score(distances)
    np.testing.assert_allclose(score.score, distances.mean(0) + distances.std(0))
    np.testing.assert_allclose(dynamics_score(distances, ddof=1).deviation, distances.std(0, ddof=1))
    assert dynamics_score(distances[:1]).deviation.tolist() == [0.0] * 9


def test_bad_input_is_refused() -> None:
    rows = np.zeros((3, 2))
    with pytest.raises(ValueError, match="embeddings must have at least one row"):
        centroids(rows[:0], np.zeros(0, dtype=int), 2)
    with pytest.raises(ValueError, match=r"labels must be classes 0 to 1"):
        centroids(rows, np.array([0, 1, -1]), 2)
    # Under pytest the shapes of the signature speak first; without them the function does.
    with pytest.raises((ValueError, TypeCheckError), match="centroids"):
        centroid_distances(rows, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="more than 1 epochs"):
        dynamics_score(np.ones((1, 3)), ddof=1)
