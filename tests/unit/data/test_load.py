import gzip
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_noisy.data import (
    inject_noise,
    list_noisy_datasets,
    load_noisy_dataset,
    majority_vote,
    noise,
    noise_record,
)
from hf_noisy.data.load import dataset_builder, make_noise
from hf_noisy.data.reading import source_splits

NAMES = ["ant", "bee", "cat"]
FILE_ROWS = [{"sentence": f"text {i}", "animal": NAMES[i % 3]} for i in range(60)]
COLUMNS = {"text_column": "sentence", "label_column": "animal"}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "animals.csv"
    path.write_text("sentence,animal\n" + "".join(f"{row['sentence']},{row['animal']}\n" for row in FILE_ROWS))
    return str(path)


def write_folder(root, name, splits):
    (root / name).mkdir()
    (root / name / "labels.json").write_text(json.dumps({"classes": NAMES}))
    for split, rows in splits.items():
        with gzip.open(root / name / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_csv_file_becomes_text_and_classes(csv):
    loaded = load_noisy_dataset(csv, **COLUMNS)
    assert list(loaded) == ["train"]
    train = loaded["train"]
    assert train.features["label"].names == NAMES
    assert sorted(train.column_names) == ["label", "text"]
    assert train[4] == {"text": "text 4", "label": 1}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_json_lines_give_the_same_rows(tmp_path, csv, suffix):
    path = tmp_path / f"animals{suffix}"
    content = "".join(json.dumps(row) + "\n" for row in FILE_ROWS).encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    loaded = load_noisy_dataset(str(path), **COLUMNS)["train"]
    expected = load_noisy_dataset(csv, **COLUMNS)["train"]
    assert loaded.to_dict() == expected.to_dict()
    assert loaded.features == expected.features


def test_a_folder_of_files_keeps_its_splits(tmp_path):
    folder = tmp_path / "animals"
    folder.mkdir()
    for split, rows in {"train": FILE_ROWS, "test": FILE_ROWS[:3]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_noisy_dataset(str(folder), **COLUMNS, noise_type="symmetric", noise_rate=0.5)
    assert {key: len(split) for key, split in loaded.items()} == {"train": 60, "test": 3}
    assert noise_record(loaded["train"])["rate_measured"] == 0.5
    assert loaded["test"]["label"][:] == loaded["test"]["clean_label"][:] == [0, 1, 2]
    assert noise_record(loaded["test"]) is None


def test_numbers_become_classes_and_an_own_clean_label_shares_them(tmp_path):
    path = tmp_path / "stars.jsonl"
    rows = [{"text": "a", "label": 5, "clean_label": 1}, {"text": "b", "label": 3, "clean_label": 3}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = load_noisy_dataset(str(path))["train"]
    assert train.features["label"].names == train.features["clean_label"].names == ["1", "3", "5"]
    assert train["label"][:] == [2, 1]
    assert train["clean_label"][:] == [0, 1]
    with pytest.raises(ValueError, match="already has noisy labels"):
        load_noisy_dataset(str(path), noise_type="symmetric", noise_rate=0.1)


def test_checked_labels_of_a_file_are_classes_by_name(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("text,label,checked_label\na,1,\nb,5,3\nc,3,-1\n")
    rows = load_noisy_dataset(str(path))["train"]
    assert rows.features["checked_label"].names == ["1", "3", "5"]
    assert list(rows["checked_label"]) == [None, 1, None]
    path.write_text("text,label,checked_label\na,bad,good\nb,good,\nc,bad,\n")
    assert list(load_noisy_dataset(str(path))["train"]["checked_label"]) == [1, None, None]
    path.write_text("text,label,checked_label\na,1,\nb,5,4\n")
    with pytest.raises(
        ValueError, match=r"column 'checked_label' has '4' in line 3 of '.*', which is not among the classes '1', '5'"
    ):
        load_noisy_dataset(str(path))


def test_a_saved_dataset_is_loaded_with_its_record(tmp_path, csv):
    noisy = load_noisy_dataset(csv, **COLUMNS, noise_type="asymmetric", noise_rate=0.25)
    noisy.save_to_disk(tmp_path / "saved")
    again = load_noisy_dataset(str(tmp_path / "saved"))
    assert noise_record(again["train"]) == noise_record(noisy["train"])
    assert again["train"]["label"][:] == noisy["train"]["label"][:]


@pytest.mark.parametrize("noise_type", ["symmetric", "pair", "asymmetric", "instance"])
def test_a_clean_folder_gets_noise_in_train_and_validation(tmp_path, noise_type):
    rows = [{"text": f"{NAMES[i % 3]} number{i % 11} word{i % 7}", "label": i % 3} for i in range(90)]
    write_folder(tmp_path, "20news", {"train": rows, "validation": rows, "test": rows[:30]})
    clean = load_noisy_dataset("20news", data_dir=tmp_path)
    assert clean["train"]["label"][:] == clean["train"]["clean_label"][:]
    noisy = load_noisy_dataset("20news", data_dir=tmp_path, noise_type=noise_type, noise_rate=0.4, noise_seed=5)
    for split in ("train", "validation"):
        assert noisy[split]["clean_label"][:] == clean[split]["label"][:]
        assert noise_record(noisy[split])["rate_measured"] == pytest.approx(0.4)
    # Same rows, same seed, but another stream of random numbers.
    assert noisy["train"]["label"][:] != noisy["validation"]["label"][:]
    assert noisy["test"]["label"][:] == noisy["test"]["clean_label"][:]
    again = load_noisy_dataset("20news", data_dir=tmp_path, noise_type=noise_type, noise_rate=0.4, noise_seed=5)
    assert again["train"]["label"][:] == noisy["train"]["label"][:]


def test_a_folder_with_votes(tmp_path, monkeypatch):
    rows = [{"text": f"t{i}", "label": 0, "weak_label": i % 2, "weak_votes": [-1, i % 2], "id": i} for i in range(10)]
    write_folder(tmp_path, "trec", {"train": rows})
    monkeypatch.setenv("HF_NOISY_DATA_DIR", str(tmp_path))
    train = load_noisy_dataset("trec")["train"]
    assert train.column_names == ["text", "label", "clean_label", "votes"]
    assert train[1] == {"text": "t1", "label": 1, "clean_label": 0, "votes": [-1, 1]}
    record = noise_record(train)
    assert (record["kind"], record["rate_measured"]) == ("rules", 0.5)
    assert record["transition_matrix"] == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="dataset 'trec' already has noisy labels"):
        load_noisy_dataset("trec", noise_type="symmetric", noise_rate=0.1)


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"folder '.*trec' with label.json or labels.json is missing: HF_NOISY_DATA_DIR"
    ):
        load_noisy_dataset("trec", data_dir=tmp_path)
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"none is set: HF_NOISY_DATA_DIR \(or data_dir=\) must point"):
        load_noisy_dataset("trec")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_column": "animal"}, "text_column must be one of"),
        ({"text_column": "sentence"}, "label_column must be one of"),
        ({**COLUMNS, "noise_type": "worse", "noise_rate": 0.1}, "noise_type must be None or one of symmetric, pair,"),
        ({**COLUMNS, "noise_type": "symmetric"}, "noise_rate must be given"),
        ({**COLUMNS, "noise_rate": 0.1}, "needs noise_type"),
        ({**COLUMNS, "noise_type": "symmetric", "noise_rate": 1.0}, r"rate must be a number in \[0, 1\)"),
    ],
)
def test_unclear_arguments_are_refused(csv, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_noisy_dataset(csv, **arguments)


def test_missing_labels_stay_missing(tmp_path):
    path = tmp_path / "holes.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n')
    assert load_noisy_dataset(str(path))["train"]["label"][:] == [0, None]
    with pytest.raises(ValueError, match="lacks 1 labels, in rows 1; drop"):
        load_noisy_dataset(str(path), noise_type="pair", noise_rate=0.5)


def test_files_that_are_absent_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="looks like a file but there is none"):
        load_noisy_dataset(str(tmp_path / "absent.csv"))
    other = tmp_path / "rows.txt"
    other.write_text("a\n")
    with pytest.raises(ValueError, match="line 1 names none of the columns label, text, image"):
        load_noisy_dataset(str(other))


def test_columns_of_a_named_dataset_are_fixed():
    with pytest.raises(ValueError, match="takes no text_column"):
        load_noisy_dataset("docs", text_column="sentence")


def test_a_taken_name_is_refused(tmp_path):
    path = tmp_path / "both.jsonl"
    path.write_text('{"text": "a", "label": 0, "weak": 1}\n')
    with pytest.raises(ValueError, match="label_column='weak' cannot be renamed to 'label'"):
        load_noisy_dataset(str(path), label_column="weak")


# Rows and share of wrong given labels of the real files, as their description states them.
REAL = {
    "trec": {"train": (4965, 0.4848), "validation": (500, 0.5020), "test": (500, 0.3900)},
    "semeval": {"train": (1749, 0.2018), "validation": (178, 0.2247), "test": (600, 0.2383)},
    "noisyag_news": {"train": (8000, 0.1973), "validation": (2000, 0.1985), "test": (7600, 0.0)},
    "20news": {"train": (11314, 0.0), "test": (7532, 0.0)},
    "chemprot": {"train": (12861, 0.5237), "validation": (1607, 0.5034), "test": (1607, 0.5190)},
    "mr_chatgpt": {"train": (8662, 0.0814), "validation": (1003, 0.0), "test": (997, 0.0)},
    "semeval_llm": {"train": (1748, 0.5549), "validation": (177, 0.5593), "test": (600, 0.0)},
    "sms": {"train": (4502, 0.3108), "validation": (500, 0.3860), "test": (500, 0.3880)},
    "yelp_rules": {"train": (3800, 0.3161), "test": (2000, 0.2995)},
    "yoruba_newsclass": {"train": (1340, 0.3328), "validation": (189, 0.0), "test": (379, 0.0)},
}
BALANCE = {
    ("trec", "train"): [1043, 1152, 1113, 79, 752, 826],
    ("trec", "validation"): [126, 100, 114, 9, 86, 65],
    ("trec", "test"): [138, 94, 65, 9, 81, 113],
    ("semeval", "train"): [276, 319, 224, 158, 81, 60, 510, 59, 62],
    ("semeval", "validation"): [28, 38, 21, 14, 6, 5, 62, 2, 2],
    ("semeval", "test"): [98, 120, 76, 57, 22, 14, 191, 14, 8],
    ("noisyag_news", "train"): [2043, 1979, 2019, 1959],
    ("noisyag_news", "validation"): [471, 525, 500, 504],
    ("noisyag_news", "test"): [1900] * 4,
    ("20news", "train"): [
        480,
        584,
        591,
        590,
        578,
        593,
        585,
        594,
        598,
        597,
        600,
        595,
        591,
        594,
        593,
        599,
        546,
        564,
        465,
        377,
    ],
    ("20news", "test"): [
        319,
        389,
        394,
        392,
        385,
        395,
        390,
        396,
        398,
        397,
        399,
        396,
        393,
        396,
        394,
        398,
        364,
        376,
        310,
        251,
    ],
}
BALANCED = {name for name, _ in BALANCE}
# Rows of each true class by given label, of the training rows.
CONFUSION = {
    "trec": [
        [913, 31, 23, 16, 39, 21],
        [910, 172, 31, 3, 19, 17],
        [372, 155, 541, 11, 15, 19],
        [69, 2, 0, 8, 0, 0],
        [389, 36, 6, 1, 313, 7],
        [187, 9, 8, 4, 7, 611],
    ],
    "noisyag_news": [[1842, 86, 80, 35], [90, 1858, 24, 7], [387, 8, 1497, 127], [374, 14, 346, 1225]],
}
RULES = {"trec": 68, "semeval": 164}
CLASSES = {"trec": 6, "semeval": 9, "noisyag_news": 4, "20news": 20, "chemprot": 10, "mr_chatgpt": 2}
CLASSES |= {"semeval_llm": 9, "sms": 2, "yelp_rules": 2, "yoruba_newsclass": 7}


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_the_stated_rows_and_noise(name, data_dir):
    loaded = load_noisy_dataset(name, data_dir=data_dir)
    assert list(loaded) == list(REAL[name])
    for key, (num_rows, rate) in REAL[name].items():
        split = loaded[key]
        wrong = np.array(split["label"][:]) != np.array(split["clean_label"][:])
        assert (len(split), round(float(wrong.mean()), 4)) == (num_rows, pytest.approx(rate, abs=1e-4))
        assert split.features["label"].num_classes == CLASSES[name]
        if name in BALANCED:
            assert np.bincount(split["clean_label"][:]).tolist() == BALANCE[name, key]
        record = noise_record(split)
        assert (record["rate_measured"] if record else 0.0) == pytest.approx(wrong.mean())
        assert len(split[0].get("votes", [])) == RULES.get(name, 0)


@pytest.mark.parametrize("name", CONFUSION)
def test_real_files_have_the_stated_confusion(name, data_dir):
    train = load_noisy_dataset(name, data_dir=data_dir)["train"].with_format("numpy")
    counts = np.zeros((CLASSES[name], CLASSES[name]), dtype=int)
    np.add.at(counts, (train["clean_label"][:], train["label"][:]), 1)
    assert counts.tolist() == CONFUSION[name]


def test_own_votes_agree_with_the_stated_rates_of_trec(data_dir):
    train = load_noisy_dataset("trec", data_dir=data_dir)["train"]
    labels, covered = majority_vote(np.array(train["votes"][:]), 6)
    wrong = labels != np.array(train["clean_label"][:])
    assert covered.mean() == pytest.approx(0.9513, abs=1e-4)
    # Ties are drawn by other random numbers than those of the files.
    assert wrong[covered].mean() == pytest.approx(0.4656, abs=0.005)


def test_a_folder_of_images_gets_noise_of_every_kind(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"image": [Image.fromarray(image) for image in pixels], "label": [row % 3 for row in range(12)]}
    clean = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": clean, "test": clean.select([0, 1])}).save_to_disk(tmp_path / "saved")
    for noise_type in ("symmetric", "pair", "asymmetric", "instance"):
        noisy = load_noisy_dataset(str(tmp_path / "saved"), noise_type=noise_type, noise_rate=0.5)
        assert noise_record(noisy["train"])["rate_measured"] == 0.5
        assert noisy["test"]["label"][:] == noisy["test"]["clean_label"][:] == [0, 1]
        assert (np.asarray(noisy["train"][5]["image"]) == pixels[5]).all()


def test_a_source_without_training_rows_stays_as_it_is(tmp_path):
    rows = datasets.DatasetDict({"test": datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})})
    rows.save_to_disk(tmp_path / "saved")
    loaded = load_noisy_dataset(str(tmp_path / "saved"), noise_type="instance", noise_rate=0.5)
    assert loaded["test"]["label"][:] == loaded["test"]["clean_label"][:] == [0, 1]


def test_names_are_listed_and_known():
    names = list_noisy_datasets()
    assert names[:2] == ["docs", "digits"]
    assert names[2:] == sorted(names[2:])
    assert {*REAL, "cifar10", "wrench", "agnews", "wos", "tiny_imagenet"} < set(names)
    with pytest.raises(ValueError, match=r"name must be one of docs, digits, .*, got 'rotten'"):
        dataset_builder("rotten")


@pytest.fixture
def trec(tmp_path):
    rows = [{"text": f"t{i}", "label": i % 3, "weak_label": i % 2, "weak_votes": [-1, i % 2]} for i in range(12)]
    write_folder(tmp_path, "trec", {"train": rows})
    return tmp_path


def test_a_configuration_says_where_the_given_labels_come_from(trec):
    default = load_noisy_dataset("trec", data_dir=trec)["train"]
    for arguments in ({"config": "rules"}, {"noise_type": "rules"}, {"config": "rules", "noise_type": "rules"}):
        assert load_noisy_dataset("trec", **arguments, data_dir=trec)["train"].to_dict() == default.to_dict()
    clean = load_noisy_dataset("trec", "clean", data_dir=trec)["train"]
    assert clean["label"][:] == clean["clean_label"][:] == default["clean_label"][:]
    noisy = load_noisy_dataset("trec", "clean", data_dir=trec, noise_type="symmetric", noise_rate=0.25)["train"]
    assert noise_record(noisy)["kind"] == "symmetric"
    assert noisy.column_names == ["text", "clean_label", "label"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "worse"}, "config must be one of rules, clean for dataset 'trec', got 'worse'"),
        ({"config": "clean", "noise_type": "rules"}, "noise_type='rules' is a configuration too, and config='clean'"),
        ({"noise_type": "rules", "noise_rate": 0.5}, "noise_rate must be None with the labels of noise_type='rules'"),
        (
            {"noise_type": "worse", "noise_rate": 0.5},
            "one of symmetric, pair, asymmetric, instance, entity, missing, rules, got 'worse'",
        ),
        ({"noise_type": "pair", "noise_rate": 0.1}, "pass noise_type=None, or config='clean' for a named dataset"),
        ({"revision": "main"}, "dataset 'trec' has fixed columns and takes no revision"),
    ],
)
def test_unclear_configurations_are_refused(trec, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_noisy_dataset("trec", data_dir=trec, **arguments)


def test_noise_by_its_name():
    kinds = {name: make_noise(name, 0.3).kind for name in ("symmetric", "pair", "asymmetric", "instance")}
    assert kinds == {"symmetric": "symmetric", "pair": "pair", "asymmetric": "pair", "instance": "instance_dependent"}
    assert make_noise("asymmetric", 0.3, "cifar10").mapping[9] == 1
    with pytest.raises(ValueError, match="one of symmetric, pair, asymmetric, instance, entity, missing, got 'loud'"):
        make_noise("loud", 0.3)
    with pytest.raises(ValueError, match="noise_rate must be given with noise_type='pair'"):
        make_noise("pair", None)


def test_a_folder_of_the_hub_has_configurations_too(tmp_path):
    for config, labels in {"one": [0, 1], "two": [1, 1]}.items():
        datasets.Dataset.from_dict({"text": ["a", "b"], "label": labels}).to_parquet(
            tmp_path / config / "rows.parquet"
        )
    card = "".join(f"  - config_name: {config}\n    data_files: {config}/*.parquet\n" for config in ("one", "two"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{card}---\n")
    assert load_noisy_dataset(str(tmp_path), "two")["train"]["label"][:] == [0, 0]
    assert load_noisy_dataset(str(tmp_path), "one")["train"]["label"][:] == [0, 1]


def test_a_cache_of_ones_own(trec, tmp_path):
    load_noisy_dataset("trec", data_dir=trec, cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache" / "hf_noisy_trec").rglob("*.arrow"))


def test_inject_noise_refuses_a_dataset_with_known_noise(tmp_path):
    rows = datasets.Dataset.from_dict({"label": [0, 1], "clean_label": [1, 1]})
    with pytest.raises(ValueError, match=r"has noisy labels already.* remove 'label' and rename"):
        inject_noise(rows, noise.symmetric(0.5))


def test_an_unknown_name_lists_the_known_ones(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(source_splits, "load_dataset", offline)
    with pytest.raises(FileNotFoundError, match=r"name 'cifar-10' is neither a file nor one of docs, .*; check the"):
        load_noisy_dataset("cifar-10")


def test_one_column_cannot_be_two(csv):
    with pytest.raises(ValueError, match="text_column and label_column must be different columns, got"):
        load_noisy_dataset(csv, text_column="animal", label_column="animal")


def test_an_empty_configuration_is_none(trec):
    with pytest.raises(ValueError, match="config must be one of rules, clean for dataset 'trec', got ''"):
        load_noisy_dataset("trec", "", data_dir=trec)


def test_soft_labels_are_refused_in_one_sentence(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [[0.5, 0.5], [1.0, 0.0]]})
    rows.to_parquet(tmp_path / "soft.parquet")
    with pytest.raises(
        ValueError, match=r"label_column must hold one class per row, but column 'label' of '.*' holds soft labels"
    ):
        load_noisy_dataset(str(tmp_path / "soft.parquet"))
