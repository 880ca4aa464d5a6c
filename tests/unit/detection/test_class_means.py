import numpy as np

from hf_noisy.detection.class_means import _distances, class_mean_probabilities, held_out_probabilities
from hf_noisy.detection.probe import out_of_fold_probabilities


def rows(count=300, classes=3, width=10):
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, count)
    return (3 * np.eye(classes, width)[true] + draw.normal(size=(count, width))).astype(np.float32), true


def test_means_leave_out_the_row_and_its_copies():
    features, labels = rows(30)
    features[[12, 20]] = features[5]
    labels[20] = (labels[5] + 1) % 3
    centred = features - features.mean(0, dtype=np.float64)
    vectors = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = np.empty((30, 3))
    for row in range(30):
        others = (features != features[row]).any(1)
        for label in range(3):
            mean = vectors[others & (labels == label)].mean(0)
            expected[row, label] = ((vectors[row] - mean) ** 2).sum()
    np.testing.assert_allclose(_distances(features, labels), expected, atol=1e-6)


def test_a_class_of_one_row_has_its_mean_at_the_centre():
    features, labels = rows(40)
    labels[labels == 2] = 0
    labels[7] = 2
    np.testing.assert_allclose(_distances(features, labels)[7, 2], 1, atol=1e-6)
    constant = class_mean_probabilities(np.ones((4, 2)), np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(constant, 0.5)


def test_the_sharpness_fits_the_given_labels():
    features, true = rows()
    sure = class_mean_probabilities(features, true)
    np.testing.assert_allclose(sure.sum(1), 1)
    assert (sure.argmax(1) == true).mean() > 0.95
    noisy = np.where(np.random.default_rng(1).random(300) < 0.4, (true + 1) % 3, true)
    unsure = class_mean_probabilities(features, noisy)
    assert unsure.max(1).mean() < sure.max(1).mean() - 0.1
    assert (unsure.argmax(1) == true).mean() > (noisy == true).mean() + 0.2


def test_held_out_probabilities_are_the_mean_of_both():
    features, true = rows(60)
    mean = (out_of_fold_probabilities(features, true, seed=1) + class_mean_probabilities(features, true)) / 2
    np.testing.assert_array_equal(held_out_probabilities(features, true, seed=1), mean)
