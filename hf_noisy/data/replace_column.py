"""A column of a dataset with new values."""

from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features
from datasets.fingerprint import Hasher


def with_column(dataset: Dataset, name: str, values: Any, feature: Any = None) -> Dataset:
    """The dataset with these values in a column, where an earlier column of that name was, else at the end."""
    order = dataset.column_names
    kind = None if feature is None else Features({name: feature}).arrow_schema.field(name).type
    stored = _stored(values, kind)
    # `datasets` would pickle every value for the fingerprint; this is of their content too.
    content = [batch.serialize() for batch in pa.table({name: stored}).to_batches()]
    fingerprint = Hasher.hash_bytes([repr((dataset._fingerprint, name, feature, stored.type)).encode(), *content])
    if name not in order:
        return dataset.add_column(name, stored, new_fingerprint=fingerprint, feature=feature)
    # The old column is renamed first and removed last: a dataset without columns has no rows.
    renamed = dataset.rename_column(name, f"{name} before")
    return renamed.add_column(name, stored, new_fingerprint=fingerprint, feature=feature).select_columns(order)


def _stored(values: Any, kind: pa.DataType | None) -> pa.Array:
    """The values as an Arrow array, numbers without a Python object for each."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values).ravel())
        values = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        return pa.array(values, type=kind)
    return values if kind is None or values.type == kind else values.cast(kind)
