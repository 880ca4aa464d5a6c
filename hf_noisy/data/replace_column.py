"""A column of a dataset with other values."""

from typing import Any

from datasets import Dataset


def with_column(dataset: Dataset, name: str, values: Any, feature: Any) -> Dataset:
    """The dataset with new values in a column, at the same position."""
    order = dataset.column_names
    # The old column is renamed first and removed last: a dataset without columns has no rows.
    renamed = dataset.rename_column(name, f"{name} before")
    return renamed.add_column(name, values, feature=feature).select_columns(order)
