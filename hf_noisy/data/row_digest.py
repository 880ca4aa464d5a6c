"""Digests of the content of rows, by which checked rows are found again in data that was shuffled, cut or extended."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Image

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT, TOKENS
from hf_noisy.data.texts import text_columns

_AT_ONCE = 256  # images, which may be large


def row_digests(dataset: Any) -> list[str]:
    """A short SHA-256 of each row's text (or pair of texts) and image, or of its `features` where it has neither.

    Labels, other columns and the position of a row do not matter. An image is known by its file, so one that was
    resized or compressed again is another row.

    Args:
        dataset: A `datasets.Dataset` with a column `text`, `image` or `features`.

    Returns:
        16 hexadecimal digits for each row.

    Raises:
        TypeError: If `dataset` is of another type.
        ValueError: If it has none of the columns, or an image file cannot be read.

    Example:
        >>> one, other, same = row_digests(Dataset.from_dict({"text": ["good", "bad", "good"], "label": [1, 0, 0]}))
        >>> one == same, one == other
        (True, False)
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"checked rows are found in a datasets.Dataset, got {type(dataset).__name__}; pass one split")
    names = dataset.column_names
    columns = text_columns(names) + [name for name in (TOKENS, IMAGE) if name in names]
    if not columns and FEATURES not in dataset.column_names:
        raise ValueError(
            f"rows are known by a column '{TEXT}', '{IMAGE}' or '{FEATURES}', but the data has "
            f"{', '.join(dataset.column_names)}; rename yours with dataset.rename_column"
        )
    contents = [_contents(dataset, name) for name in columns or [FEATURES]]
    return [_digest(parts) for parts in zip(*contents, strict=True)]


def _digest(parts: tuple[bytes, ...]) -> str:
    # The first digit is a letter: spreadsheets would turn 12345e6 into a number.
    return f"d{_sha256(parts).hexdigest()[:15]}"


def _sha256(parts: tuple[bytes, ...]) -> Any:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest


def row_keys(dataset: Dataset, columns: Sequence[str]) -> pa.FixedSizeBinaryArray:
    """16 bytes of a SHA-256 for each row of what the columns hold; an empty cell counts as an empty text."""
    contents = [_contents(dataset, name) for name in columns]
    keys = bytearray().join(_sha256(parts).digest()[:16] for parts in zip(*contents, strict=True))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(dataset), [None, pa.py_buffer(keys)])


def _contents(dataset: Dataset, column: str) -> Iterator[bytes]:
    chosen, feature = dataset.select_columns([column]), dataset.features[column]
    if column == FEATURES:
        for batch in chosen.with_format("numpy").iter(_AT_ONCE):
            yield from (np.asarray(vector, dtype="<f4").tobytes() for vector in batch[column])
        return
    # The format "arrow" gives what is stored: no transform runs, and no image is decoded.
    for batch in chosen.with_format("arrow").iter(_AT_ONCE):
        values = batch.column(column).combine_chunks()
        if isinstance(feature, Image):
            # Stored as bytes, or as the path of a file, which Parquet and the Hub replace by its bytes.
            yield from map(_image_bytes, feature.embed_storage(values).to_pylist())
        else:
            yield from (b"" if value is None else str(value).encode() for value in values.to_pylist())


def _image_bytes(image: dict[str, Any] | None) -> bytes:
    if image is None:
        return b""
    if image["bytes"] is None:
        raise ValueError(f"image '{image['path']}' cannot be read, so its row cannot be known again; check the path")
    stored: bytes = image["bytes"]
    return stored
