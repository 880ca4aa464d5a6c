"""What words say about their tags."""

import numpy as np
import pytest

from hf_noisy.detection import find_wrong_tokens
from hf_noisy.detection.word_context import tagged_share
from hf_noisy.detection.wrong_tokens import safe_tags


def test_the_share_of_tagged_occurrences_counts_whole_strings_in_any_case():
    words = ["New", "York", "is", "the", "the", "The", "new", "york", "new", "York"]
    rows = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])  # the last two words are no string: they are of two sentences
    spans = np.array([0, 0, -1, -1, -1, 1, -1, -1, -1, -1])
    np.testing.assert_allclose(tagged_share(words, rows, spans), [1 / 2, 1 / 2, 1, 1, 1, 1 / 3, 1, 1, 1, 1])


@pytest.mark.parametrize("spans", [[-1, -1], [0, 0], [0, 1]])
def test_strings_that_occur_once_keep_their_quality(spans):
    np.testing.assert_array_equal(tagged_share(["a", "b"], np.array([0, 0]), np.array(spans)), [1, 1])
    assert tagged_share([], np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


def test_long_entities_are_not_counted():
    words, rows = [*"abcdef"] * 2, np.repeat([0, 1], 6)
    spans = np.repeat([0, -1], 6)
    np.testing.assert_array_equal(tagged_share(words, rows, spans), np.ones(12))


def test_a_common_word_that_is_tagged_at_the_start_of_a_sentence_is_found():
    words = [["The", "man", "saw", "the", "town"], ["Rome", "and", "the", "Alps"]] * 20
    labels = [[1, 0, 0, 0, 0], [1, 0, 0, 1]] * 20
    probabilities = np.eye(2)[np.concatenate(labels)] * 0.6 + 0.2
    issues = find_wrong_tokens(labels, probabilities, words=words, names=["O", "B-PER"])
    assert issues.quality[0] < issues.quality[5]
    assert issues.quality[5] == pytest.approx(find_wrong_tokens(labels, probabilities, words=words).quality[5])


def test_a_common_word_is_suggested_to_be_no_entity():
    words = [["The", "man", "and", "the", "the", "Rome"]] * 40
    labels = [[1, 0, 0, 0, 0, 2]] * 40
    sure = np.tile(np.eye(3)[labels[0]] * 0.94 + 0.02, (40, 1))
    sure[::6] = [0.02, 0.08, 0.9]  # other sentences make "The" a place
    issues = find_wrong_tokens(labels, sure, words=words, names=["O", "B-PER", "B-LOC"])
    assert issues.is_wrong[::6].all()
    assert (issues.suggested[::6] == 0).all()
    assert (find_wrong_tokens(labels, sure, words=words).suggested[::6] == 2).all()


def test_only_common_words_and_missed_entities_are_corrected_unseen():
    words, labels = [["The", "man", "saw", "the", "the", "Rome"]] * 20, [[1, 0, 0, 0, 0, 2], [0, 0, 0, 0, -1, 2]] * 10
    probabilities = np.tile([0.6, 0.2, 0.2], (120, 1))
    safe = safe_tags(labels, probabilities, words, ["O", "B-PER", "B-LOC"])
    assert safe.correctable.tolist() == [True, True, True, True, True, False] * 20
    alone = find_wrong_tokens(labels, probabilities, names=["O", "B-PER", "B-LOC"]).quality
    assert safe.quality[0] == pytest.approx(alone[0] / 4)  # 10 of the 40 times it is tagged
    assert safe.quality[[1, 5]] == pytest.approx(alone[[1, 5]])
    assert safe_tags(labels, probabilities, words, ["NOUN", "VERB", "ADJ"]).correctable.all()
