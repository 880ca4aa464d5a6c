import datasets
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from hf_noisy.data import noise_record
from hf_noisy.data.builders.tiny_imagenet import TinyImageNetBuilder

NAMES = ["n02124075", "n04067472", "n01443537"]  # in the order of wnids.txt
PER_CLASS = 12
VALIDATION = ["n04067472", "n01443537", "n02124075", "n01443537"]


@pytest.fixture
def folder(tmp_path):
    """The release in small: three classes of 12 images to train on and 4 to validate."""
    folder = tmp_path / "tiny_imagenet" / "tiny-imagenet-200"
    for shade, name in enumerate(NAMES):
        (folder / "train" / name / "images").mkdir(parents=True)
        boxes = [f"{name}_{row}.JPEG\t0\t10\t63\t58\n" for row in range(PER_CLASS)]
        (folder / "train" / name / f"{name}_boxes.txt").write_text("".join(boxes))
        for row in range(PER_CLASS):
            # Some images of the release are grey.
            image = Image.new("L" if row == 0 else "RGB", (64, 64), 80 * shade if row == 0 else (80 * shade, row, 0))
            image.save(folder / "train" / name / "images" / f"{name}_{row}.JPEG")
    (folder / "val" / "images").mkdir(parents=True)
    for row in range(len(VALIDATION)):
        Image.new("RGB", (64, 64), (row, 0, 0)).save(folder / "val" / "images" / f"val_{row}.JPEG")
    lines = [f"val_{row}.JPEG\t{name}\t0\t32\t44\t62\n" for row, name in enumerate(VALIDATION)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (folder / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat\n")
    return folder


@pytest.fixture
def build(tmp_path):
    def built(**arguments) -> datasets.DatasetDict:
        return TinyImageNetBuilder(cache_dir=str(tmp_path / "cache"), **arguments).build()

    return built


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_rows_come_by_class_and_number(folder, build, depth):
    loaded = build(data_dir=[folder, *folder.parents][depth])
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 36, "validation": 4}
    train = loaded["train"]
    assert train.column_names == ["image", "label", "clean_label"]
    assert train.features["label"].names == sorted(NAMES)
    assert train["label"][:] == train["clean_label"][:] == [row // PER_CLASS for row in range(36)]
    stored = train.cast_column("image", datasets.Image(decode=False))["image"]
    expected = [f"train/{name}/images/{name}_{row}.JPEG" for name in sorted(NAMES) for row in range(PER_CLASS)]
    assert [row["path"] for row in stored] == [str(folder / path) for path in expected]
    assert (train[0]["image"].mode, train[1]["image"].mode) == ("L", "RGB")
    assert loaded["validation"]["label"][:] == [sorted(NAMES).index(name) for name in VALIDATION]
    assert [np.asarray(image)[0, 0, 0] for image in loaded["validation"]["image"]] == pytest.approx(range(4), abs=2)
    assert noise_record(train) is None


def test_broken_images_are_found_when_looked_at(folder, build):
    (folder / "train" / NAMES[2] / "images" / f"{NAMES[2]}_3.JPEG").write_bytes(b"no image")
    train = build(data_dir=folder)["train"]
    with pytest.raises(UnidentifiedImageError):
        train[3]
    assert train[4]["image"].size == (64, 64)


def test_an_added_image_is_not_missed(folder, build):
    assert len(build(data_dir=folder)["train"]) == 36
    images = folder / "train" / NAMES[0] / "images"
    (images / f"{NAMES[0]}_499.JPEG").write_bytes((images / f"{NAMES[0]}_1.JPEG").read_bytes())
    assert len(build(data_dir=folder)["train"]) == 37


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_without_a_folder_images_come_from_the_hub(build, tmp_path, monkeypatch, name):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    names = [f"n{label:08d}" for label in range(200)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    pixels = np.arange(5 * 64 * 64 * 3, dtype=np.uint32).reshape(5, 64, 64, 3).astype(np.uint8)
    stored = datasets.Dataset.from_dict({"image": list(pixels), "label": [7, 0, 199, 7, 3]}, features=features)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda path: datasets.DatasetDict({"train": stored, name: stored.select([4])})
    )
    for _ in range(2):  # the second time out of the cache
        loaded = build()
        assert loaded["train"]["label"][:] == loaded["train"]["clean_label"][:] == [7, 0, 199, 7, 3]
        assert loaded["train"].features["label"].names == loaded["validation"].features["clean_label"].names == names
        assert (np.stack([np.asarray(image) for image in loaded["train"]["image"]]) == pixels).all()
        assert loaded["validation"]["label"][:] == [3]


def test_what_is_missing_or_wrong_is_told_in_one_sentence(folder, build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="BuilderConfig 'noisy' not found"):
        build(config_name="noisy", data_dir=folder)
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_9.JPEG\tn99999999\t0\t0\t1\t1\n")
    with pytest.raises(
        ValueError, match=r"val_annotations.txt' must hold an image and an id of wnids.txt a line, got"
    ):
        build(data_dir=folder)
    with (folder / "wnids.txt").open("a") as file:
        file.write("n99999999\n")
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*n99999999/images' of dataset 'tiny_imagenet' holds no images"
    ):
        build(data_dir=folder)
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*tiny_imagenet' with .* is missing: .*; download http://cs231n"
    ):
        build(data_dir=tmp_path / "empty")
    monkeypatch.setattr(TinyImageNetBuilder, "HUB_ID", "nobody/there")
    with pytest.raises(FileNotFoundError, match=r"; download http://cs231n.*'nobody/there' cannot be loaded"):
        build()
