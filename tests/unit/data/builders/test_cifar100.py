import datasets
import numpy as np
import pytest
import torch

from hf_noisy.data import noise_record
from hf_noisy.data.builders.cifar100 import CLASS_MAP, CLASSES, SUPERCLASSES, Cifar100Builder
from hf_noisy.data.noise.class_map import CIFAR100_SUPERCLASSES
from tests.unit.data.builders import cifar_release as release

FINE = np.arange(release.ROWS["train"]) % 100
COARSE = np.array(CIFAR100_SUPERCLASSES)[FINE]
NOISY = np.where(FINE < 40, (FINE + 1) % 100, FINE)
HUMAN = {
    "clean_label": FINE,
    "noisy_label": NOISY,
    "clean_coarse_label": COARSE,
    "noisy_coarse_label": np.array(CIFAR100_SUPERCLASSES)[NOISY],
}


@pytest.fixture
def folder(tmp_path):
    release.write_cifar100(tmp_path / "cifar100", CIFAR100_SUPERCLASSES)
    torch.save(HUMAN, tmp_path / "cifar100" / "CIFAR-100_human.pt")
    return tmp_path


@pytest.fixture
def build(tmp_path):
    def built(config: str | None = None, **arguments) -> datasets.DatasetDict:
        return Cifar100Builder(config, cache_dir=str(tmp_path / "cache"), **arguments).build()

    return built


def test_names_of_classes_and_superclasses_are_in_the_official_order():
    assert len(CLASSES) == len(set(CLASSES)) == 100
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)
    for label, name in enumerate(CLASSES):
        assert name in list(SUPERCLASSES.values())[CIFAR100_SUPERCLASSES[label]]
        assert CLASSES[CLASS_MAP[label]] in list(SUPERCLASSES.values())[CIFAR100_SUPERCLASSES[label]]


@pytest.mark.parametrize("config", ["clean", "noisy", "clean_coarse", "noisy_coarse"])
def test_each_configuration_gives_its_labels(folder, build, config):
    loaded = build(config, data_dir=folder)
    suffix = "_coarse_label" if "coarse" in config else "_label"
    train, clean = loaded["train"], HUMAN[f"clean{suffix}"]
    given = clean if config.startswith("clean") else HUMAN[f"noisy{suffix}"]
    assert train["label"][:] == given.tolist()
    assert train["clean_label"][:] == clean.tolist()
    assert train.features["label"].names == (list(SUPERCLASSES) if "coarse" in config else CLASSES)
    assert (np.stack([np.asarray(image) for image in train["image"]]) == release.pixels("train")).all()
    record = noise_record(train)
    assert (record["rate_measured"] if record else 0) == np.mean(given != clean)
    assert loaded["test"]["label"][:] == loaded["test"]["clean_label"][:] == clean[: release.ROWS["test"]].tolist()


def test_what_is_missing_or_wrong_is_told_in_one_sentence(folder, build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    path = folder / "cifar100" / "CIFAR-100_human.pt"
    torch.save({**HUMAN, "clean_label": FINE[::-1].copy()}, path)
    with pytest.raises(ValueError, match=r"CIFAR-100_human.pt' must be in the order of the images"):
        build("noisy", data_dir=folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"file '.*CIFAR-100_human.pt' is missing"):
        build("noisy", data_dir=folder)
    with pytest.raises(ValueError, match="BuilderConfig 'noisy100' not found"):
        build("noisy100", data_dir=folder)
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*cifar100' with .* is missing: .*; download 'CIFAR-100 python"
    ):
        build(data_dir=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"none is set: .*; download 'CIFAR-100 python version' from"):
        build("noisy")


@pytest.mark.parametrize(("config", "column"), [("clean", "fine_label"), ("clean_coarse", "coarse_label")])
def test_without_a_folder_images_come_from_the_hub(build, tmp_path, monkeypatch, config, column):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub_cache")
    (tmp_path / "hub").mkdir()
    kinds = {name: datasets.Value("int64") for name in ("fine_label", "coarse_label")}
    features = datasets.Features({"img": datasets.Image(), **kinds})
    labels = {"fine_label": FINE.tolist(), "coarse_label": COARSE.tolist()}
    for split, rows in release.ROWS.items():
        columns = {"img": list(release.pixels(split)), **{name: values[:rows] for name, values in labels.items()}}
        stored = datasets.Dataset.from_dict(columns, features=features)
        stored.to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr(Cifar100Builder, "HUB_ID", str(tmp_path / "hub"))
    loaded = build(config)
    assert loaded["train"]["label"][:] == labels[column]
    assert (np.stack([np.asarray(image) for image in loaded["test"]["image"]]) == release.pixels("test")).all()
