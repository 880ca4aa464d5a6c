"""Text datasets in the form of the files of their first release."""

import csv
import io

import datasets
import numpy as np
import pytest

from hf_noisy.data import load_noisy_dataset, noise_record
from hf_noisy.data.builders import agnews, newsgroups

# As in the release: all fields quoted, quotes doubled, backslashes kept.
AGNEWS = {
    "train.csv": '"3","Wall St. Bears","Reuters - Short-sellers, ""seeing"" green\\again."\n'
    '"4","Key to space","A probe, at last."\n',
    "test.csv": '"1","Talks","They go on."\n',
}


@pytest.fixture
def agnews_folder(tmp_path):
    (tmp_path / "agnews").mkdir()
    for name, content in AGNEWS.items():
        (tmp_path / "agnews" / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_agnews_csv(agnews_folder):
    loaded = load_noisy_dataset("agnews", data_dir=agnews_folder)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 2, "test": 1}
    assert loaded["train"].features["label"].names == ["World", "Sports", "Business", "Sci/Tech"]
    assert loaded["train"][:] == {
        "text": ['Wall St. Bears Reuters - Short-sellers, "seeing" green\\again.', "Key to space A probe, at last."],
        "label": [2, 3],
        "clean_label": [2, 3],
    }
    assert loaded["test"]["label"][:] == [0]


@pytest.mark.usefixtures("no_general_folder")
@pytest.mark.parametrize("number", ["0", "5", "label"])
def test_agnews_classes_out_of_range_are_refused(agnews_folder, number):
    (agnews_folder / "agnews" / "train.csv").write_text(f'"{number}","title","text"\n')
    with pytest.raises(ValueError, match=f"must have a class from 1 to 4 first in a line, got '{number}'"):
        load_noisy_dataset("agnews", data_dir=agnews_folder)


def test_agnews_of_the_hub(tmp_path, monkeypatch):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=agnews.CLASSES)}
    )
    for split, labels in {"train": [3, 1], "test": [0]}.items():
        rows = {"text": [f"{split} {label}" for label in labels], "label": labels}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}-0.parquet")
    monkeypatch.setattr(agnews.AgNewsBuilder, "HUB_ID", str(tmp_path))
    loaded = load_noisy_dataset("agnews")
    assert loaded["train"][:] == {"text": ["train 3", "train 1"], "label": [3, 1], "clean_label": [3, 1]}
    assert loaded["test"]["text"][:] == ["test 0"]


@pytest.mark.usefixtures("no_general_folder")
def test_agnews_without_files_and_hub():
    with pytest.raises(FileNotFoundError, match=r"; download ag_news_csv .* 'fancyzhx/ag_news' cannot be loaded"):
        load_noisy_dataset("agnews")


MESSAGES = {
    "20news-bydate-train/alt.atheism/51060": b"Subject: caf\xe9\n\nNo.\n",
    "20news-bydate-train/alt.atheism/49960": b"Subject: first\n\nYes.\n",
    "20news-bydate-train/talk.religion.misc/9": b"Subject: last\n",
    "20news-bydate-test/sci.med/1": b"Subject: test\n",
}


@pytest.fixture
def news_folder(tmp_path):
    for split in ("train", "test"):
        for group in newsgroups.CLASSES:
            (tmp_path / "20news" / f"20news-bydate-{split}" / group).mkdir(parents=True)
    for path, content in MESSAGES.items():
        (tmp_path / "20news" / path).write_bytes(content)
    return tmp_path


def test_newsgroups_by_date(news_folder):
    loaded = load_noisy_dataset("20news", data_dir=news_folder)
    train = loaded["train"]
    assert train["text"][:] == ["Subject: first\n\nYes.\n", "Subject: caf\xe9\n\nNo.\n", "Subject: last\n"]
    assert train["label"][:] == train["clean_label"][:] == [0, 0, 19]
    assert loaded["test"]["label"][:] == [newsgroups.CLASSES.index("sci.med")]
    # A message more is seen, three folders deep.
    (news_folder / "20news" / "20news-bydate-test" / "sci.med" / "2").write_bytes(b"more")
    assert len(load_noisy_dataset("20news", data_dir=news_folder)["test"]) == 2


@pytest.mark.usefixtures("no_general_folder")
def test_newsgroups_of_scikit_learn_stand_in_the_order_of_their_paths(monkeypatch):
    from sklearn.utils import Bunch

    def fetched(subset):
        names = np.array([f"/home/20news-bydate-{subset}/sci.med/2", f"/home/20news-bydate-{subset}/alt.atheism/7"])
        return Bunch(data=["second", "first"], target=np.array([13, 0]), filenames=names)

    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", fetched)
    loaded = load_noisy_dataset("20news")
    assert loaded["train"][:] == {"text": ["first", "second"], "label": [0, 13], "clean_label": [0, 13]}
    assert list(loaded) == ["train", "test"]


@pytest.mark.usefixtures("no_general_folder")
def test_newsgroups_without_files_and_network(monkeypatch, tmp_path):
    def refused(subset):
        raise ConnectionRefusedError

    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", refused)
    # Not what the test before has prepared.
    with pytest.raises(
        FileNotFoundError, match=r"; download 20news-bydate.*cannot fetch it either \(ConnectionRefused"
    ):
        load_noisy_dataset("20news", cache_dir=str(tmp_path))


@pytest.fixture
def wos_folder(tmp_path):
    for size, areas in {"5736": [10, 0, 3], "46985": [133, 7, 0]}.items():
        folder = tmp_path / "wos" / f"WOS{size}"
        folder.mkdir(parents=True)
        (folder / "X.txt").write_text("First abstract \n Second.\nThird\n", encoding="utf-8")
        (folder / "Y.txt").write_text("".join(f"{area}\n" for area in areas))
        (folder / "YL1.txt").write_text("2\n0\n1\n")
        (folder / "YL2.txt").write_text("4\n0\n1\n")
    return tmp_path / "wos"


@pytest.mark.parametrize(
    ("config", "classes", "labels"),
    [
        (None, 7, [2, 0, 1]),
        ("wos46985_areas", 134, [133, 7, 0]),
        ("wos5736_domains", 3, [2, 0, 1]),
        ("wos5736_areas", 11, [10, 0, 3]),
    ],
)
def test_web_of_science_by_size_and_level(wos_folder, config, classes, labels):
    loaded = load_noisy_dataset("wos", config, data_dir=wos_folder)
    assert list(loaded) == ["train"]
    assert loaded["train"].features["label"].num_classes == classes
    assert loaded["train"][:] == {
        "text": ["First abstract", "Second.", "Third"],
        "label": labels,
        "clean_label": labels,
    }


def test_web_of_science_by_the_folder_of_one_size(wos_folder):
    rows = load_noisy_dataset("wos", "wos5736_areas", data_dir=wos_folder / "WOS5736")["train"]
    assert rows["label"][:] == [10, 0, 3]
    with pytest.raises(
        FileNotFoundError, match=r"file '.*WOS11967.X.txt' of dataset 'wos' is missing; download WebOf"
    ):
        load_noisy_dataset("wos", "wos11967_areas", data_dir=wos_folder)


NEWS = [
    (2, 2, 'Update 1: "Fined" \\$1.35, Million . Vivendi.', "5"),
    (0, 2, "Judge .\nStrikes.", "0"),
    (1, 1, "Cubs", "6"),
]


def news_csv(rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("label", "gt", "text", "group"), *rows])
    return file.getvalue()


@pytest.fixture
def noisy_news_folder(tmp_path):
    worst = [(3, gt, text, group) for _, gt, text, group in NEWS]
    files = {
        "samples40000trainMed": NEWS,
        "samples40000trainWorst": worst,
        "samples10000valMed": NEWS[:2],
        "samples10000valWorst": worst[:1],
        "samplesTest": [(gt, gt, text, "A") for _, gt, text, _ in NEWS],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.csv").write_text(news_csv(rows), encoding="utf-8")
    return tmp_path


def test_noisyag_news_csv_by_level(noisy_news_folder):
    loaded = load_noisy_dataset("noisyag_news", data_dir=noisy_news_folder)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 3, "validation": 2, "test": 3}
    train = loaded["train"]
    assert train.features["label"].names == agnews.CLASSES
    assert train[:] == {"text": [row[2] for row in NEWS], "label": [2, 0, 1], "clean_label": [2, 2, 1]}
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == ("annotators/mid", pytest.approx(1 / 3))
    assert noise_record(loaded["test"]) is None
    worst = load_noisy_dataset("noisyag_news", "worst", data_dir=noisy_news_folder)
    assert worst["train"]["label"][:] == [3, 3, 3]
    assert noise_record(worst["train"])["kind"] == "annotators/worst"
    assert len(worst["validation"]) == 1
    clean = load_noisy_dataset("noisyag_news", "clean", data_dir=noisy_news_folder)
    assert clean["train"]["label"][:] == [2, 2, 1]


def test_a_level_that_is_not_there_is_refused(noisy_news_folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match=r"holds no samples\*trainBest.csv or samples\*valBest.csv; download"):
        load_noisy_dataset("noisyag_news", "best", data_dir=noisy_news_folder)
    lines = tmp_path_factory.mktemp("lines")
    (lines / "labels.json").write_text('{"classes": ["World", "Sports", "Business", "Sci/Tech"]}')
    with pytest.raises(ValueError, match=r"config='worst' is not in '.*', which holds 'mid' alone; download"):
        load_noisy_dataset("noisyag_news", "worst", data_dir=lines)
