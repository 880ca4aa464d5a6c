import hashlib
import json
import os
import zipfile

import datasets
import numpy as np
import pytest
import torch

from hf_noisy.data import noise_record
from hf_noisy.data.builders.cifar10 import CLASSES, HUMAN_LABELS, Cifar10Builder
from tests.unit.data.builders import cifar_release as release

TRUE = np.arange(release.ROWS["train"]) % 10
GIVEN = {key: np.where(count > TRUE, (TRUE + 1) % 10, TRUE) for count, key in enumerate(HUMAN_LABELS.values(), 1)}


@pytest.fixture
def folder(tmp_path):
    """The official batches with the labels of CIFAR-N, 100 rows to train on and 20 to test."""
    release.write_cifar10(tmp_path / "cifar10")
    torch.save({"clean_label": TRUE, **GIVEN}, tmp_path / "cifar10" / "CIFAR-10_human.pt")
    return tmp_path


@pytest.fixture
def build(tmp_path):
    def built(config: str | None = None, **arguments) -> datasets.DatasetDict:
        return Cifar10Builder(config, cache_dir=str(tmp_path / "cache"), **arguments).build()

    return built


def test_images_of_the_batches_are_kept_to_the_last_bit(folder, build):
    loaded = build(data_dir=folder)
    for split, rows in release.ROWS.items():
        assert loaded[split].column_names == ["image", "label", "clean_label"]
        assert loaded[split].features["label"].names == CLASSES
        assert (np.stack([np.asarray(image) for image in loaded[split]["image"]]) == release.pixels(split)).all()
        assert loaded[split]["label"][:] == loaded[split]["clean_label"][:] == [row % 10 for row in range(rows)]
        assert noise_record(loaded[split]) is None


@pytest.mark.parametrize("name", HUMAN_LABELS)
def test_human_labels_are_given_to_the_training_rows(folder, build, name):
    loaded = build(name, data_dir=folder / "cifar10")
    train, given = loaded["train"], GIVEN[HUMAN_LABELS[name]]
    assert train["label"][:] == given.tolist()
    assert train["clean_label"][:] == TRUE.tolist()
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == (f"annotators/{name}", np.mean(given != TRUE))
    assert loaded["test"]["label"][:] == loaded["test"]["clean_label"][:]
    assert noise_record(loaded["test"]) is None


def test_changed_files_are_built_anew(folder, build):
    assert build("worse", data_dir=folder)["train"]["label"][:] == GIVEN["worse_label"].tolist()
    path = folder / "cifar10" / "CIFAR-10_human.pt"
    torch.save({"clean_label": TRUE, "worse_label": TRUE[::-1].copy()}, path)
    os.utime(path, ns=(1, 1))
    assert build("worse", data_dir=folder)["train"]["label"][:] == TRUE[::-1].tolist()


def test_what_is_missing_or_wrong_is_told_in_one_sentence(folder, build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    inside = folder / "cifar10"
    torch.save({"clean_label": np.roll(TRUE, 1), **GIVEN}, inside / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match=r"CIFAR-10_human.pt' must be in the order of the images"):
        build("worse", data_dir=folder)
    (inside / "CIFAR-10_human.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"file '.*CIFAR-10_human.pt' or '.*' of dataset 'cifar10' is missing"):
        build("worse", data_dir=folder)
    (inside / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(FileNotFoundError, match=r"file '.*data_batch_4' is missing"):
        build(data_dir=folder)
    with pytest.raises(ValueError, match="BuilderConfig 'worst' not found"):
        build("worst", data_dir=folder)
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*empty/cifar10' with .* is missing: .*; download 'CIFAR-10 pyt"
    ):
        build(data_dir=tmp_path / "empty")
    with pytest.raises(
        FileNotFoundError, match=r"none is set: .*; download 'CIFAR-10 python version' from .*CIFAR-10_human"
    ):
        build("worse")


def test_without_a_folder_images_come_from_the_hub(build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub_cache")
    (tmp_path / "hub").mkdir()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    for split, rows in release.ROWS.items():
        columns = {"img": list(release.pixels(split)), "label": [row % 10 for row in range(rows)]}
        stored = datasets.Dataset.from_dict(columns, features=features)
        stored.to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr(Cifar10Builder, "HUB_ID", str(tmp_path / "hub"))
    loaded = build()
    for split in release.ROWS:
        assert (np.stack([np.asarray(image) for image in loaded[split]["image"]]) == release.pixels(split)).all()
    assert loaded["train"]["label"][:] == TRUE.tolist()
    monkeypatch.setattr(Cifar10Builder, "HUB_ID", "nobody/there")
    with pytest.raises(FileNotFoundError, match="the Hub's 'nobody/there' cannot be loaded either"):
        build()


@pytest.fixture(scope="session")
def real(data_dir, tmp_path_factory):
    """The real files, built once a session for each configuration that is asked for."""
    cache = str(tmp_path_factory.mktemp("cifar10"))
    return lambda config: Cifar10Builder(config, data_dir=data_dir, cache_dir=cache).build()


def stated_confusion(data_dir, name: str) -> np.ndarray:
    """The confusion matrix that the description of the real files prints."""
    text = (data_dir / "README.md").read_text().split(f"Confusion, CIFAR-10N {name}_label")[1].split("```")[1]
    return np.array([line.split()[1:] for line in text.strip().splitlines()], dtype=int)


@pytest.mark.parametrize("name", ["worse", pytest.param("aggre", marks=pytest.mark.slow)])
def test_real_labels_have_the_stated_confusion(real, data_dir, name):
    loaded = real(name)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 50000, "test": 10000}
    given, clean = (np.array(loaded["train"][column][:]) for column in ("label", "clean_label"))
    assert (np.bincount(clean) == 5000).all()
    assert (np.bincount(loaded["test"]["clean_label"][:]) == 1000).all()
    assert (np.bincount(clean * 10 + given).reshape(10, 10) == stated_confusion(data_dir, name)).all()
    np.testing.assert_allclose(
        noise_record(loaded["train"])["transition_matrix"], stated_confusion(data_dir, name) / 5000
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "percent"),
    [("aggre", 9.01), ("random1", 17.23), ("random2", 18.12), ("random3", 17.64), ("worse", 40.21)],
)
def test_real_labels_have_the_stated_rates(real, name, percent):
    assert round(100 * noise_record(real(name)["train"])["rate_measured"], 2) == percent


def test_real_images_are_the_stored_files_in_their_order(real, data_dir):
    for split, rows in real("worse").items():
        digest = hashlib.sha256()
        for image in rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False)):
            digest.update(image["image"]["bytes"])
        with np.load(data_dir / "cifar10" / f"{split}_jpeg.npz") as arrays:
            assert digest.digest() == hashlib.sha256(arrays["data"].tobytes()).digest()
            assert rows["clean_label"][:] == arrays["label"].tolist()
    assert json.loads((data_dir / "cifar10" / "labels.json").read_text())["classes"] == CLASSES


def test_a_file_of_images_with_pickled_objects_is_refused(tmp_path, build):
    (tmp_path / "cifar10").mkdir()
    arrays = {"data": np.array([{}], dtype=object), "offsets": np.arange(2), "label": np.zeros(1)}
    np.savez(tmp_path / "cifar10" / "train_jpeg.npz", **arrays)
    assert zipfile.is_zipfile(tmp_path / "cifar10" / "train_jpeg.npz")
    with pytest.raises(ValueError, match=r"must hold arrays under data, offsets, label, got .*download it again"):
        build(data_dir=tmp_path)
