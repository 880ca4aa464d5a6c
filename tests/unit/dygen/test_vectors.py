import numpy as np
import pytest

from hf_noisy.dygen.vectors import TrajectoryVectors
from tests.unit.dygen.synthetic import make, make_store, symmetric


@pytest.fixture
def trajectories(tmp_path):
    return make(tmp_path / "first", symmetric(0.2, 3)).trajectories  # 3 epochs of 6 dimensions, features of width 8


def blocks(w):
    return [w[..., :6], w[..., 6:12], w[..., 12:18]], w[..., 18:]


def test_raw_vectors_are_the_plain_concatenation(trajectories):
    vectors = TrajectoryVectors.fit(trajectories, raw=True)
    for split in ("train", "test"):
        w = vectors(trajectories, split)
        for branch in range(2):
            expected = np.concatenate([trajectories.embeddings(split, e, branch) for e in (1, 2, 3)], axis=1)
            np.testing.assert_array_equal(w[branch].numpy(), expected)
    assert w.shape[2] == vectors.dim == 18


def test_each_epoch_is_centred_and_scaled_on_the_training_rows(trajectories):
    vectors = TrajectoryVectors.fit(trajectories)
    w = vectors(trajectories, "train").numpy().astype(np.float64)
    assert w.shape == (2, 300, vectors.dim) == (2, 300, 26)
    for block in blocks(w)[0]:
        np.testing.assert_allclose(block.mean(1), 0, atol=1e-5)
        np.testing.assert_allclose(np.sqrt((block**2).mean((1, 2))), 1, atol=1e-5)
    # One number scales a whole epoch: directions within it stay what they were.
    raw = trajectories.embeddings("train", 2, 1)
    ratio = (raw - raw.mean(0)) / blocks(w)[0][1][1]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-2)


def test_features_weigh_as_much_as_all_epochs(trajectories):
    epochs, features = blocks(TrajectoryVectors.fit(trajectories)(trajectories, "train").double())
    assert (features**2).sum().item() == pytest.approx(sum((e**2).sum().item() for e in epochs), rel=1e-5)
    np.testing.assert_array_equal(features[0], features[1])
    own = trajectories.features("train")
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    centred = own - own.mean(0)
    ratio = features[0].numpy() / np.where(np.abs(centred) > 1e-2, centred, np.nan)
    np.testing.assert_allclose(ratio[~np.isnan(ratio)], np.nanmean(ratio), rtol=1e-3)


def test_other_splits_are_measured_by_the_training_rows(trajectories):
    vectors = TrajectoryVectors.fit(trajectories)
    train, test = (trajectories.embeddings(split, 1, 0).astype(np.float64) for split in ("train", "test"))
    scale = np.sqrt(((train - train.mean(0)) ** 2).mean())
    expected = (test - train.mean(0)) / scale
    np.testing.assert_allclose(vectors(trajectories, "test")[0, :, :6], expected, atol=1e-5)


def test_without_features_there_are_only_epochs(tmp_path):
    trajectories = make(tmp_path, symmetric(0.2, 3), features=False).trajectories
    assert TrajectoryVectors.fit(trajectories)(trajectories, "test").shape == (2, 100, 18)


def test_constant_embeddings_stay_finite(tmp_path):
    trajectories = make_store(tmp_path, {"train": [(np.ones((1, 5, 4)), np.zeros((1, 5, 2)))]})
    trajectories.write_features("train", np.zeros((5, 3), np.float32))
    assert (TrajectoryVectors.fit(trajectories)(trajectories, "train") == 0).all()


def test_only_the_epochs_of_the_fit_are_read(trajectories):
    vectors = TrajectoryVectors.fit(trajectories)
    before = vectors(trajectories, "test")
    for split in ("train", "test"):
        rows = trajectories.num_rows(split)
        trajectories.write(split, 4, np.zeros((2, rows, 6), np.float32), np.zeros((2, rows, 3), np.float32))
    assert (vectors(trajectories, "test") == before).all()


def test_trajectories_of_another_training_are_refused(trajectories, tmp_path):
    vectors = TrajectoryVectors.fit(trajectories)
    other = tmp_path / "other"
    with pytest.raises(ValueError, match="have 1 branches of 6 dimensions, but the fit had 2 of 6"):
        vectors(make(other, symmetric(0.2, 3), branches=1).trajectories, "train")
    with pytest.raises(ValueError, match="epoch 3 of branch 0 was not recorded"):
        vectors(make(other, symmetric(0.2, 3), epochs=2).trajectories, "train")
    with pytest.raises(ValueError, match="have no features of split 'train'"):
        vectors(make(other, symmetric(0.2, 3), features=False).trajectories, "train")
    narrow = make(other, symmetric(0.2, 3)).trajectories
    narrow.write_features("train", np.ones((300, 5), np.float32))
    with pytest.raises(ValueError, match="features of width 5, but the fit had 8"):
        vectors(narrow, "train")
    with pytest.raises(ValueError, match="split 'dev' was not recorded"):
        vectors(trajectories, "dev")
