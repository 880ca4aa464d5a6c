import datasets
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from hf_noisy.data import noise_record
from hf_noisy.data.builders.webvision import WebVisionBuilder

SYNSETS = [f"n{label:08d} kind {label}, sort {label}" for label in range(1000)]
TRAIN = [(f"google/q{label:04d}/{label}_{row}.jpg", label) for label in (0, 1, 49, 50, 999) for row in range(3)]
VALIDATION = [(f"val{row:06d}.jpg", label) for row, label in enumerate((999, 49, 0, 50), 1)]


@pytest.fixture
def folder(tmp_path):
    """The release in small: 15 images that Google found and 4 labelled by hand."""
    folder = tmp_path / "webvision"
    files = [path for path, _ in TRAIN] + [f"val_images_256/{path}" for path, _ in VALIDATION]
    for shade, path in enumerate(files):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (shade, 0, 0)).save(folder / path)
    lists = {"train_filelist_google": TRAIN, "val_filelist": VALIDATION}
    (folder / "info").mkdir()
    for name, rows in lists.items():
        (folder / "info" / f"{name}.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    (folder / "info" / "synsets.txt").write_text("\n".join(SYNSETS))
    return folder


@pytest.fixture
def build(tmp_path):
    def built(config: str | None = None, **arguments) -> datasets.DatasetDict:
        return WebVisionBuilder(config, cache_dir=str(tmp_path / "cache"), **arguments).build()

    return built


@pytest.mark.parametrize(("config", "num_classes"), [("mini", 50), ("google", 1000)])
def test_rows_of_the_first_classes_are_kept_in_order(folder, build, config, num_classes):
    loaded = build(config, data_dir=folder)
    for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
        kept = [(path, label) for path, label in rows if label < num_classes]
        assert loaded[split].column_names == ["image", "label"]
        assert loaded[split].features["label"].names == SYNSETS[:num_classes]
        assert loaded[split]["label"][:] == [label for _, label in kept]
        stored = loaded[split].cast_column("image", datasets.Image(decode=False))["image"]
        start = folder if split == "train" else folder / "val_images_256"
        assert [row["path"] for row in stored] == [str(start / path) for path, _ in kept]
        assert noise_record(loaded[split]) is None
    shade = np.asarray(loaded["train"][4]["image"])[0, 0, 0]
    assert abs(int(shade) - 4) < 3


def test_the_first_fifty_classes_are_the_default_and_broken_images_are_found_late(folder, build):
    (folder / TRAIN[1][0]).write_bytes(b"no image")
    train = build(data_dir=folder.parent)["train"]
    assert (len(train), train.features["label"].num_classes) == (9, 50)
    with pytest.raises(UnidentifiedImageError):
        train[1]


def test_what_is_missing_or_wrong_is_told_in_one_sentence(folder, build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="BuilderConfig 'flickr' not found"):
        build("flickr", data_dir=folder)
    with (folder / "info" / "val_filelist.txt").open("a") as file:
        file.write("val000005.jpg 1000\n")
    with pytest.raises(ValueError, match=r"val_filelist.txt' must list images, .* 0 to 999, got 'val000005"):
        build(data_dir=folder)
    (folder / TRAIN[0][0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"image '.*google/q0000/0_0.jpg' of dataset 'webvision' is missing"):
        build(data_dir=folder)
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*webvision' with .* is missing: .*; download info.tar, google"
    ):
        build(data_dir=tmp_path / "empty")
    with pytest.raises(
        FileNotFoundError, match=r"none is set: .*; download info.tar, google_resized_256.tar and val_images"
    ):
        build()
