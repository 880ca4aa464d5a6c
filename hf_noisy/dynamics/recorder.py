"""A callback that records how every row moves through the embedding space while training goes on."""

import hashlib
import inspect
import math
import random
import re
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import (
    DataCollatorWithPadding,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    default_data_collator,
)

from hf_noisy.columns import INDEX, LABEL, LABELS
from hf_noisy.data.checks import label_column
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.dynamics.store import FOLDER, MANIFEST, Trajectories, labels_digest
from hf_noisy.models.features import HeadInputs, find_heads, num_classes


class DynamicsRecorder(TrainerCallback):
    """Records embeddings and logits of whole data sets after every epoch, for any `Trainer`.

    For each row: the embedding that the classification head saw and the logits, per branch, as float16 files in
    `output_dir/_trajectories`. Rows are stored by index whatever the sampler, the batch size or the number of
    processes; training itself is not changed by a single random number.

    Args:
        datasets: Data sets by name, for example `{"train": train, "test": test}`, as given to the trainer.
        output_dir: Where the folder goes; defaults to the trainer's `output_dir`.
        data_collator: Makes batches; defaults to padding with the trainer's processing class where it can pad.
        batch_size: Rows a forward pass; defaults to `per_device_eval_batch_size`.
        dtype: `"float16"` or `"float32"`.

    Raises:
        TypeError: If a data set has no length.
        ValueError: If a resumed run continues trajectories of other data.

    Example:
        ```python
        recorder = DynamicsRecorder({"train": train})
        trainer = Trainer(model, args, train_dataset=train, callbacks=[recorder])
        trainer.train()
        trajectories = recorder.trajectories
        ```
    """

    def __init__(
        self,
        datasets: dict[str, Any],
        output_dir: str | Path | None = None,
        *,
        data_collator: Callable[[list[Any]], Any] | None = None,
        batch_size: int | None = None,
        dtype: str = "float16",
    ) -> None:
        if not datasets:
            raise ValueError("datasets is empty; name at least one, for example {'train': train_dataset}")
        if dtype not in ("float16", "float32"):
            raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}")
        for name, dataset in datasets.items():
            if not isinstance(dataset, Sized):
                raise TypeError(
                    f"dataset {name!r} is a {type(dataset).__name__} without a length, so its rows cannot be "
                    "recorded by index; load it without streaming"
                )
        self.datasets = datasets
        self.output_dir = output_dir
        self.data_collator = data_collator
        self.batch_size = batch_size
        self.dtype = dtype
        self._trajectories: Trajectories | None = None
        self._batches: dict[str, list[list[int]]] = {}

    @property
    def trajectories(self) -> Trajectories:
        """What has been recorded."""
        if self._trajectories is None:
            raise ValueError("nothing was recorded yet; train first")
        return Trajectories(self._trajectories.path)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        folder = Path(self.output_dir or args.output_dir) / FOLDER
        model = kwargs["model"]
        splits = {name: _describe(dataset) for name, dataset in self.datasets.items()}
        expected = {"num_classes": num_classes(model), "num_branches": len(find_heads(model)), "splits": splits}
        if state.global_step and (folder / MANIFEST).is_file():
            self._trajectories = Trajectories(folder)
            for key, value in expected.items():
                if self._trajectories.manifest[key] != value:
                    raise ValueError(
                        f"trajectories at {folder} belong to another dataset or model: {key} differ; resume with the "
                        "data and the model of the first run"
                    )
            # A checkpoint of an epoch's last step is written before on_epoch_end, which never fires after a resume.
            epoch = round(state.epoch or 0)
            if state.epoch == epoch and epoch not in self._trajectories.epochs:
                self._record(args, epoch, kwargs)
        else:
            self._trajectories = None
            self._expected = expected

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Training may stop within an epoch (max_steps): what was seen of it counts as that epoch.
        self._record(args, math.ceil((state.epoch or 0) - 1e-6), kwargs)

    @torch.no_grad()
    def _record(self, args: TrainingArguments, epoch: int, kwargs: dict[str, Any]) -> None:
        model: nn.Module = kwargs["model"]
        was_training = model.training
        model.eval()
        with _random_state_kept(), HeadInputs(model) as heads:
            for name in self.datasets:
                embeddings, logits = self._extract(name, model, heads, args, kwargs.get("processing_class"))
                if PartialState().is_main_process:
                    self._store(args, embeddings.shape[-1]).write(name, epoch, embeddings, logits)
        model.train(was_training)
        PartialState().wait_for_everyone()

    def _store(self, args: TrainingArguments, dim: int) -> Trajectories:
        if self._trajectories is None:
            folder = Path(self.output_dir or args.output_dir) / FOLDER
            self._trajectories = Trajectories.create(folder, {**self._expected, "dim": dim, "dtype": self.dtype})
        return self._trajectories

    def _extract(
        self, name: str, model: nn.Module, heads: HeadInputs, args: TrainingArguments, processing_class: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        process = PartialState()
        batches = self._batches_of(name, self.batch_size or args.per_device_eval_batch_size)
        # Every rank runs as many batches as any other (a sharded model needs all ranks in each forward); rows that
        # come back twice are written twice with the same values.
        rounds = math.ceil(len(batches) / process.num_processes)
        mine = [batches[(process.process_index + i * process.num_processes) % len(batches)] for i in range(rounds)]
        loader = DataLoader(
            IndexedDataset(self.datasets[name]),  # type: ignore[arg-type]
            batch_sampler=mine,
            collate_fn=_Collate(self.data_collator or _default_collator(processing_class), model),
            num_workers=args.dataloader_num_workers,
        )
        device = next(model.parameters()).device
        parts = []
        for index, inputs in tqdm(
            loader, desc=f"recording {name}", leave=False, disable=args.disable_tqdm or not process.is_main_process
        ):
            outputs = model(**{key: value.to(device) for key, value in inputs.items()})
            seen = torch.stack([value.float() for value in heads.pop()])
            logits = getattr(outputs, "branch_logits", None)
            logits = outputs.logits[None] if logits is None else logits.transpose(0, 1)
            parts.append((index, seen.cpu().numpy().astype(self.dtype), logits.float().cpu().numpy().astype(self.dtype)))
        return _by_row(gather_object(parts), len(self.datasets[name]))

    def _batches_of(self, name: str, batch_size: int) -> list[list[int]]:
        if name not in self._batches:
            dataset = self.datasets[name]
            order = np.arange(len(dataset))
            if "input_ids" in (getattr(dataset, "column_names", None) or []):
                # Rows of one length in one batch: padding is most of the cost of short texts.
                lengths = np.array([len(row) for row in dataset.with_format(None)["input_ids"]])
                order = np.argsort(lengths, kind="stable")
            self._batches[name] = [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
        return self._batches[name]


class _Collate:
    """Batches of what the model accepts, and the rows they are."""

    def __init__(self, collator: Callable[[list[Any]], Any], model: nn.Module) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.collator = collator
        self.accepted = set(inspect.signature(base.forward).parameters) - {LABELS, LABEL}  # type: ignore[arg-type]

    def __call__(self, rows: list[dict[str, Any]]) -> tuple[list[int], dict[str, torch.Tensor]]:
        index = [int(row[INDEX]) for row in rows]
        batch = self.collator([{key: value for key, value in row.items() if key in self.accepted} for row in rows])
        return index, dict(batch)


def _default_collator(processing_class: Any) -> Callable[[list[Any]], Any]:
    if hasattr(processing_class, "pad"):
        collator: Callable[[list[Any]], Any] = DataCollatorWithPadding(processing_class)
        return collator
    return default_data_collator


def _by_row(parts: list[tuple[list[int], np.ndarray, np.ndarray]], rows: int) -> tuple[np.ndarray, np.ndarray]:
    index = np.concatenate([np.asarray(part[0]) for part in parts])
    if len(np.unique(index)) != rows:
        raise RuntimeError(f"only {len(np.unique(index))} of {rows} rows came back from the processes")
    arrays = []
    for position in (1, 2):
        values = np.concatenate([part[position] for part in parts], axis=1)
        ordered = np.empty((values.shape[0], rows, values.shape[2]), dtype=values.dtype)
        ordered[:, index] = values
        arrays.append(ordered)
    return arrays[0], arrays[1]


def _describe(dataset: Any) -> dict[str, Any]:
    """Number of rows, digest of the given labels, and a fingerprint of up to 256 evenly spaced rows."""
    column = label_column(dataset)
    labels = None if column is None else labels_digest(np.asarray(dataset.with_format(None)[column][:]))
    # The arrow format hands out an image as its bytes, not as an object decoded at some address.
    stored = dataset.with_format("arrow") if hasattr(dataset, "with_format") else dataset
    digest = hashlib.sha256()
    for row in np.unique(np.linspace(0, len(stored) - 1, min(256, len(stored))).astype(int)):
        content = stored[int(row)]
        text = repr(content.to_pylist() if hasattr(content, "to_pylist") else content)
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", text).encode())
    return {"rows": len(dataset), "labels": labels, "fingerprint": digest.hexdigest()}


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Random augmentation in a data set must not shift the random numbers of training."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
