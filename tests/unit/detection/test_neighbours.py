import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from hf_noisy.detection import neighbours
from hf_noisy.detection.neighbours import nearest, sample_references
from hf_noisy.dygen.prior import neighbour_probabilities


def by_hand(queries, references, k, own=None):
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - references[None], axis=2)
    if own is not None:
        distances[own >= 0, own[own >= 0]] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [2, 40])  # sklearn has a tree for the one and products for the other
def test_votes_are_those_of_sklearn(width, dtype):
    rng = np.random.default_rng(0)
    references = rng.normal(size=(700, width)).astype(dtype)
    labels = rng.choice([0, 2, 3], 700)  # no row of class 1
    # Copies, at a distance of 0, of the same label: which of two equally near rows is the tenth is ours to say.
    references[600:650], labels[600:650] = references[:50], labels[:50]
    queries = np.concatenate([rng.normal(size=(300, width)).astype(dtype), references[:100]])
    expected = np.zeros((400, 4))
    model = KNeighborsClassifier(10, weights="distance").fit(references, labels)
    expected[:, model.classes_] = model.predict_proba(queries)
    found = neighbour_probabilities(references, labels, queries, 4)
    np.testing.assert_allclose(found, expected, atol=1e-6)  # its products leave copies a little apart


@settings(max_examples=25)
@given(seed=st.integers(0, 999), k=st.integers(1, 30), shift=st.sampled_from([0.0, 1000.0]))
def test_nearest_are_those_of_the_definition_and_ties_go_by_number(seed, k, shift):
    rng = np.random.default_rng(seed)
    references = rng.integers(0, 3, size=(200, 3)) + shift  # 27 places: most rows have many copies
    queries = rng.integers(0, 3, size=(20, 3)) + shift
    found, expected = nearest(queries, references, k), by_hand(queries, references, k)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-12)


def test_blocks_and_doubt_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.normal(size=(50, 6)), 40, axis=0).astype(np.float32)  # more copies than candidates
    rng.shuffle(rows)
    queries, own = rows[:40], np.arange(40)
    expected = by_hand(queries, rows, 5, own)
    for blocks in ((512, 32_768), (7, 64)):
        monkeypatch.setattr(neighbours, "_QUERIES", blocks[0])
        monkeypatch.setattr(neighbours, "_REFERENCES", blocks[1])
        found = nearest(queries, rows, 5, own=own)
        np.testing.assert_array_equal(found[1], expected[1])
        assert (found[0] == 0).all()


def test_a_row_far_off_puts_no_other_in_doubt(monkeypatch):
    rng = np.random.default_rng(2)
    references = rng.normal(size=(2000, 16)).astype(np.float32)
    references[0] *= 1e4
    queries, asked, within = references[:50], [], neighbours._within
    monkeypatch.setattr(neighbours, "_within", lambda *given: asked.append(given) or within(*given))
    found, expected = nearest(queries, references, 5), by_hand(queries, references, 5)
    np.testing.assert_array_equal(found[1], expected[1])
    assert len(asked) <= 1  # the far one itself


def test_too_few_references_and_another_index_are_refused():
    rows = np.zeros((3, 2))
    with pytest.raises(ValueError, match="k must be 1 to 2, the number of references, got 3"):
        nearest(rows, rows, 3, own=np.arange(3))
    with pytest.raises(ValueError, match="index must be one of exact, faiss, got 'annoy'"):
        neighbours.check_index("annoy")


def test_sample_is_seeded_in_order_and_has_the_shares_of_the_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    chosen = sample_references(labels, 90, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 1]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, sample_references(labels, 90, seed=1))
    assert chosen.tolist() != sample_references(labels, 90, seed=2).tolist()
    np.testing.assert_array_equal(sample_references(labels, None), np.arange(903))
    with pytest.raises(ValueError, match="max_references must be at least 1 row, got 0"):
        sample_references(labels, 0)


def test_approximate_neighbours_are_mostly_the_exact_ones():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(20, 32))
    rows = (centres[rng.integers(0, 20, 4000)] + rng.normal(size=(4000, 32))).astype(np.float32)
    own = np.arange(4000)
    exact, found = (nearest(rows, rows, 10, own=own, index=index) for index in ("exact", "faiss"))
    assert not (found[1] == own[:, None]).any()
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact[1], found[1], strict=True)])
    assert recall > 0.9
    same = found[1] == exact[1]
    np.testing.assert_allclose(found[0][same], exact[0][same], rtol=1e-6)
