"""Checked labels of tokens and cells, of lists, arrays and files."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy.core.task import LABEL_SETS, TOKENS
from hf_noisy.data.checked_layout import checked_units
from hf_noisy.data.checked_list_file import rows_to_check_csv
from hf_noisy.data.row_layout import row_layout
from hf_noisy.training.auto import _of_several_labels

TAGS, TOPICS = ["O", "B-PER", "I-PER"], ["animal", "weather"]


def tokenized(first=(-100, 1, -100, 2, -100)):
    """Two sentences as tokens; of the first the last word is cut off, the second has a word without a tag."""
    features = {"tokens": List(Value("string")), "label": List(ClassLabel(names=TAGS)), "labels": List(Value("int64"))}
    rows = {
        "tokens": [["Anna", "Lee", "ran"], ["so", "Bob"]],
        "label": [[1, 2, 0], [-1, 1]],
        "labels": [list(first), [-100, -100, 1, -100]],
    }
    return Dataset.from_dict(rows, Features(features))


def sets():
    features = {"text": Value("string"), "label": List(ClassLabel(names=TOPICS)), "labels": List(Value("float32"))}
    rows = {"text": ["a", "b"], "label": [[0], []], "labels": [[1.0, 0.0], [0.0, 0.0]]}
    return Dataset.from_dict(rows, Features(features))


def column(rows, checked, task):
    classes = len(TAGS) if task is TOKENS else len(TOPICS)
    found = checked_units(rows, checked, task, classes, row_layout(rows, task, classes))
    return None if found is None else found.as_column().tolist()


@pytest.mark.parametrize("missing", [None, np.nan])
def test_lists_and_arrays_say_the_same(missing):
    listed = [[-100, 0, -100, 0, -100], missing]
    ragged = np.empty(2, dtype=object)
    ragged[:] = listed
    assert column(tokenized(), listed, TOKENS) == column(tokenized(), ragged, TOKENS) == [0, 0, -1]
    table = np.array([[np.nan, 1.0], [np.nan, np.nan]])
    assert column(sets(), table, LABEL_SETS) == column(sets(), [[None, 1], None], LABEL_SETS) == [-1, 1, -1, -1]
    assert column(sets(), np.full((2, 2), np.nan), LABEL_SETS) is None


def test_lists_that_were_not_checked_as_a_whole_are_marked():
    found = checked_units(sets(), [[1, 0], [None, 1]], LABEL_SETS, 2, row_layout(sets(), LABEL_SETS, 2))
    assert found.strategy == ["unknown", "unknown", "single labels"]
    rows = tokenized()
    found = checked_units(rows, [[-100, 1, -100, -100, -100], [0] * 4], TOKENS, 3, row_layout(rows, TOKENS, 3))
    assert found.strategy == ["single labels", "unknown"]
    assert _of_several_labels(LABEL_SETS, found, False).method == "soft_correction"
    single = replace(found, strategy=["single labels"] * 2)
    assert _of_several_labels(LABEL_SETS, single, False).method == "cross_entropy"


@pytest.mark.parametrize(
    ("checked", "message"),
    [
        ([[0.5, 1], None], "whole numbers in row 0, got 0.5"),
        ([["animal", "weather"], None], r"whole numbers in row 0, got \['animal', 'weather'\]"),
        ([[1], None], "2 labels in row 0, as many as are given, got 1"),
        ([0, 1], "2 labels in row 0, as many as are given, got 0"),
        ({"a": 1}, "must be a file, or a list for each example"),
    ],
)
def test_other_forms_are_refused(checked, message):
    with pytest.raises(ValueError, match=message):
        column(sets(), checked, LABEL_SETS)


def test_a_file_is_placed_on_the_tokens_and_cells(tmp_path):
    cases = [(tokenized(), "[Anna Lee](PER) ran,,", "Anna Lee ran,x,"), (sets(), "animal,,", ",x,")]
    for rows, before, after in cases:
        text = rows_to_check_csv(rows, [0, 1])
        assert text.count(before) == 1
        (tmp_path / f"{rows.column_names[0]}.csv").write_text(text.replace(before, after))
    assert column(tokenized(), tmp_path / "tokens.csv", TOKENS) == [0, 0, -1]
    assert column(sets(), str(tmp_path / "text.csv"), LABEL_SETS) == [0, 0, -1, -1]


def test_words_and_sentences_without_tags_have_a_place_in_a_file(tmp_path):
    rows, feature = tokenized(), tokenized().features["label"]
    for missing, expected in (([None, 1], [1, 2, 1]), (None, [1, 2])):
        some = rows.remove_columns("label").add_column("label", [[1, 2, 0], missing], feature=feature)
        if missing is None:
            some = some.remove_columns("labels").add_column("labels", [rows["labels"][0], [-100] * 4])
        (tmp_path / "c.csv").write_text(rows_to_check_csv(some, [0, 1]).replace(",,random", ",x,random"))
        assert column(some, tmp_path / "c.csv", TOKENS) == expected


def test_a_file_without_the_rows_content_is_refused(tmp_path):
    (tmp_path / "c.csv").write_text(rows_to_check_csv(tokenized(), [0]).replace(",,random", ",x,random"))
    with pytest.raises(ValueError, match="must keep the columns 'tokens' and 'label'"):
        column(tokenized().remove_columns("tokens"), tmp_path / "c.csv", TOKENS)
    other = tokenized((-100, 1, 1, 2, -100))  # the further pieces of a word have its label
    with pytest.raises(ValueError, match="row 0 has labels on other tokens than the first of each word"):
        column(other, tmp_path / "c.csv", TOKENS)
