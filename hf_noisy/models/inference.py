"""One pass of a model over a dataset, with outputs in row order whatever the batches and processes."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    SequenceFeatureExtractor,
    TrainingArguments,
    default_data_collator,
)

from hf_noisy.core.columns import LABEL, LABELS
from hf_noisy.core.rng import random_state_kept
from hf_noisy.data.indexed import IndexedDataset, IndexedRow, with_columns
from hf_noisy.data.row_layout import RowLayout
from hf_noisy.models.heads import accepted_inputs, labels_argument, named_inputs

Collator = Callable[[list[Any]], Any]

_GATHER_EVERY = 16  # rounds


@torch.no_grad()
def outputs_by_row(
    model: nn.Module,
    dataset: Any,
    forward: Callable[[dict[str, Tensor]], list[Tensor]],
    *,
    batches: list[list[int]],
    collate: Callable[[list[IndexedRow]], tuple[list[int], dict[str, Tensor]]],
    dtype: str = "float32",
    check_finite: bool = False,
    num_workers: int = 0,
    show_progress: str | None = None,
    processes: Literal["all", "main", "each"] = "all",
    layout: RowLayout | None = None,
) -> list[np.ndarray]:
    """Outputs of a model for every row of a dataset: arrays `[lead, rows, width]` in row order."""
    # `forward` maps the inputs of a batch to tensors `[lead, batch, width]`; `collate` (usually [`ModelInputs`]) maps
    # indexed rows to `(positions, inputs)`; `show_progress` is the text of the bar. Processes share the rows,
    # and "all" of them or only the "main" one get the arrays; with "each", every process runs over all rows. With a
    # `layout`, the tensors have the rows of the examples of the batch instead of one for each.
    rank, ranks = 0, 1
    if processes != "each":
        rank, ranks = PartialState().process_index, PartialState().num_processes
    # All processes run the same number of batches, as sharded models need all of them in each forward pass; rows that
    # run twice give the same values.
    rounds = math.ceil(len(batches) / ranks)
    mine = [batches[(rank + i * ranks) % len(batches)] for i in range(rounds)]
    needed = collate.needed(dataset) if isinstance(collate, ModelInputs) else dataset
    loader = DataLoader(IndexedDataset(needed), batch_sampler=mine, collate_fn=collate, num_workers=num_workers)
    device, keeps = _device(model), processes != "main" or rank == 0
    rows = _Rows(len(dataset) if layout is None else layout.num_rows, dtype)
    parts: list[tuple[list[int], list[np.ndarray]]] = []
    with evaluating(model), random_state_kept():
        # Given the loader itself, tqdm would make a second iterator with its own worker processes.
        silent = show_progress is None or rank > 0
        bar = tqdm(iter(loader), desc=show_progress, total=rounds, leave=False, disable=silent)
        for number, (index, inputs) in enumerate(bar, start=1):
            tensors = forward({key: value.to(device) for key, value in inputs.items()})
            arrays = [value.float().cpu().numpy().astype(dtype) for value in tensors]
            if check_finite and not all(np.isfinite(array).all() for array in arrays):
                raise ValueError(
                    f"a recorded value is not finite in {dtype}; train without overflow or pass dtype='float32'"
                )
            parts.append((index if layout is None else layout.rows_of(index).tolist(), arrays))
            if number == rounds or ranks == 1 or number % _GATHER_EVERY == 0:
                for part in parts if processes == "each" else gather_object(parts):
                    if keeps:
                        rows.put(*part)
                parts.clear()
    return rows.complete() if keeps else []


def outputs_in_training(
    model: nn.Module,
    dataset: Any,
    forward: Callable[[dict[str, Tensor]], list[Tensor]],
    args: TrainingArguments,
    collator: Collator,
    *,
    batch_size: int | None = None,
    with_labels: bool = False,
    **options: Any,
) -> list[np.ndarray]:
    """[`outputs_by_row`] with the arguments and the collator of a trainer."""
    all_columns = not args.remove_unused_columns or getattr(collator, "all_columns", False)
    return outputs_by_row(
        model,
        dataset,
        forward,
        batches=batches_of(dataset, batch_size or args.per_device_eval_batch_size),
        collate=ModelInputs(collator, model, all_columns=all_columns, with_labels=with_labels),
        num_workers=args.dataloader_num_workers,
        **options,
    )


class _Rows:
    """Arrays in row order, allocated when the first rows arrive."""

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
            raise RuntimeError(f"only {self.seen.sum()} of {len(self.seen)} rows were computed")
        return self.arrays


@contextmanager
def evaluating(model: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Put the model in evaluation mode and, if given, on `device`; afterwards restore both."""
    before, was_training = _device(model), model.training
    if moves := device is not None and device != before:
        model.to(device)
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        if moves:
            model.to(before)


@contextmanager
def encoding(encoder: Any, device: torch.device, dtype: str) -> Iterator[Any]:
    """The encoder on a device, in evaluation mode and without gradients; for bfloat16 a copy in that format."""
    # Autocast computes everything but matrix products in float32, which takes a tenth longer.
    if dtype == "bfloat16":
        exact = {name: buffer for name, buffer in encoder.named_buffers() if name.endswith("inv_freq")}
        encoder = copy.deepcopy(encoder).to(torch.bfloat16)
        for name, buffer in encoder.named_buffers():
            if name in exact:  # of rotary positions, which bfloat16 would move
                buffer.data = exact[name].clone()
        if device.type == "cpu":
            unfuse_attention(encoder)
    try:
        with evaluating(encoder, device), random_state_kept(), torch.no_grad():
            yield encoder
    except RuntimeError as error:
        if dtype == "bfloat16" and "dtype" in str(error).lower():
            raise ValueError(f"{type(encoder).__name__} does not compute in bfloat16; take dtype='float32'") from error
        raise


def unfuse_attention(model: Any) -> None:
    """For bfloat16 on a CPU: fused attention does not use its bfloat16 units, and is slow with dropout."""
    if getattr(getattr(model, "config", None), "_attn_implementation", None) == "sdpa":
        model.set_attn_implementation("eager")


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def batches_by_length(lengths: Sequence[int] | Int64[np.ndarray, " rows"], batch_size: int) -> list[list[int]]:
    """Row indices of each batch, sorted by length to minimise padding."""
    order = np.argsort(lengths, kind="stable")
    return [order[first : first + batch_size].tolist() for first in range(0, len(order), batch_size)]


def batches_of(dataset: Any, batch_size: int) -> list[list[int]]:
    """Row indices of each batch: sorted by length for tokenized texts, else in order."""
    lengths = token_lengths(dataset)
    return batches_by_length([0] * len(dataset) if lengths is None else lengths, batch_size)


def token_lengths(dataset: Any) -> Int64[np.ndarray, " rows"] | None:
    """Number of tokens of each row, read from Arrow; None if the rows are not tokenized texts."""
    if not isinstance(dataset, Dataset) or "input_ids" not in dataset.column_names or not len(dataset):
        return None
    tokens = dataset.with_format("arrow", columns=["input_ids"])[:]["input_ids"]
    if not (pa.types.is_list(tokens.type) or pa.types.is_large_list(tokens.type)):
        return None
    return np.asarray(pc.list_value_length(tokens).fill_null(0)).astype(np.int64)


def default_collator(processing_class: Any) -> Collator:
    """The default collator of `Trainer`, which pads if there is a tokenizer."""
    if isinstance(processing_class, PreTrainedTokenizerBase | SequenceFeatureExtractor):
        padding: Collator = DataCollatorWithPadding(cast(Any, processing_class))
        return padding
    return default_data_collator


class ModelInputs:
    """Collates indexed rows to `(positions, inputs)`, where `inputs` holds only what the model accepts."""

    def __init__(
        self, collator: Collator, model: nn.Module, *, all_columns: bool = False, with_labels: bool = False
    ) -> None:
        self.collator, self.with_labels = collator, with_labels
        # Default collators make tensors of labels, which may fail; other collators often require labels.
        is_default = collator is default_data_collator or type(collator) is DataCollatorWithPadding
        self.labels_argument = labels_argument(model)
        self.collates_labels = with_labels or not is_default or self.labels_argument is not None
        self.accepted = accepted_inputs(model)
        named = named_inputs(model) if self.accepted is None else self.accepted
        # A custom collator may make inputs of columns that the model does not accept.
        self.columns = None if all_columns or named <= {LABEL, LABELS} else named

    def needed(self, dataset: Any) -> Any:
        """The dataset without columns that are not collated, so that they are not read."""
        return dataset if self.columns is None else with_columns(dataset, {*self.columns, LABEL, LABELS})

    def __call__(self, rows: list[IndexedRow]) -> tuple[list[int], dict[str, Tensor]]:
        batch = self.collator([self._collated(row) for _, row in rows])
        return [position for position, _ in rows], {key: value for key, value in batch.items() if self._keeps(key)}

    def _collated(self, row: Any) -> Any:
        if not isinstance(row, Mapping):
            return row  # only a collator of the user's knows what it holds
        return {key: value for key, value in row.items() if self._collates(key)}

    def _collates(self, key: str) -> bool:
        if key in (LABEL, LABELS):
            return self.collates_labels
        return self.columns is None or key in self.columns

    def _keeps(self, key: str) -> bool:
        if key in (LABEL, LABELS):
            return (self.with_labels and key == LABELS) or key == self.labels_argument
        return self.accepted is None or key in self.accepted
