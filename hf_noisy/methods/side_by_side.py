"""Both views of a batch in one forward pass."""

from typing import Any

import torch
from torch import Tensor

from hf_noisy.core.rows import Rows
from hf_noisy.methods.method import Batch
from hf_noisy.methods.missing_labels import given_label_rows


def side_by_side(batch: Batch, method: str) -> dict[str, Any]:
    """The inputs of both views as one batch."""
    first, second = batch.inputs, batch.second_view
    assert second is not None  # the method has checked it
    for name in sorted(first.keys() | second.keys()):
        one, two = first.get(name), second.get(name)
        if not isinstance(one, Tensor) or not isinstance(two, Tensor) or one.shape != two.shape:
            raise ValueError(
                f"method {method!r} needs {name} of both views as tensors of one shape, got {_shape(one)} and "
                f"{_shape(two)}; pad the views together, as TwoViews does"
            )
    return {name: torch.cat([first[name], second[name]]) for name in first}


def rows_side_by_side(batch: Batch, outputs: Any) -> Rows:
    """The rows of logits of both views, each with the labels and indices of the batch."""
    rows = batch.task.rows(outputs, torch.cat([batch.labels] * 2), torch.cat([batch.index] * 2))
    return given_label_rows(rows, batch.missing_rate)


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
