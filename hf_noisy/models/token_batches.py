"""Token ids of many texts in compact arrays, and batches of texts of about the same length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Int64
from torch import Tensor
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from hf_noisy.data.texts import cut


@dataclass(frozen=True)
class TokenizedTexts:
    """What a tokenizer returns for texts without padding: for each name one flat array and where each text starts."""

    tokenizer: Any
    values: dict[str, np.ndarray]
    starts: dict[str, Int64[np.ndarray, " texts_and_one"]]

    @property
    def lengths(self) -> Int64[np.ndarray, " texts"]:
        """The number of tokens of each text."""
        return np.diff(self.starts[self.tokenizer.model_input_names[0]])

    def padded(self, texts: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """The inputs of the model for some texts, padded to the longest of them, and to one token at least."""
        rows = {
            name: [self.values[name][starts[i] : starts[i + 1]].tolist() for i in texts]
            for name, starts in self.starts.items()
        }
        longest = max(1, *map(len, rows[self.tokenizer.model_input_names[0]]))
        padding = {"padding": "max_length", "max_length": longest, "return_tensors": "pt"}
        return dict(pad_without_fast_tokenizer_warning(self.tokenizer, rows, **padding))


def tokenize(parts: Iterable[Sequence[Sequence[str]]], tokenizer: Any, limit: int | None) -> TokenizedTexts:
    """Tokenise texts part by part; a part is a list of texts, or the two lists of the texts of pairs."""
    values: dict[str, list[np.ndarray]] = {}
    lengths: dict[str, list[np.ndarray]] = {}
    for texts in parts:
        found = tokenizer(
            *(cut(column, limit) for column in texts),
            truncation=limit is not None,
            max_length=limit,
            return_attention_mask=False,  # padding makes it
        )
        for name, rows in found.items():
            flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
            values.setdefault(name, []).append(flat.astype(np.min_scalar_type(flat.max(initial=0))))
            lengths.setdefault(name, []).append(np.fromiter(map(len, rows), dtype=np.int64))
    return TokenizedTexts(
        tokenizer,
        {name: np.concatenate(of) for name, of in values.items()},
        {name: np.concatenate([[0], np.cumsum(np.concatenate(of))]) for name, of in lengths.items()},
    )


def token_batches(lengths: Int64[np.ndarray, " texts"], budget: int) -> list[Int64[np.ndarray, " batch"]]:
    """Batches of at most `budget` tokens with padding, or of one text; the longest texts first."""
    order = np.argsort(-lengths, kind="stable")
    batches, first = [], 0
    while first < len(order):
        rows = max(budget // max(int(lengths[order[first]]), 1), 1)
        batches.append(order[first : first + rows])
        first += rows
    return batches
