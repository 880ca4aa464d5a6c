"""The texts of rows: one column, or two columns of sentence pairs."""

from collections.abc import Collection

from datasets import Dataset

from hf_noisy.core.columns import TEXT, TEXT_PAIR

_BETWEEN = "\n▸ "  # the texts of a pair


def text_columns(columns: Collection[str]) -> list[str]:
    """The columns of the texts: `text`, for pairs also `text_pair`, or none."""
    return [name for name in (TEXT, TEXT_PAIR) if name in columns] if TEXT in columns else []


def shown_texts(rows: Dataset) -> list[str] | None:
    """One string per row for people, both texts of a pair in one; None where there are no texts."""
    columns = text_columns(rows.column_names)
    if not columns:
        return None
    values = [rows.with_format(None)[name][:] for name in columns]
    return [_BETWEEN.join("" if text is None else str(text) for text in row) for row in zip(*values, strict=True)]
