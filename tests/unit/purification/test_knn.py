import inspect

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.purification.knn import knn_posterior
from hf_noisy.purification.policies import purify

plain_knn = inspect.unwrap(knn_posterior)  # users have no type checks


def clusters(rows=120, classes=3, wrong=0.2, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.arange(rows) % classes
    features = 4 * np.eye(classes)[clean] + rng.normal(size=(rows, classes))
    given = np.where(rng.random(rows) < wrong, (clean + rng.integers(1, classes, rows)) % classes, clean)
    return features.astype(np.float32), given, clean


def posterior(features, labels, k=10, weights="distance", **options):
    return knn_posterior(np.asarray(features), np.asarray(labels), k=k, weights=weights, **options)


def by_hand(features, labels, k, weights, temperature, metric, classes):
    """One row at a time, straight from the definition."""
    features = features.astype(np.float64)
    expected = np.zeros((len(labels), classes))
    for row, own in enumerate(features):
        if metric == "cosine":
            lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(own)
            distances = 1 - features @ own / lengths
        else:
            distances = np.linalg.norm(features - own, axis=1)
        distances[row] = np.inf
        nearest = np.argsort(distances, kind="stable")[:k]
        votes = {
            "uniform": np.ones(k),
            "distance": 1 / distances[nearest],
            "softmax": np.exp(-distances[nearest] / temperature),
        }[weights]
        np.add.at(expected[row], labels[nearest], votes / votes.sum())
    return expected


@pytest.mark.parametrize("weights", ["uniform", "distance", "softmax"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_votes_are_those_of_the_definition(weights, metric):
    features, labels, _ = clusters()
    found = posterior(features, labels, 7, weights, temperature=0.3, metric=metric)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(features, labels, 7, weights, 0.3, metric, 3), atol=1e-5)


def test_wrong_labels_are_outvoted():
    features, labels, clean = clusters(wrong=0.3)
    assert (posterior(features, labels).argmax(1) == clean).mean() > (labels == clean).mean() + 0.15


@pytest.mark.parametrize("weights", ["uniform", "distance", "softmax"])
def test_copies_of_a_row_have_one_vote_and_none_for_each_other(weights):
    features, labels, _ = clusters(40)
    alone = posterior(features, labels, 5, weights)
    doubled = posterior(np.repeat(features, 2, axis=0), np.repeat(labels, 2), 5, weights)
    np.testing.assert_allclose(doubled, np.repeat(alone, 2, axis=0), atol=1e-6)
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    found = posterior(features, [0, 0, 1, 1, 0], 3, weights)
    np.testing.assert_allclose(found[:2], [[1 / 3, 2 / 3]] * 2, atol=1e-6)
    np.testing.assert_allclose(found[2:], [[1, 0]] * 3, atol=1e-6)
    with pytest.raises(ValueError, match="features must differ for neighbours to vote, but all 2 rows are equal"):
        posterior(features[:2], [0, 1], 1, weights)


@settings(max_examples=30)
@given(seed=st.integers(0, 999), k=st.integers(1, 30), weights=st.sampled_from(["distance", "softmax", "uniform"]))
def test_rows_sum_to_one_and_follow_their_rows(seed, k, weights):
    features, labels, _ = clusters(20, seed=seed)
    found = posterior(features, labels, k, weights, num_classes=5)
    assert found.shape == (20, 5)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    order = np.random.default_rng(seed).permutation(20)
    np.testing.assert_allclose(
        posterior(features[order], labels[order], k, weights, num_classes=5), found[order], atol=1e-5
    )


def test_one_neighbour_and_more_than_there_are():
    features, labels, _ = clusters(12)
    assert set(np.unique(posterior(features, labels, 1))) == {0.0, 1.0}
    everyone = posterior(features, labels, 100, "uniform")
    others = np.bincount(labels, minlength=3) - np.eye(3)[labels]
    np.testing.assert_allclose(everyone, others / 11, atol=1e-6)


def test_cosine_does_not_see_lengths():
    features, labels, _ = clusters()
    scaled = features * np.linspace(0.5, 50, len(features))[:, None]
    np.testing.assert_allclose(posterior(scaled, labels), posterior(features, labels), atol=1e-4)


def test_purify_reads_the_column_that_is_named():
    features, labels, clean = clusters()
    dataset = datasets.Dataset.from_dict({"vectors": features, "label": labels})
    purified = purify(dataset, "knn", features="vectors", k=5)
    assert (np.array(purified["label"]) == clean).mean() > (labels == clean).mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be at least 1 neighbour, got 0"),
        ({"weights": "gauss"}, "weights must be one of distance, softmax, uniform, got 'gauss'"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"metric": "manhattan"}, "metric must be 'cosine' or 'euclidean', got 'manhattan'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plain_knn(*clusters()[:2], **arguments)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [[1.0, 2.0], [float("nan"), 1.0], [float("inf"), 0.0]],
            "but 2 rows have NaN or infinity, first row 1",
        ),
        (
            [[1.0, 2.0], [1.0], [0.0, 1.0]],
            "column 'features' must hold numeric vectors of the same length",
        ),
        ([[1.0, 2.0], None, [0.0, 1.0]], "column 'features' must hold numeric vectors of the same length|NaN"),
        ([1.0, 2.0, 3.0], "column 'features' must hold numeric vectors of the same length"),
        (["a", "b", "c"], "column 'features' must hold numeric vectors of the same length"),
    ],
)
def test_features_that_are_none_are_refused(features, message):
    dataset = datasets.Dataset.from_dict({"features": features, "label": [0, 1, 0]})
    with pytest.raises(ValueError, match=message):
        purify(dataset, "knn")


def test_too_few_rows_or_classes_are_refused():
    with pytest.raises(ValueError, match="dataset must have at least 2 rows for neighbours to vote, got 1"):
        posterior([[1.0]], [0])
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 2"):
        posterior([[1.0], [2.0]], [0, 2], num_classes=2)
    with pytest.raises(ValueError, match="labels must be one integer per row, got float64"):
        plain_knn(np.array([[1.0], [2.0]]), np.array([0.0, 1.0]))
