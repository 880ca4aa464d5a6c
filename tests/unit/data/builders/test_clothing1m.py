import datasets
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from hf_noisy.data import noise_record
from hf_noisy.data.builders.clothing1m import Clothing1MBuilder

CLASSES = [
    "T-Shirt",
    "Shirt",
    "Knitwear",
    "Chiffon",
    "Sweater",
    "Hoodie",
    "Windbreaker",
    "Jacket",
    "Down Coat",
    "Suit",
]
CLASSES += ["Shawl", "Dress", "Vest", "Underwear"]
# List -> its images. Of those labelled by hand, images 60 to 63 and 75 to 79 have a label of the web as well.
LISTS = {
    "noisy_train": range(60),
    "clean_train": range(60, 70),
    "clean_val": range(70, 75),
    "clean_test": range(75, 80),
}
BOTH = [*range(60, 64), *range(75, 80)]


def key(number: int) -> str:
    return f"images/{number % 10}/{number}/{number}00,{number}1.jpg"


def web(number: int) -> int:
    return (number + (number % 4 == 0)) % 14


@pytest.fixture
def folder(tmp_path):
    """The release in small: 60 rows labelled by the web, 20 by hand, 9 of these by both."""
    folder = tmp_path / "clothing1m"
    for number in range(80):
        (folder / key(number)).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (number, 0, 255)).save(folder / key(number), quality=95)
    by_hand = [number for name, numbers in LISTS.items() if name != "noisy_train" for number in numbers]
    lists = {f"{name}_key_list": [key(number) for number in numbers] for name, numbers in LISTS.items()}
    lists["noisy_label_kv"] = [f"{key(number)} {web(number)}" for number in (*range(60), *BOTH)]
    lists["clean_label_kv"] = [f"{key(number)} {number % 14}" for number in by_hand]
    lists["category_names_eng"] = CLASSES
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture
def build(tmp_path):
    def built(config: str | None = None, **arguments) -> datasets.DatasetDict:
        return Clothing1MBuilder(config, cache_dir=str(tmp_path / "cache"), **arguments).build()

    return built


def test_noisy_rows_carry_the_labels_of_the_web(folder, build):
    loaded = build(data_dir=folder.parent)
    train = loaded["train"]
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 60, "validation": 5, "test": 5}
    assert train.features["label"].names == CLASSES
    assert train["label"][:] == [web(number) for number in range(60)]
    assert train["clean_label"][:] == [None] * 60
    assert noise_record(train) is None
    for split, numbers in (("validation", LISTS["clean_val"]), ("test", LISTS["clean_test"])):
        assert loaded[split]["label"][:] == loaded[split]["clean_label"][:] == [number % 14 for number in numbers]
        assert noise_record(loaded[split]) is None


def test_rows_with_both_labels_know_the_true_one(folder, build):
    train = build("both", data_dir=folder)["train"]
    assert train["label"][:] == [web(number) for number in range(60, 64)]
    assert train["clean_label"][:] == [number % 14 for number in range(60, 64)]
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"], record["rows_measured"]) == ("web", 0.25, 4)
    assert np.shape(record["transition_matrix"]) == (14, 14)


def test_a_noisy_list_with_some_true_labels_is_recorded_by_them(folder, build):
    with (folder / "clean_label_kv.txt").open("a") as file:
        file.writelines(f"{key(number)} {number % 14}\n" for number in range(8))
    train = build("noisy", data_dir=folder)["train"]
    assert train["clean_label"][:9] == [0, 1, 2, 3, 4, 5, 6, 7, None]
    record = noise_record(train)
    assert (record["rate_measured"], record["rows_measured"]) == (0.25, 8)


def test_clean_rows_are_those_labelled_by_hand(folder, build):
    train = build("clean", data_dir=folder)["train"]
    assert train["label"][:] == train["clean_label"][:] == [number % 14 for number in range(60, 70)]
    assert noise_record(train) is None


def test_images_are_read_when_looked_at(folder, build):
    (folder / key(1)).write_bytes(b"no image")
    (folder / key(2)).unlink()
    train = build(data_dir=folder)["train"]
    stored = train.cast_column("image", datasets.Image(decode=False))[5]["image"]
    assert stored == {"path": str(folder / key(5)), "bytes": None}
    assert train[5]["image"].size == (9, 7)
    with pytest.raises(UnidentifiedImageError):
        train[1]
    with pytest.raises(FileNotFoundError):
        train[2]


def test_what_is_missing_or_wrong_is_told_in_one_sentence(folder, build, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="BuilderConfig 'dirty' not found"):
        build("dirty", data_dir=folder)
    (folder / key(0)).unlink()
    with pytest.raises(FileNotFoundError, match=r"image '.*images/0/0/.*jpg' of dataset 'clothing1m' is missing"):
        build(data_dir=folder)
    with (folder / "clean_train_key_list.txt").open("a") as file:
        file.write("images/9/9/none.jpg\n")
    with pytest.raises(ValueError, match=r"clean_train_key_list.txt' must list images with a label, got '.*none.jpg'"):
        build("clean", data_dir=folder)
    (folder / "clean_test_key_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"file '.*clean_test_key_list.txt' is missing"):
        build("both", data_dir=folder)
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*clothing1m' with noisy_label_kv.txt is missing: .*; ask the"
    ):
        build(data_dir=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"none is set: .*; ask the authors for Clothing1M as https"):
        build()
