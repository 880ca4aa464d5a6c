import datasets
import pytest

from hf_noisy.data import inject_noise, load_noisy_dataset, noise
from hf_noisy.hub.dataset_card import dataset_card
from hf_noisy.hub.text import BEGIN

CITATION = "@misc{letters,\n  title={Letters}\n}"


@pytest.fixture
def splits():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    info = {"description": "Letters of a test.\nThey are true.", "license": "CC BY 4.0", "citation": CITATION}
    rows = {"text": ["x", "y", "z", "w"], "label": [0, 1, 0, 1]}
    clean = datasets.Dataset.from_dict(rows, features=features, info=datasets.DatasetInfo(features=features, **info))
    clean.info.homepage = "https://example.org/letters"
    return datasets.DatasetDict({"train": inject_noise(clean, noise.symmetric(0.25)), "test": clean})


def test_the_card_tells_source_licence_columns_and_measured_noise(splits):
    card = dataset_card(splits, name="Letters", language="en")
    metadata = card.data.to_dict()
    assert (metadata["pretty_name"], metadata["license"], metadata["language"]) == ("Letters", "other", "en")
    assert metadata["tags"] == ["hf_noisy", "label-noise", "noisy-labels"]
    assert metadata["task_categories"] == ["text-classification"]
    assert f"# Letters\n\nLetters of a test.\n\nThey are true.\n\n{BEGIN}" in card.text
    assert (
        "Noise was injected into the labels of `train` (kind symmetric, rate_asked 0.25, seed 0).\n\n##" in card.text
    )
    assert "noise_record" not in card.text
    assert "| `label` | one of 2 classes | the given label, possibly wrong |\n" in card.text
    assert "| `clean_label` | one of 2 classes | the true label |\n" in card.text
    assert "Classes of `label`: a, b." in card.text
    assert (
        "| `train` | `default` | 4 | 25.00 % | symmetric |\n| `test` | `unchanged` | 4 | not known | not recorded |\n"
        in card.text
    )
    assert "https://example.org/letters\n\nLicence: CC BY 4.0.\n" in card.text
    assert f"```bibtex\n{CITATION}\n```" in card.text


def test_rows_are_measured_as_they_are(splits):
    wrong = splits["train"].filter(lambda row: row["label"] != row["clean_label"])
    text = dataset_card(datasets.DatasetDict({"train": wrong}), name="Letters").text
    assert "| `train` | `default` | 1 | 100.00 % | symmetric |" in text


def test_unknown_true_labels_are_not_counted():
    labels = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels, "clean_label": labels})
    rows = {"text": ["x", "y", "z"], "label": [0, 1, 1], "clean_label": [None, 1, 0]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    text = dataset_card(splits, name="Letters").text
    assert "| `train` | `default` | 3 | 50.00 % | not recorded |" in text
    assert "injected" not in text
    assert "No homepage.\n\nLicence: not stated.\n" in text
    assert "bibtex" not in text


@pytest.mark.parametrize("name", ["digits", "letters"])
def test_a_folder_of_parquet_files_with_its_card_is_loaded_again(name, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    if name == "digits":
        splits = load_noisy_dataset("digits", noise_type="pair", noise_rate=0.2)
        splits = datasets.DatasetDict({key: split.select(range(20)) for key, split in splits.items()})
    else:
        # The files of a folder have the same columns.
        splits = datasets.DatasetDict({"train": splits["train"], "validation": splits["train"]})
    for key, split in splits.items():
        split.to_parquet(tmp_path / "folder" / "data" / f"{key}-00000-of-00001.parquet")
    dataset_card(splits, name=name).save(tmp_path / "folder" / "README.md")
    again = datasets.load_dataset(str(tmp_path / "folder"))
    assert list(again) == list(splits)
    for key, split in splits.items():
        assert again[key].features == split.features
        assert list(again[key]) == list(split)


def test_a_folder_that_was_replaced_is_read_anew(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    card = dataset_card(datasets.DatasetDict(train=splits["train"]), name="rows")
    for count in (3, 2):  # if a card names the files, `datasets` takes rows from its cache by the folder's name
        splits["train"].select(range(count)).to_parquet(tmp_path / "folder" / "data" / "train-00000-of-00001.parquet")
        card.save(tmp_path / "folder" / "README.md")
        assert len(datasets.load_dataset(str(tmp_path / "folder"))["train"]) == count


def test_no_splits_are_refused():
    with pytest.raises(ValueError, match="splits must hold at least one split, got none"):
        dataset_card(datasets.DatasetDict(), name="Letters")


def test_names_of_others_cannot_break_the_card():
    feature = datasets.ClassLabel(names=["a|b", "<b>"])
    rows = datasets.Dataset.from_dict({"a|b": ["x", "y"], "label": [0, 1]}).cast_column("label", feature)
    text = dataset_card(datasets.DatasetDict({"train": rows}), name="Rows\n# and more").text
    assert "# Rows &#35; and more" in text
    assert "| a&#124;b | string |" in text
    assert "Classes of `label`: a&#124;b, &#60;b&#62;." in text
