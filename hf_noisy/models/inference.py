"""One pass of a model over a data set: arrays by row, whatever the batches and the processes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from hf_noisy.data.indexed import IndexedDataset

_ROUNDS_A_GATHER = 16


@torch.no_grad()
def extract_rows(
    dataset: Any,
    forward: Callable[[dict[str, Tensor]], list[Tensor]],
    *,
    batches: list[list[int]],
    collate: Callable[[list[Any]], tuple[list[int], dict[str, Tensor]]],
    device: torch.device,
    dtype: str,
    num_workers: int = 0,
    progress: str | None = None,
    everywhere: bool = True,
) -> list[np.ndarray]:
    """What `forward` makes of every row, in the order of the rows.

    Beside the arrays themselves, no more than a few batches are in memory.

    Args:
        dataset: Map-style data set.
        forward: From a batch of inputs to tensors `[lead, batch, width]`.
        batches: Row indices of each batch; together every row once.
        collate: From rows, which carry their `index`, to `(indices, inputs)`.
        device: Where inputs go.
        dtype: Of the arrays.
        num_workers: Of the loader.
        progress: Text of the progress bar, or None.
        everywhere: Whether every process is to have the arrays, or the main one alone.

    Returns:
        Arrays `[lead, rows, width]`, one for each tensor; empty on a process that is not to have them.

    Raises:
        ValueError: If a value is not finite in `dtype`.
        RuntimeError: If a row did not come back.
    """
    process = PartialState()
    # Every rank runs as many batches as any other (a sharded model needs all ranks in each forward); rows that come
    # back twice are written twice with the same values.
    rounds = math.ceil(len(batches) / process.num_processes)
    mine = [batches[(process.process_index + i * process.num_processes) % len(batches)] for i in range(rounds)]
    loader = DataLoader(
        IndexedDataset(dataset),
        batch_sampler=mine,
        collate_fn=collate,
        num_workers=num_workers,
    )
    parts: list[tuple[list[int], list[np.ndarray]]] = []
    keeps, rows = everywhere or process.is_main_process, _Rows(len(dataset), dtype)
    quiet = progress is None or not process.is_main_process
    for number, (index, inputs) in enumerate(tqdm(loader, desc=progress, leave=False, disable=quiet), start=1):
        tensors = forward({key: value.to(device) for key, value in inputs.items()})
        arrays = [value.float().cpu().numpy().astype(dtype) for value in tensors]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                f"a recorded value is not finite in {dtype}; train without overflow or pass dtype='float32'"
            )
        parts.append((index, arrays))
        # All ranks run as many rounds, so all of them meet here.
        if number == rounds or process.num_processes == 1 or number % _ROUNDS_A_GATHER == 0:
            for part in gather_object(parts):
                if keeps:
                    rows.put(*part)
            parts.clear()
    return rows.complete() if keeps else []


class _Rows:
    """Arrays by row, made when the first rows come and filled as they come."""

    def __init__(self, count: int, dtype: str) -> None:
        self.arrays: list[np.ndarray] = []
        self.dtype, self.seen = dtype, np.zeros(count, bool)

    def put(self, index: list[int], arrays: list[np.ndarray]) -> None:
        if not self.arrays:
            self.arrays = [np.empty((len(a), len(self.seen), a.shape[2]), self.dtype) for a in arrays]
        for kept, values in zip(self.arrays, arrays, strict=True):
            kept[:, index] = values
        self.seen[index] = True

    def complete(self) -> list[np.ndarray]:
        if not self.seen.all():
            raise RuntimeError(f"only {self.seen.sum()} of {len(self.seen)} rows came back from the processes")
        return self.arrays
