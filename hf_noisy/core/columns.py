"""The names of columns, and columns as arrays without a Python object for each value."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

ROW_NUMBER = "hf_noisy_row"  # in training batches, added outside of the user's collator; no model has such an input
LABEL = "label"
LABELS = "labels"
CLEAN_LABEL = "clean_label"
CHECKED_LABEL = "checked_label"  # the class that a person found; missing where nobody looked
CHECKED_LABELS = "checked_labels"  # the same in the form of `labels`, for tokens and several labels
VOTES = "votes"
TEXT = "text"
TEXT_PAIR = "text_pair"  # the second text of a sentence pair
TOKENS = "tokens"  # the words of a sentence, with a list of tags as its label
IMAGE = "image"
FEATURES = "features"  # frozen vectors of an encoder
SECOND_VIEW = "second_view_"  # begins the names of the inputs of a second view of the same rows

# What purification adds to a row.
LABEL_GIVEN = "label_given"
LABEL_POSTERIOR = "label_posterior"
LABEL_CONFIDENCE = "label_confidence"
LABEL_CHANGED = "label_changed"
LABEL_CHECKED = "label_checked"
LABEL_WEIGHT = "label_weight"
PURIFIER = "purifier"
ROW_GIVEN = "row_given"  # where a row stood before some were dropped

# What an audit adds.
LABEL_QUALITY = "label_quality"
LABEL_SUSPECTED = "label_suspected"
LABEL_SUGGESTED = "label_suggested"
LABEL_DISAGREEMENT = "label_disagreement"  # with votes


def stored_column(dataset: "Dataset", column: str) -> "pa.ChunkedArray":
    """The values as they are stored, in the order of the rows, whatever the format of the dataset."""
    values: pa.ChunkedArray = dataset.data.column(column)
    # After `select` or `shuffle`; the formats of `datasets` would read row by row.
    indices = dataset._indices
    return values if indices is None else values.take(indices.column(0))


def column_array(dataset: "Dataset", column: str) -> Shaped[np.ndarray, "rows ..."]:
    """The values as an array: numbers, and lists of one length as rows of a matrix; all others as Python objects.

    Missing values and lists of several lengths are Python objects too. A matrix may be a read-only view of a file.
    """
    values = stored_column(dataset, column)
    parts = [_numbers(chunk) for chunk in values.chunks if len(chunk) or values.num_chunks == 1]
    if not parts or any(part is None or part.shape[1:] != parts[0].shape[1:] for part in parts):  # type: ignore[union-attr]
        objects = np.empty(len(values), dtype=object)
        objects[:] = values.to_pylist()
        return objects
    found: list[np.ndarray] = [part for part in parts if part is not None]
    return found[0] if len(found) == 1 and found[0].ndim > 1 else np.concatenate(found)


def column_vectors(dataset: "Dataset", column: str) -> Shaped[np.ndarray, "rows ..."]:
    """The vectors of a column, float32 if they hold fractions and int64 if not, as the format "numpy" gives them."""
    values = column_array(dataset, column)
    kinds: dict[str, Any] = {"f": np.float32, "i": np.int64, "u": np.int64}
    return values.astype(kinds.get(values.dtype.kind, values.dtype), copy=False)


def _numbers(values: "pa.Array") -> np.ndarray | None:
    """A chunk as an array, None if it holds anything but numbers and lists of one length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):  # Array2D and its like
        return _numbers(values.storage)
    if values.null_count:
        return None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if not pa.types.is_fixed_size_list(kind):
            lengths = pc.min_max(pc.list_value_length(values))
            width = lengths["max"].as_py()
            if width is None or lengths["min"].as_py() != width:
                return None
        else:
            width = kind.list_size
        inner = _numbers(values.flatten())
        return None if inner is None else inner.reshape(len(values), width, *inner.shape[1:])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    return np.asarray(values.to_numpy(zero_copy_only=False))
