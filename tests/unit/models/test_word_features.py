"""Features of words: the mean of their pieces, one row a word, also beyond the limit of the encoder."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_noisy.models.embed import embed
from hf_noisy.models.word_features import embed_words

PIECES = ["[PAD]", "[UNK]", "re", "##d", "##s", "cat", "dog", "a"]


@pytest.fixture
def tokenizer():
    pieces = {piece: number for number, piece in enumerate(PIECES)}
    words = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=len(PIECES), max_position_embeddings=10, **sizes)).eval()


def rows(*sentences):
    return Dataset.from_dict({"tokens": list(sentences)}, Features({"tokens": List(Value("string"))}))


def test_a_word_has_the_mean_of_its_pieces(tokenizer, encoder):
    found = embed(rows(["reds", "cat"], [], ["a"]), encoder, tokenizer)
    assert (found["row"][:], found["position"][:]) == ([0, 0, 2], [0, 1, 0])
    with torch.no_grad():
        hidden = encoder(torch.tensor([[2, 3, 4, 5]])).last_hidden_state[0]  # re ##d ##s cat
    vectors = np.asarray(found.with_format("numpy")["features"][:])
    assert vectors.dtype == np.float32
    assert vectors[0] == pytest.approx(hidden[:3].mean(0).numpy(), abs=1e-5)
    assert vectors[1] == pytest.approx(hidden[3].numpy(), abs=1e-5)


def test_long_sentences_are_read_in_windows_of_whole_words(tokenizer, encoder):
    words = ["reds"] * 7  # 21 pieces, of which 10 have room: three words a window
    found = np.asarray(embed_words(rows(words), encoder, tokenizer).with_format("numpy")["features"][:])
    assert found.shape == (7, 16)
    window = np.asarray(embed_words(rows(words[:3]), encoder, tokenizer).with_format("numpy")["features"][:])
    assert found[:3] == pytest.approx(window, abs=1e-5)
    assert found[3:6] == pytest.approx(window, abs=1e-5)
    assert np.abs(found).sum(1).min() > 0


def test_the_order_and_the_neighbours_in_a_batch_do_not_matter(tokenizer, encoder):
    sentences = [["a"], ["cat", "reds", "a"], ["dog", "dog"]]
    together = np.asarray(embed_words(rows(*sentences), encoder, tokenizer).with_format("numpy")["features"][:])
    alone = [embed_words(rows(one), encoder, tokenizer).with_format("numpy")["features"][:] for one in sentences]
    assert together == pytest.approx(np.concatenate([np.asarray(one) for one in alone]), abs=1e-5)


def test_words_that_cannot_be_embedded(tokenizer, encoder):
    with pytest.raises(ValueError, match="no words to embed"):
        embed_words(rows([]), encoder, tokenizer)
    with pytest.raises(ValueError, match="need a fast tokenizer"):
        embed_words(rows(["a"]), encoder, object())
