import io
import json

import numpy as np
import pytest
from PIL import Image

from hf_noisy.data import load_noisy_dataset, noise_record
from hf_noisy.data.builders.cifar10 import CLASS_MAP, HUMAN_LABELS, MEAN, STD, Cifar10Builder
from hf_noisy.data.images import ImageViews, eval_transform

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


pytestmark = pytest.mark.usefixtures("own_cache")


def jpeg(seed) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A folder of the same form with 40 training rows and 10 to test."""
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "labels.json").write_text(json.dumps({"classes": CLASSES}))
    for split, count in {"train": 40, "test": 10}.items():
        files = [jpeg(seed) for seed in range(count)]
        offsets = np.cumsum([0, *map(len, files)])
        data = np.frombuffer(b"".join(files), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        np.savez(tmp_path / "cifar10" / f"{split}_jpeg.npz", data=data, offsets=offsets, label=labels)
    true = np.arange(40) % 10
    human = {
        name: np.where(np.arange(40) < 8, (true + 1) % 10, true).astype(np.uint8) for name in HUMAN_LABELS.values()
    }
    np.savez(tmp_path / "cifar10" / "cifar10n_train_labels.npz", clean_label=true, **human)
    return tmp_path


def test_images_are_the_files_as_they_are(folder):
    loaded = load_noisy_dataset("cifar10", data_dir=folder)
    assert {key: len(split) for key, split in loaded.items()} == {"train": 40, "test": 10}
    train = loaded["train"]
    assert train.column_names == ["image", "label", "clean_label"]
    assert train.features["label"].names == CLASSES
    assert [row["bytes"] for row in train.with_format("arrow")[:]["image"].to_pylist()] == [jpeg(s) for s in range(40)]
    assert (np.asarray(train[3]["image"]) == np.asarray(Image.open(io.BytesIO(jpeg(3))))).all()
    assert train["label"][:] == train["clean_label"][:] == [row % 10 for row in range(40)]
    assert noise_record(train) is None


@pytest.mark.parametrize("name", HUMAN_LABELS)
def test_human_labels_are_given_and_recorded(folder, name):
    loaded = load_noisy_dataset("cifar10", noise_type=name, data_dir=folder)
    train = loaded["train"]
    assert train.column_names == ["image", "label", "clean_label"]
    assert train.features["label"] == train.features["clean_label"]
    assert train["clean_label"][:] == [row % 10 for row in range(40)]
    assert train["label"][:8] == [row + 1 for row in range(8)]
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == (f"annotators/{name}", 0.2)
    assert loaded["test"]["label"][:] == loaded["test"]["clean_label"][:]
    assert noise_record(loaded["test"]) is None


def test_asymmetric_noise_confuses_look_alikes(folder):
    noisy = load_noisy_dataset("cifar10", noise_type="asymmetric", noise_rate=0.5, data_dir=folder)["train"]
    true, given = np.array(noisy["clean_label"][:]), np.array(noisy["label"][:])
    confused = {(CLASSES[a], CLASSES[b]) for a, b in zip(true[true != given], given[true != given], strict=True)}
    assert confused == {
        ("truck", "automobile"),
        ("bird", "airplane"),
        ("deer", "horse"),
        ("cat", "dog"),
        ("dog", "cat"),
    }
    assert (
        np.bincount(true[true != given], minlength=10) == [2 if label in CLASS_MAP else 0 for label in range(10)]
    ).all()
    record = noise_record(noisy)
    assert (record["kind"], record["rate_asked"], record["rate_measured"]) == ("asymmetric", 0.5, 0.25)
    assert record["mapping"] == {str(label): target for label, target in CLASS_MAP.items()}


@pytest.mark.parametrize("noise_type", ["symmetric", "instance"])
def test_other_noise_is_that_of_every_dataset(folder, noise_type):
    noisy = load_noisy_dataset("cifar10", noise_type=noise_type, noise_rate=0.4, data_dir=folder)
    assert noise_record(noisy["train"])["rate_measured"] == 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"noise_type": "worse", "noise_rate": 0.4},
            "noise_rate must be None with the labels of noise_type='worse', got 0.4",
        ),
        (
            {"noise_type": "worst"},
            "instance, entity, missing, aggre, random1, random2, random3, worse, got",
        ),
        ({"noise_type": "asymmetric"}, "noise_rate must be given with noise_type='asymmetric'"),
        (
            {"noise_rate": 0.4},
            "needs noise_type, one of symmetric, .*, entity, missing, aggre",
        ),
    ],
)
def test_unclear_arguments_are_refused(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_noisy_dataset("cifar10", data_dir=folder, **arguments)


def test_a_missing_file_is_named(folder, monkeypatch):
    (folder / "cifar10" / "cifar10n_train_labels.npz").unlink()
    Cifar10Builder("clean", data_dir=folder).build()
    with pytest.raises(FileNotFoundError, match=r"file '.*cifar10n_train_labels.npz' of dataset 'cifar10' is missing"):
        Cifar10Builder("worse", data_dir=folder).build()
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"none is set: HF_NOISY_DATA_DIR \(or data_dir=\) must point"):
        load_noisy_dataset("cifar10")


def test_the_stated_mean_and_deviation_are_those_of_the_images(data_dir):
    rows = Cifar10Builder("clean", data_dir=data_dir).build()["train"].select(range(1000))
    views = ImageViews(rows, eval_transform(32, MEAN, STD))
    pixels = np.stack([row["pixel_values"].numpy() for row in views.__getitems__(range(1000))])
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), 0, atol=0.05)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), 1, atol=0.05)
