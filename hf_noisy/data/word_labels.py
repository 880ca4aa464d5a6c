"""Labels of words for the tokens of a tokenizer, as the example script `run_ner` of transformers makes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from hf_noisy.core.columns import LABELS
from hf_noisy.core.token_task import NO_LABEL


def tokenize_and_align_labels(
    rows: Mapping[str, Sequence[Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    words: str = "tokens",
    tags: str = "ner_tags",
    label_all_tokens: bool = False,
    names: Sequence[str] | None = None,
    **options: Any,
) -> BatchEncoding:
    """Tokenize sentences that are split into words, and give each token the label of its word, for `Dataset.map`.

    The first token of a word gets its label; special tokens and the further pieces of the word get -100, which is no
    label. Words that truncation cuts off have no row.

    Args:
        rows: A batch of columns, with lists of words and of class ids.
        tokenizer: A fast tokenizer.
        words: Column of the lists of words.
        tags: Column of the lists of class ids, one for each word; negative where a word has none.
        label_all_tokens: Whether the further pieces of a word get its label too.
        names: With `label_all_tokens`, names of the classes: then the further pieces of a word `B-X` get `I-X`.
        options: For the tokenizer, such as `max_length`; truncation is on.

    Returns:
        The encoding, with `labels`.

    Raises:
        ValueError: If the tokenizer is not a fast one, or a sentence has more or fewer tags than words.

    Example:
        ```python
        train = train.map(tokenize_and_align_labels, batched=True, fn_kwargs={"tokenizer": tokenizer})
        ```
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} does not say which word a token is of; load a fast tokenizer (use_fast=True)"
        )
    for row, (sentence, given) in enumerate(zip(rows[words], rows[tags], strict=True)):
        if len(sentence) != len(given):
            raise ValueError(
                f"row {row} of the batch has {len(sentence)} words in '{words}' but {len(given)} tags in '{tags}'; "
                "give each word one tag"
            )
    encoded: BatchEncoding = tokenizer(list(rows[words]), is_split_into_words=True, **{"truncation": True, **options})
    inside = _inside(names)
    encoded[LABELS] = [
        _token_labels(encoded.word_ids(row), given, label_all_tokens, inside) for row, given in enumerate(rows[tags])
    ]
    return encoded


def _token_labels(
    word_ids: list[int | None], given: Sequence[int], label_all_tokens: bool, inside: Mapping[int, int]
) -> list[int]:
    labels, previous = [], None
    for word in word_ids:
        if word is None:
            labels.append(NO_LABEL)
        elif word != previous:
            labels.append(int(given[word]) if given[word] >= 0 else NO_LABEL)
        elif label_all_tokens and given[word] >= 0:
            labels.append(inside.get(int(given[word]), int(given[word])))
        else:
            labels.append(NO_LABEL)
        previous = word
    return labels


def _inside(names: Sequence[str] | None) -> dict[int, int]:
    """The class id of `I-X` for that of `B-X`."""
    known = list(names or ())
    pairs = {index: f"I-{name[2:]}" for index, name in enumerate(known) if name.startswith("B-")}
    return {index: known.index(name) for index, name in pairs.items() if name in known}
