"""Labels of words for tokens, and the layout of their rows."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hf_noisy.core.task import LABEL_SETS, SEQUENCES, TOKENS
from hf_noisy.data.row_layout import row_layout
from hf_noisy.data.word_labels import tokenize_and_align_labels

ROWS = {"tokens": [["ab", "b", "abb"], ["b"]], "ner_tags": [[1, 0, 2], [0]]}


@pytest.fixture
def tokenizer():
    pieces = {"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3, "##b": 4}
    words = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")


def test_the_first_piece_of_a_word_has_its_label(tokenizer):
    encoded = tokenize_and_align_labels(ROWS, tokenizer)
    assert encoded["input_ids"] == [[2, 4, 3, 2, 4, 4], [3]]
    assert encoded["labels"] == [[1, -100, 0, 2, -100, -100], [0]]
    assert tokenize_and_align_labels(ROWS, tokenizer, label_all_tokens=True)["labels"][0] == [1, 1, 0, 2, 2, 2]
    names = ["O", "B-X", "I-X"]
    inside = tokenize_and_align_labels(ROWS, tokenizer, label_all_tokens=True, names=names)
    assert inside["labels"][0] == [1, 2, 0, 2, 2, 2]


def test_words_without_a_label(tokenizer):
    encoded = tokenize_and_align_labels({**ROWS, "ner_tags": [[-1, 0, -100], [-1]]}, tokenizer, label_all_tokens=True)
    assert encoded["labels"] == [[-100, -100, 0, -100, -100, -100], [-100]]


def test_words_that_are_cut_off_have_no_label(tokenizer):
    cut = tokenize_and_align_labels(ROWS, tokenizer, max_length=3, padding="max_length")
    assert cut["labels"] == [[1, -100, 0], [0, -100, -100]]


def test_other_numbers_of_tags_are_refused(tokenizer):
    with pytest.raises(ValueError, match="row 1 of the batch has 1 words in 'tokens' but 2 tags in 'ner_tags'"):
        tokenize_and_align_labels({**ROWS, "ner_tags": [[1, 0, 2], [0, 0]]}, tokenizer)


@pytest.mark.parametrize("stored", ["lists", "class labels", "read one by one"])
def test_the_rows_of_each_sentence(stored):
    lists = [[-100, 1, 0], [-100], [2, -100, -100, 0]]
    feature = List(ClassLabel(names=["O", "B", "I"])) if stored == "class labels" else List(Value("int64"))
    lists = [[max(one, 0) for one in row] for row in lists] if stored == "class labels" else lists
    rows = Dataset.from_dict({"labels": lists}, features=Features({"labels": feature}))
    layout = row_layout([{"labels": one} for one in lists] if stored == "read one by one" else rows, TOKENS, 3)
    if stored == "class labels":
        assert layout.first.tolist() == [0, 3, 4, 8]
        return
    assert layout.labels.tolist() == [1, 0, 2, 0]
    assert layout.first.tolist() == [0, 2, 2, 4]
    assert layout.rows_of([2, 0]).tolist() == [2, 3, 0, 1]
    assert layout.example_of(2) == (2, 0)
    assert layout.example_of(1) == (0, 1)


def test_the_rows_of_cells_and_of_one_label():
    cells = row_layout(Dataset.from_dict({"labels": [[1.0, 0.0], [0.0, 1.0]]}), LABEL_SETS, 2)
    assert cells.labels.tolist() == [1, 0, 0, 1]
    assert cells.first.tolist() == [0, 2, 4]
    assert np.array_equal(row_layout(Dataset.from_dict({"label": [1, 0]}), SEQUENCES, 2).first, [0, 1, 2])
