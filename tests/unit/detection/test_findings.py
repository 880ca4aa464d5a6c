import numpy as np
import pytest
from jaxtyping import TypeCheckError

from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.duplicates import find_duplicates
from hf_noisy.detection.outliers import find_outliers
from hf_noisy.detection.probe import out_of_fold_probabilities


def rows(count: int = 200, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).normal(loc=1, size=(count, width)).astype(np.float32)


def test_copies_are_found_up_to_rounding_whatever_their_order():
    features = rows()
    features[[50, 120]] = features[3]
    features[60] = features[7] * np.float32(1 + 1e-6)
    features[[90, 91]] = 0
    expected = np.arange(200)
    expected[[50, 120]], expected[60], expected[91] = 3, 7, 90
    np.testing.assert_array_equal(copy_groups(features), expected)
    np.testing.assert_array_equal(copy_groups(features.astype(np.float64)), expected)
    order = np.random.default_rng(1).permutation(200)
    moved = copy_groups(features[order])
    same = expected[order][:, None] == expected[order]
    np.testing.assert_array_equal(moved[:, None] == moved, same)
    assert copy_groups(features[:1]).tolist() == [0]
    assert copy_groups(np.ones((500, 4))).max() == 0


def test_many_rows_are_searched_in_sorted_order():
    features = np.repeat(np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32), 2, axis=0)
    np.testing.assert_array_equal(copy_groups(features), np.arange(40_000) // 2 * 2)


def test_duplicates_are_told_apart_by_their_labels_and_by_their_distance():
    features, labels = rows(), np.arange(200) % 4
    features[4], features[9], features[30], features[31] = features[0], features[1], features[2], features[2]
    features[40] = features[5] + 0.05 * features[6]
    labels[[2, 30, 31]] = 2
    found = find_duplicates(labels, features)
    kinds = [(group.rows.tolist(), group.exact, group.labels_differ) for group in found]
    assert labels[1] == labels[9]
    assert kinds == [
        ([0, 4], True, bool(labels[0] != labels[4])),
        ([1, 9], True, False),
        ([2, 30, 31], True, False),
        ([5, 40], False, True),
    ]
    assert found[0].similarity.tolist() == [1, 1]
    cosine = features[5] @ features[40] / np.linalg.norm(features[5]) / np.linalg.norm(features[40])
    np.testing.assert_allclose(found[3].similarity, cosine, rtol=1e-5)
    labels[4] = labels[0] + 1
    assert find_duplicates(labels, features)[0].labels_differ
    labels[31] = 0
    assert [group.rows.tolist() for group in find_duplicates(labels, features)[:2]] == [[0, 4], [2, 30, 31]]


def test_near_duplicates_include_the_copies_of_their_rows():
    features = rows()
    features[40] = features[5] + 0.05 * features[6]
    features[41] = features[5]
    exact, near = find_duplicates(np.zeros(200, dtype=np.int64), features)
    assert exact.rows.tolist() == [5, 41]
    assert near.rows.tolist() == [5, 40, 41]
    assert near.similarity[0] == near.similarity[2] == 1
    assert near.similarity[1] < 1


def test_outliers_are_far_from_all_others_and_copies_are_no_company():
    features = rows()
    features[[11, 12]] = -features[11]
    found = find_outliers(features)
    assert {11, 12} <= set(np.flatnonzero(found.is_outlier))
    assert found.is_outlier.sum() < 8
    assert found.distance[11] == found.distance[12] == found.distance.max()
    np.testing.assert_array_equal(find_outliers(features, index="faiss").is_outlier, found.is_outlier)


def test_tiny_data_has_no_findings():
    assert find_duplicates(np.array([0, 1]), np.eye(2)) == []
    assert not find_outliers(np.eye(2)).is_outlier.any()
    same = np.ones((3, 2))
    assert [group.rows.tolist() for group in find_duplicates(np.array([0, 1, 0]), same)] == [[0, 1, 2]]
    assert not find_outliers(same).is_outlier.any()


def test_what_does_not_fit_is_refused():
    with pytest.raises((ValueError, TypeCheckError), match="features"):
        find_duplicates(np.array([0, 1, 0]), np.eye(2))
    with pytest.raises(ValueError, match="features must be finite"):
        find_outliers(np.array([[np.nan, 1.0]]))
    with pytest.raises((ValueError, TypeCheckError), match="index"):
        find_outliers(rows(), index="tree")


def test_a_copy_with_a_wrong_label_does_not_confirm_itself():
    # Rows far apart in many dimensions: a classifier that has seen the copy of a row repeats the copy's label.
    draw = np.random.default_rng(0)
    true = np.repeat(draw.integers(0, 2, 150), 2)
    features = np.repeat(draw.normal(size=(150, 300)), 2, axis=0) + 0.3 * np.eye(2)[true] @ np.ones((2, 300))
    features[:, :150] += 0.6 * true[:, None]
    wrong = np.repeat(draw.random(150) < 0.2, 2)
    given = np.where(wrong, 1 - true, true)
    probabilities = out_of_fold_probabilities(features, given)
    assert (probabilities.argmax(1) == true)[wrong].mean() > 0.8
    np.testing.assert_allclose(probabilities[::2], probabilities[1::2])


def test_folds_without_copies_are_those_of_scikit_learn():
    from sklearn.model_selection import StratifiedKFold

    from hf_noisy.detection.copies import copy_groups
    from hf_noisy.detection.probe import folds_of

    labels = np.random.default_rng(0).integers(0, 3, 200)
    fold = folds_of(copy_groups(rows()), labels, 5, seed=4)
    for number, (_, held_out) in enumerate(StratifiedKFold(5, shuffle=True, random_state=4).split(rows(), labels)):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), held_out)


def test_a_class_of_nothing_but_copies_is_not_held_out_completely():
    features, labels = rows(), np.arange(200) % 2
    labels[[7, 150]] = 2
    features[150] = features[7]
    probabilities = out_of_fold_probabilities(features, labels)
    assert probabilities[[7, 150], 2].min() > 0
