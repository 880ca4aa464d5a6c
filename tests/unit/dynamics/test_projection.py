import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.dynamics.recorder import projection_matrix
from hf_noisy.dynamics.scores import centroid_distances, centroids


def test_the_matrix_is_random_signs_of_its_seed():
    matrix = projection_matrix(50, 16, seed=3)
    assert matrix.shape == (50, 16)
    assert set(np.unique(matrix * 4)) == {-1.0, 1.0}
    np.testing.assert_array_equal(matrix, projection_matrix(50, 16, seed=3))
    assert (matrix != projection_matrix(50, 16, seed=4)).mean() > 0.3
    # Written down: other numbers would make files of earlier runs incomparable.
    expected = [[1, 0, 0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 1, 0, 0, 0]]
    assert (projection_matrix(2, 8, seed=0) > 0).astype(int).tolist() == expected


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_distances_to_centroids_are_kept(seed):
    numbers = np.random.default_rng(seed)
    labels = np.arange(300) % 5
    rows = (numbers.normal(size=(5, 768))[labels] + numbers.normal(size=(300, 768))).astype(np.float32)
    projected = rows @ projection_matrix(768, 128, seed)
    before = centroid_distances(rows, centroids(rows, labels, 5))
    after = centroid_distances(projected, centroids(projected, labels, 5))
    # The share of a squared length that is kept is about chi-squared with 128 degrees of freedom over 128, so that a
    # length deviates by 1 / 16. One of 1500 lengths is out by seven of these with probability 2e-8; their root mean
    # square, which is 1.0 +- 0.1 of these, by two with even less.
    relative = np.abs(after / before - 1)
    assert relative.max() < 7 / 16
    assert np.sqrt((relative**2).mean()) < 2 / 16
