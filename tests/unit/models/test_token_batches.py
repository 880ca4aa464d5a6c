import numpy as np

from hf_noisy.models.token_batches import token_batches, tokenize
from tests.unit.models.test_embed import tokenizer


def test_texts_are_padded_as_the_tokenizer_does_it():
    texts = ["red cat a dog", "blue", "", "old new the"]
    made = tokenize([[texts[:2]], [texts[2:]]], tokenizer(), None)
    assert made.lengths.tolist() == [4, 1, 0, 3]
    assert made.values["input_ids"].dtype == np.uint8
    expected = tokenizer()([texts[3], texts[1]], padding=True, return_tensors="pt")
    found = made.padded([3, 1])
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)
    assert made.padded([2])["attention_mask"].tolist() == [[0]]


def test_pairs_and_a_limit():
    made = tokenize([[["red cat a dog"], ["blue dog"]]], tokenizer(), 5)
    expected = tokenizer()(["red cat a dog"], ["blue dog"], truncation=True, max_length=5)
    assert made.padded([0])["input_ids"].tolist() == expected["input_ids"]


def test_batches_keep_to_the_budget_and_hold_every_row_once():
    lengths = np.array([3, 9, 1, 3, 40, 0, 3])
    batches = token_batches(lengths, 9)
    assert [batch.tolist() for batch in batches] == [[4], [1], [0, 3, 6], [2, 5]]
    assert [batch.tolist() for batch in token_batches(np.zeros(3, int), 2)] == [[0, 1], [2]]
