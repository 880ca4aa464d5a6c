"""Features of a frozen encoder for each word of tokenised sentences: the mean of its word pieces."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from jaxtyping import Float32, Int64
from torch import nn
from tqdm.auto import tqdm

from hf_noisy.core.columns import FEATURES, TOKENS
from hf_noisy.core.precision import Dtype, compute_dtype
from hf_noisy.data.replace_column import with_column
from hf_noisy.models.inference import encoding
from hf_noisy.models.token_batches import token_batches

_PIECES = 2048  # of a batch, with padding
_FEWEST_PIECES = 8  # of a window, when an encoder has a tiny limit


def embed_words(
    dataset: Dataset,
    model: nn.Module,
    processing_class: Any,
    *,
    max_length: int | None = None,
    dtype: Dtype = "float32",
) -> Dataset:
    """The features of every word of a dataset of tokens, one row a word.

    A sentence that is longer than the limit is read in windows of whole words, so that every word has features.

    Args:
        dataset: Rows with lists of words in `tokens`.
        model: An encoder as from `AutoModel`, or a classifier, whose encoder is used.
        processing_class: Its fast tokenizer.
        max_length: Word pieces of a window; by default the model's limit.
        dtype: As for [`~hf_noisy.models.embed.embed`].

    Returns:
        A dataset with the columns `row`, `position` (of the word in its row) and `features` (float32 lists of one
        width), in the order of the words.

    Raises:
        ValueError: If there are no words, or the tokenizer is not a fast one.

    Example:
        >>> words = embed_words(dataset, AutoModel.from_pretrained(name), tokenizer)  # doctest: +SKIP
        >>> len(words) == sum(map(len, dataset["tokens"]))  # doctest: +SKIP
        True
    """
    sentences: list[list[str]] = dataset.with_format(None)[TOKENS][:]
    lengths = np.array([len(words) for words in sentences], dtype=np.int64)
    if not lengths.sum():
        raise ValueError(f"column '{TOKENS}' has no words to embed; pass rows with words")
    if not getattr(processing_class, "is_fast", False):
        raise ValueError("words need a fast tokenizer, which says where each of its pieces comes from; load one")
    encoder = getattr(model, "base_model", model)
    vectors = _vectors(sentences, lengths, encoder, processing_class, max_length, dtype)
    rows = np.repeat(np.arange(len(sentences)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    features = Features({"row": Value("int64"), "position": Value("int64")})
    found = Dataset.from_dict({"row": rows, "position": positions}, features)
    return with_column(found, FEATURES, vectors, List(Value("float32"), length=vectors.shape[1]))


def _vectors(
    sentences: Sequence[list[str]],
    lengths: Int64[np.ndarray, " rows"],
    encoder: Any,
    tokenizer: Any,
    max_length: int | None,
    dtype: Dtype,
) -> Float32[np.ndarray, "words width"]:
    limit = max_length or getattr(encoder.config, "max_position_embeddings", None) or tokenizer.model_max_length
    windows = _windows(sentences, tokenizer, max(limit - tokenizer.num_special_tokens_to_add(), _FEWEST_PIECES))
    starts = np.cumsum(lengths) - lengths
    sizes = np.array([pieces for _, _, _, pieces in windows], dtype=np.int64)
    state = PartialState(cpu=not torch.accelerator.is_available())
    found: np.ndarray | None = None
    with encoding(encoder, state.device, compute_dtype(dtype, state.device.type)) as encoder:
        for batch in tqdm(token_batches(sizes, _PIECES), desc="embedding", disable=not state.is_main_process):
            chosen = [windows[number] for number in batch.tolist()]
            inputs = tokenizer(
                [sentences[row][first:last] for row, first, last, _ in chosen],
                is_split_into_words=True,
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            )
            hidden = encoder(**{name: value.to(state.device) for name, value in inputs.items()}).last_hidden_state
            hidden = hidden.float().cpu().numpy()
            if found is None:
                found = np.zeros((int(lengths.sum()), hidden.shape[-1]), dtype=np.float32)
            for number, (row, first, _, _) in enumerate(chosen):
                words = np.array([-1 if word is None else word for word in inputs.word_ids(number)])
                here, counts = np.unique(words[words >= 0], return_counts=True)
                sums = np.zeros((int(here.max(initial=-1)) + 1, hidden.shape[-1]), dtype=np.float32)
                np.add.at(sums, words[words >= 0], hidden[number, : len(words)][words >= 0])
                found[starts[row] + first + here] = sums[here] / counts[:, None]
    assert found is not None
    return found


def _windows(sentences: Sequence[list[str]], tokenizer: Any, room: int) -> list[tuple[int, int, int, int]]:
    """The row, first word, word after the last, and number of pieces of each window."""
    windows = []
    for row, words in enumerate(sentences):
        if not words:
            continue
        ids = tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False).word_ids()
        pieces = np.bincount([word for word in ids if word is not None], minlength=len(words))
        first, used = 0, 0
        for place, count in enumerate(pieces.tolist()):
            if used and used + count > room:
                windows.append((row, first, place, used))
                first, used = place, 0
            used += count
        windows.append((row, first, len(words), max(used, 1)))
    return windows
