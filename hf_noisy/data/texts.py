"""The texts of rows: one column, or two columns of sentence pairs."""

from collections.abc import Collection, Sequence

from datasets import Dataset

from hf_noisy.core.columns import TEXT, TEXT_PAIR, TOKENS

_CHARACTERS_OF_A_TOKEN = 1000
_BETWEEN = "\n▸ "  # the texts of a pair


def text_columns(columns: Collection[str]) -> list[str]:
    """The columns of the texts: `text`, for pairs also `text_pair`, or none."""
    return [name for name in (TEXT, TEXT_PAIR) if name in columns] if TEXT in columns else []


def count_empty(rows: Dataset) -> int:
    """The number of rows with an empty text, or a text of spaces."""
    texts = [rows.with_format(None)[name][:] for name in text_columns(rows.column_names)]
    return sum(not all((text or "").strip() for text in row) for row in zip(*texts, strict=True))


def shown_texts(rows: Dataset) -> list[str] | None:
    """One string per row for people, both texts of a pair in one; None where there are no texts."""
    columns = text_columns(rows.column_names)
    if not columns and TOKENS in rows.column_names:
        return [" ".join(words) for words in rows.with_format(None)[TOKENS][:]]
    if not columns:
        return None
    values = [rows.with_format(None)[name][:] for name in columns]
    return [_BETWEEN.join("" if text is None else str(text) for text in row) for row in zip(*values, strict=True)]


def cut(texts: Sequence[str], max_tokens: int | None) -> list[str]:
    """The beginning of each text, longer than any `max_tokens` tokens."""
    # A tokenizer needs about 80 bytes for each character that it reads, also of those that it then cuts off.
    if max_tokens is None:
        return list(texts)
    return [text[: max_tokens * _CHARACTERS_OF_A_TOKEN] for text in texts]
