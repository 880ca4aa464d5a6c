"""A view of a row that is another row, for methods that mix rows."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer

from hf_noisy.core.columns import SECOND_VIEW
from hf_noisy.core.rng import uniforms
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.data.views import Row

_STREAM = "second_view"  # of the numbers that `TwoViews` draws for a view


class OtherRow:
    """View that is a random row of the training set, the same for a row however batches are cut."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._rows: IndexedDataset | None = None

    def attach(self, dataset: Any) -> None:
        """Draw from these rows; the training loader calls it."""
        self._rows = IndexedDataset(dataset)
        if any(str(name).startswith(SECOND_VIEW) for name in getattr(dataset, "column_names", None) or []):
            raise ValueError(
                f"rows have a second view of their own, but this method mixes each row with another one; remove the "
                f"columns that begin with {SECOND_VIEW}"
            )

    def size(self, row: Row) -> int:
        return 1

    def __call__(self, row: Row, numbers: Float64[np.ndarray, " size"]) -> dict[str, Any]:
        if self._rows is None:
            raise RuntimeError("no rows to draw from; train with NoisyTrainer")
        return dict(self._rows[int(_positions(numbers, len(self._rows))[0])].row)


def other_rows(
    index: Integer[np.ndarray, " rows"], num_rows: int, seed: int, epoch: int
) -> Int64[np.ndarray, " rows"]:
    """The rows that [`OtherRow`] draws for some rows in an epoch."""
    return _positions(uniforms(seed, stream=_STREAM, index=index, size=1, epoch=epoch)[:, 0], num_rows)


def _positions(numbers: Float64[np.ndarray, " rows"], num_rows: int) -> Int64[np.ndarray, " rows"]:
    return (numbers * num_rows).astype(np.int64)
