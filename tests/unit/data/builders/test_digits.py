import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from hf_noisy.data import load_noisy_dataset, noise_record
from hf_noisy.data.builders import digits


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return digits.DigitsBuilder(cache_dir=str(tmp_path_factory.mktemp("digits"))).build()


@pytest.fixture
def named(splits, monkeypatch):
    """The dataset by its name, without a builder of its own for each test."""

    monkeypatch.setattr(digits.DigitsBuilder, "build", lambda self: splits)


def pixels(split) -> np.ndarray:
    return np.stack([np.asarray(image) for image in split["image"]])


def test_rows_classes_and_splits(splits):
    assert {key: len(split) for key, split in splits.items()} == {"train": 1347, "test": 450}
    for split in splits.values():
        assert split.column_names == ["image", "label", "clean_label"]
        assert split.features["label"].names == [str(digit) for digit in range(10)]
        assert split["label"][:] == split["clean_label"][:]
    _, labels = load_digits(return_X_y=True)
    test = np.bincount(splits["test"]["label"][:])
    assert (test == np.round(0.25 * np.bincount(labels))).all()


def test_images_are_the_scans(splits):
    scans, labels = load_digits(return_X_y=True)
    image = splits["train"][0]["image"]
    assert (image.mode, image.size) == ("L", (8, 8))
    found = np.concatenate([pixels(split).reshape(-1, 64) / 255 * 16 for split in splits.values()])
    # Every scan is there once, in whichever split, with its label.
    order, expected = np.lexsort(found.round().T), np.lexsort(scans.T)
    np.testing.assert_allclose(found[order], scans[expected], atol=0.05)
    given = np.concatenate([split["label"][:] for split in splits.values()])
    assert (given[order] == labels[expected]).all()


def test_the_stated_mean_and_deviation_are_those_of_the_training_images(splits):
    train = pixels(splits["train"]) / 255
    assert pytest.approx([train.mean()] * 3, abs=1e-3) == digits.MEAN
    assert pytest.approx([train.std()] * 3, abs=1e-3) == digits.STD


def test_the_split_is_the_same_when_built_again(splits):
    _, labels = load_digits(return_X_y=True)
    assert (labels[digits._is_test(labels)] == splits["test"]["label"][:]).all()


def test_the_test_split_can_be_classified(splits):
    train, test = (pixels(splits[key]).reshape(-1, 64).astype(float) for key in ("train", "test"))
    score = KNeighborsClassifier(3).fit(train, splits["train"]["label"][:]).score(test, splits["test"]["label"][:])
    assert score > 0.96


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("noise_type", ["symmetric", "pair", "asymmetric", "instance"])
def test_noise_goes_into_the_training_rows(noise_type):
    noisy = load_noisy_dataset("digits", noise_type=noise_type, noise_rate=0.4, noise_seed=1)
    record = noise_record(noisy["train"])
    assert record["rate_measured"] == round(0.4 * 1347) / 1347
    wrong = np.array(noisy["train"]["label"][:]) != np.array(noisy["train"]["clean_label"][:])
    assert wrong.mean() == pytest.approx(0.4, abs=1e-3)
    assert noisy["test"]["label"][:] == noisy["test"]["clean_label"][:]
    assert noise_record(noisy["test"]) is None


@pytest.mark.usefixtures("named")
def test_without_noise_labels_are_true():
    clean = load_noisy_dataset("digits")
    assert clean["train"]["label"][:] == clean["train"]["clean_label"][:]
    with pytest.raises(ValueError, match="dataset 'digits' has fixed columns and takes no text_column"):
        load_noisy_dataset("digits", text_column="image")
    with pytest.raises(
        ValueError,
        match="None or one of symmetric, pair, asymmetric, instance, entity, missing, got",
    ):
        load_noisy_dataset("digits", noise_type="worse")
