"""The text of cards, without a Hub."""

import re

import numpy as np
import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset
from huggingface_hub import DatasetCard, ModelCard, RepoCard
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.data.decision_lines import Decision
from hf_noisy.data.noise import inject_noise, symmetric
from hf_noisy.data.row_digest import row_digests
from hf_noisy.detection.audit import Audit
from hf_noisy.hub.card_builder import configurations
from hf_noisy.hub.dataset_card import audit_card, injected_card, purified_card
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.hub.text import BEGIN, END, TAGS, code, escape, is_path, merged, public_name
from hf_noisy.purification.decisions import apply_decisions
from hf_noisy.purification.policies import purify
from hf_noisy.purification.summary import summarise

OURS = RepoCard(f"---\ntags: [a, b]\npretty_name: ours\n---\n# Title\n\n{BEGIN}\nNew words.\n{END}\n")


def decided(names=("a", "b"), split="train"):
    classes = ClassLabel(names=list(names))
    features = Features({"text": Value("string"), "label": classes, "clean_label": classes})
    columns = {"text": list("abcd"), "label": [0, 1, 1, 1], "clean_label": [0, 0, 1, 1]}
    rows = Dataset.from_dict(columns, features=features)
    relabel = Decision(1, row_digests(rows)[1], names[1], names[0], "relabel")
    return DatasetDict({split: apply_decisions(rows, [relabel])})


@given(st.text())
def test_words_of_others_stay_on_one_line_and_mean_nothing(text):
    safe = escape(text)
    assert len(safe.splitlines()) <= 1
    assert not re.search(r"[<>|`*\[\]\\~$]|&(?!#\d+;)", safe)
    assert escape("") == ""


@given(st.text(min_size=1))
def test_words_of_others_can_be_read_back(text):
    shown = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), escape(text))
    visible = "".join(sign if sign.isprintable() else " " for sign in text)
    assert shown.split() == visible.split()


@given(st.text())
def test_code_ends_where_it_begins(text):
    assert code(text) in (f"`{text}`", escape(text))
    assert code(text).count("`") in (0, 2)


@pytest.mark.parametrize(
    "path", ["/home/anna/rows", "~/rows", "./rows", "../rows", "C:\\data\\rows", "a/b/rows", "/rows/"]
)
def test_folders_are_not_told(path):
    assert is_path(path)
    assert public_name(path) == "rows"


@pytest.mark.parametrize("name", ["rows", "owner/rows", "20news", "rows, second edition"])
def test_names_are_told(name):
    assert public_name(name) == name


def test_a_new_card_is_ours():
    assert merged("", OURS) == merged("---\n---\n", OURS) == OURS.content


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_words_that_are_there_stay_and_a_second_merge_changes_nothing(text):
    existing = f"---\nlicense: mit\n---\n.{text}\n"
    once = merged(existing, OURS)
    assert once.split("---\n", 2)[2].startswith(f".{text}".rstrip())
    assert once.count("New words.") == 1 + text.count("New words.")
    assert merged(once, OURS) == once


def test_our_section_is_replaced_in_its_place():
    existing = f"---\nlicense: mit\n---\nBefore.\n{BEGIN}\nOld words.\n{END}\nAfter.\n"
    card = RepoCard(merged(existing, OURS))
    assert card.text == f"Before.\n{BEGIN}\nNew words.\n{END}\nAfter.\n"


@pytest.mark.parametrize("half", [BEGIN, END, f"{END}\n{BEGIN}"])
def test_half_a_section_is_left_alone(half):
    text = RepoCard(merged(f"---\nlicense: mit\n---\nBefore.\n{half}\nAfter.\n", OURS)).text
    assert text == f"Before.\n{half}\nAfter.\n\n{BEGIN}\nNew words.\n{END}\n"


def test_metadata_is_only_added():
    data = RepoCard(merged("---\nlicense: mit\npretty_name: theirs\ntags: [b, c]\n---\nText.\n", OURS)).data.to_dict()
    assert data == {"license": "mit", "pretty_name": "theirs", "tags": ["b", "c", "a"]}


def test_one_tag_may_be_a_word():
    assert RepoCard(merged("---\ntags: c\n---\nText.\n", OURS)).data.tags == ["c", "a", "b"]


def test_a_card_without_metadata_keeps_its_text():
    assert RepoCard(merged("Text.\n", OURS)).text.startswith("Text.\n")


def test_line_ends_stay_what_they_are():
    content = merged("---\r\nlicense: mit\r\n---\r\nText.\r\n", OURS)
    assert "\n" not in content.replace("\r\n", "")


def test_a_card_without_marks_is_put_between_them():
    assert f"{BEGIN}\nWords.\n{END}" in merged(
        "---\nlicense: mit\n---\nText.\n", RepoCard("---\ntags: [a]\n---\nWords.")
    )


@pytest.mark.parametrize("metadata", ["a: [1", "- a\n- b", "1: a"])
def test_metadata_that_cannot_be_read_is_refused(metadata):
    with pytest.raises(ValueError, match=r"metadata that cannot be read \(.*\); correct it") as caught:
        merged(f"---\n{metadata}\n---\nText.\n", OURS)
    assert "\n" not in str(caught.value)


def figures(content):
    index = yaml.safe_load(content.split("---")[1])["model-index"]
    return [
        (model["name"], r["dataset"]["name"], f["value"])
        for model in index
        for r in model["results"]
        for f in r["metrics"]
    ]


def card_of(name="m", dataset="d", accuracy=0.5):
    results = {"method": "gce", "dataset": dataset, "test_accuracy_last": accuracy, "test_labels": "true"}
    return model_card(results, name=name)


def test_figures_are_renewed_and_those_of_others_stay():
    content = merged("---\nlicense: mit\n---\nText.\n", card_of())
    for name, dataset, accuracy in (("m", "other", 0.6), ("other", "d", 0.7), ("m", "d", 0.8)):
        content = merged(content, card_of(name, dataset, accuracy))
    assert sorted(figures(content)) == [("m", "d", 0.8), ("m", "other", 0.6), ("other", "d", 0.7)]


def test_a_model_card_needs_no_results():
    card = model_card({}, name="m")
    assert "model-index" not in card.data.to_dict()
    assert card.data.tags[:3] == TAGS
    assert isinstance(card, ModelCard)


def test_a_model_card_for_images_says_so():
    assert model_card({}, {"num_channels": 3}, name="m").data.pipeline_tag == "image-classification"


def test_a_start_from_the_hub_is_named_and_a_folder_is_not():
    started = [
        model_card({"arguments": {"model_name_or_path": start}}, name="m").data.base_model
        for start in ("owner/model", "/home/anna/model")
    ]
    assert started == ["owner/model", None]


def test_the_card_of_decisions_says_who_decided():
    splits = decided()
    text = purified_card(splits, "train", summarise(splits["train"]), name="rows").text
    assert "Rows were reviewed by a person" in text
    assert "| precision of changes | - | 100.00 % |" in text
    assert "| noise before | - | 25.00 % |" in text


def test_names_of_classes_stand_in_cells():
    splits = decided(names=("a|b\n---\n", "<script>"))
    text = purified_card(splits, "train", summarise(splits["train"]), name="rows").text
    assert "| &#60;script&#62; | a&#124;b --- | 1 |" in text
    assert "<script>" not in text


def test_the_card_of_an_audit():
    from hf_noisy.detection.duplicates import DuplicateGroup
    from hf_noisy.detection.label_issues import LabelIssues
    from hf_noisy.detection.noise_rate import NoiseRate
    from hf_noisy.detection.outliers import Outliers
    from hf_noisy.detection.training_dynamics import data_map

    labels, wrong = np.array([0, 1, 1, 1]), np.array([False, True, False, False])
    issues = LabelIssues(wrong, np.ones(4), np.array([0, 0, 1, 1]), NoiseRate(0.25, 0.1, 0.5))
    probabilities = np.full((4, 2), 0.5)
    dynamics = data_map(labels, np.zeros((2, 4, 2)))
    outliers = Outliers(np.zeros(4), wrong)
    equal = [DuplicateGroup(np.array(rows), np.ones(2), True, rows == [0, 1]) for rows in ([0, 1], [2, 3])]
    found = Audit(
        labels, ["a", "b"], probabilities, issues, np.array([[0.75, 0.25], [0.0, 1.0]]), dynamics, equal, outliers
    )
    splits = decided()
    splits["train"] = splits["train"].remove_columns("label").rename_column("label_given", "label")
    text = audit_card(splits, "train", found, name="rows").text
    estimated = "about 25.00 % if errors are random, 10.00 % to 50.00 % if they may follow rules"
    assert f"| wrong labels, estimated | {estimated} |" in text
    assert "| wrong labels, true | 25.00 % |" in text
    assert "| suspected rows | 1 of 4 |" in text
    assert "| equal rows with different labels | 1 group of 2 rows |" in text
    assert "| equal rows with one label | 1 group of 2 rows |" in text
    assert "| b | a | 1 |" in text
    assert "| a | 0.750 | 0.250 |" in text


def test_the_card_of_noise_needs_noise():
    rows = Dataset.from_dict({"label": [0, 1, 0, 1]}, features=Features({"label": ClassLabel(names=["a", "b"])}))
    with pytest.raises(ValueError, match="split 'train' has no record of noise; put noise in with inject_noise"):
        injected_card(DatasetDict({"train": rows}), "train", name="rows")
    text = injected_card(DatasetDict({"train": inject_noise(rows, symmetric(0.25))}), "train", name="rows").text
    assert "| wrong labels, measured | 25.00 % |" in text
    assert "| wrong labels, requested | 25.00 % |" in text


def test_a_split_that_is_not_there_is_refused():
    splits = decided()
    with pytest.raises(ValueError, match="split must be one of train, got 'test'"):
        purified_card(splits, "test", summarise(splits["train"]), name="rows")


def test_many_classes_and_pairs_are_cut_short():
    names = [f"class{number}" for number in range(250)]
    given = np.arange(250)
    rows = Dataset.from_dict({"label": given}, features=Features({"label": ClassLabel(names=names)}))
    splits = DatasetDict(
        {"train": purify(rows, np.eye(250, dtype=np.float32)[np.where(given < 30, given + 1, given)])}
    )
    text = purified_card(splits, "train", summarise(splits["train"]), name="rows").text
    assert "| 10 more pairs |  | 10 |" in text
    assert "class199, and 50 more." in text


def test_splits_with_other_columns_or_classes_are_apart():
    few = Dataset.from_dict({"text": ["a"]})
    other = Dataset.from_dict({"text": [1]}, features=Features({"text": Value("int64")}))
    more = Dataset.from_dict({"text": ["a"], "label": [0]})
    found = configurations(DatasetDict({"test": few, "train": more, "extra": other}))
    assert found == {"default": ["train"], "unchanged": ["test"], "unchanged_2": ["extra"]}


def test_no_split_is_refused():
    with pytest.raises(ValueError, match="splits must hold at least one split, got none"):
        push_dataset_to_hub(DatasetDict(), "rows", DatasetCard(OURS.content))


def test_offline_is_told_before_anything_is_sent():
    splits = decided()
    card = purified_card(splits, "train", summarise(splits["train"]), name="rows")
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set, so nothing was pushed to 'rows'; unset it"):
        push_dataset_to_hub(splits, "rows", card, token="hf_none")


def test_a_folder_with_the_card_is_loaded_by_its_configurations(tmp_path):
    features = Features({"label": ClassLabel(names=["a", "b"])})
    splits = DatasetDict({**decided(), "test": Dataset.from_dict({"label": [1, 0]}, features=features)})
    for name, rows in splits.items():
        rows.to_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    purified_card(splits, "train", summarise(splits["train"]), name="rows").save(tmp_path / "README.md")
    loaded = [load_dataset(str(tmp_path), name, cache_dir=tmp_path / "cache") for name in ("default", "unchanged")]
    assert [list(part) for part in loaded] == [["train"], ["test"]]
    assert loaded[0]["train"].to_dict() == splits["train"].to_dict()
    assert loaded[1]["test"].features == features
