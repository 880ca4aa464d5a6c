"""One pass of a model over a data set: arrays by row, whatever the batches and the processes."""

import hashlib
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import set_seed

from hf_noisy.data.checks import label_column
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.dynamics.store import labels_digest


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
) -> list[np.ndarray]:
    """What `forward` makes of every row, in the order of the rows.

    Args:
        dataset: Map-style data set.
        forward: From a batch of inputs to tensors `[lead, batch, width]`.
        batches: Row indices of each batch; together every row once.
        collate: From rows, which carry their `index`, to `(indices, inputs)`.
        device: Where inputs go.
        dtype: Of the arrays.
        num_workers: Of the loader.
        progress: Text of the progress bar, or None.

    Returns:
        Arrays `[lead, rows, width]`, one for each tensor, on every process.
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
    parts = []
    for index, inputs in tqdm(
        loader, desc=progress, leave=False, disable=progress is None or not process.is_main_process
    ):
        tensors = forward({key: value.to(device) for key, value in inputs.items()})
        arrays = [value.float().cpu().numpy().astype(dtype) for value in tensors]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                f"a recorded value is not finite in {dtype}; train without overflow or pass dtype='float32'"
            )
        parts.append((index, arrays))
    return _by_row(gather_object(parts), len(dataset))


def _by_row(parts: list[tuple[list[int], list[np.ndarray]]], rows: int) -> list[np.ndarray]:
    index = np.concatenate([np.asarray(part[0]) for part in parts])
    if len(np.unique(index)) != rows:
        raise RuntimeError(f"only {len(np.unique(index))} of {rows} rows came back from the processes")
    arrays = []
    for position in range(len(parts[0][1])):
        values = np.concatenate([part[1][position] for part in parts], axis=1)
        ordered = np.empty((values.shape[0], rows, values.shape[2]), dtype=values.dtype)
        ordered[:, index] = values
        arrays.append(ordered)
    return arrays


def describe(dataset: Any) -> dict[str, Any]:
    """Number of rows, digest of the given labels, and a fingerprint of up to 256 evenly spaced rows."""
    column = label_column(dataset)
    given = None if column is None else np.asarray(dataset.with_format(None)[column][:])
    labels = None if given is None or given.dtype.kind not in "biu" else labels_digest(given)
    # The arrow format hands out an image as its bytes, not as an object decoded at some address.
    stored = dataset.with_format("arrow") if hasattr(dataset, "with_format") else dataset
    digest = hashlib.sha256()
    with random_state_kept():
        # A data set that draws as it is read has to give the same rows again at a resume.
        set_seed(0)
        for row in np.unique(np.linspace(0, len(stored) - 1, min(256, len(stored))).astype(int)):
            content = stored[int(row)]
            text = repr(content.to_pylist() if hasattr(content, "to_pylist") else content)
            digest.update(re.sub(r" at 0x[0-9a-f]+", "", text).encode())
    return {"rows": len(dataset), "labels": labels, "fingerprint": digest.hexdigest()}


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Random augmentation in a data set must not shift the random numbers of training."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
