"""A callback that records how every row moves through the embedding space while training goes on."""

import math
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import RemoveColumnsCollator
from transformers.utils import logging

from hf_noisy.core.files import check_file_name
from hf_noisy.core.rng import random_state_kept
from hf_noisy.data.fingerprint import describe
from hf_noisy.dynamics.projection import projection_matrix
from hf_noisy.dynamics.store import FOLDER, MANIFEST, Trajectories
from hf_noisy.models.heads import HeadInputs, find_heads, num_classes
from hf_noisy.models.inference import Collator, ModelInputs, batches_of, outputs_by_row
from hf_noisy.models.pooling import has_pooled_features, pooled_features

logger = logging.get_logger(__name__)


class DynamicsRecorder(TrainerCallback):
    """Records embeddings and logits of whole data sets after every epoch, for any `Trainer`.

    For each row: the embedding that the classification head saw and the logits, per branch, as float16 files in
    `output_dir/_trajectories`, and once, before the first step, the mean of the pretrained encoder's last hidden
    states, which no noisy label of this training has touched. Rows are stored by index whatever the sampler, the batch
    size or the number of processes; training itself is not changed by a single random number.

    Args:
        datasets: Data sets by name, for example `{"train": train, "test": test}`, as given to the trainer.
        output_dir: Where the folder goes; defaults to the trainer's `output_dir`.
        data_collator: Makes batches; defaults to the trainer's.
        batch_size: Rows a forward pass; defaults to `per_device_eval_batch_size`.
        dtype: `"float16"` or `"float32"`.
        projection: Width to which embeddings are projected by random signs (see
            [`~hf_noisy.dynamics.projection.projection_matrix`]), for very wide embeddings or very many rows; None
            keeps them as they are. One matrix for all branches and epochs, so that they compare; it is made from the
            training seed, which the manifest records. Logits and the encoder's features, stored once, stay whole.

    Raises:
        TypeError: If a data set has no length.
        ValueError: If a name cannot be that of a folder, or when training begins: if a resumed run continues
            trajectories of other data or settings, or `projection` is not below the width of the embeddings.

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
        data_collator: Collator | None = None,
        batch_size: int | None = None,
        dtype: str = "float16",
        projection: int | None = None,
    ) -> None:
        if not datasets:
            raise ValueError("datasets is empty; name at least one, for example {'train': train_dataset}")
        if dtype not in ("float16", "float32"):
            raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}")
        if projection is not None and projection < 1:
            raise ValueError(f"projection must be a width of at least 1, or None, got {projection}")
        for name, dataset in datasets.items():
            check_file_name(name, "name of a dataset")
            if not isinstance(dataset, Sized):
                raise TypeError(
                    f"dataset {name!r} is a {type(dataset).__name__} without a length, so its rows cannot be "
                    "recorded by index; load it without streaming"
                )
            if not len(dataset):
                raise ValueError(f"dataset {name!r} has no rows; leave it out")
        self.datasets = datasets
        self.output_dir = output_dir
        self.data_collator = data_collator
        self.batch_size = batch_size
        self.dtype = dtype
        self.projection = projection
        self._trajectories: Trajectories | None = None
        self._batches: dict[str, list[list[int]]] = {}
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Hand over the trainer, for its collator; `NoisyTrainer` does."""
        self._trainer = trainer

    @property
    def trajectories(self) -> Trajectories:
        """What has been recorded."""
        if self._trajectories is None:
            raise ValueError("nothing was recorded yet; train first")
        return Trajectories(self._trajectories.path)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        folder = Path(self.output_dir or str(args.output_dir)) / FOLDER
        model = kwargs["model"]
        expected = self._description(model)
        if state.global_step and (folder / MANIFEST).is_file():
            self._trajectories = Trajectories(folder)
            for key, value in expected.items():
                if self._trajectories.manifest.get(key) != value:
                    raise ValueError(
                        f"trajectories at {folder} belong to another dataset or model: {key} differ; resume with the "
                        "data, the model and the settings of the first run"
                    )
            if PartialState().is_main_process:
                self._trajectories.drop_after(math.floor((state.epoch or 0) + 1e-6))
            PartialState().wait_for_everyone()
            self._trajectories = Trajectories(folder)
        else:
            if PartialState().is_main_process:
                Trajectories.create(folder, {**expected, "seed": args.seed})
            PartialState().wait_for_everyone()
            self._trajectories = Trajectories(folder)
        if not state.global_step:
            self._record_features(args, kwargs)
        # A checkpoint of the last step of an epoch, or of training, is written before on_epoch_end, which never fires
        # after a resume.
        epoch = math.ceil((state.epoch or 0) - 1e-6)
        ended = state.epoch == epoch or state.global_step >= state.max_steps
        if state.global_step and ended and epoch not in self._trajectories.epochs:
            self._record(args, epoch, kwargs)
        past = range(1, math.floor((state.epoch or 0) + 1e-6) + 1)
        if lacking := sorted(set(past) - set(self.trajectories.epochs)):
            logger.warning(
                f"trajectories at {folder} lack epochs {lacking}, which were before the checkpoint: they were not "
                "recorded then, or another run has begun there since; train from the first step to have them all"
            )

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Training may stop within an epoch (max_steps): what was seen of it counts as that epoch.
        self._record(args, math.ceil((state.epoch or 0) - 1e-6), kwargs)

    def _record(self, args: TrainingArguments, epoch: int, kwargs: dict[str, Any]) -> None:
        model: nn.Module = kwargs["model"]

        recorded = self._trajectories
        assert recorded is not None
        matrix: Tensor | None = None
        if self.projection is not None:
            # The seed of the run's beginning, whatever a resume was told.
            width = find_heads(model)[0].in_features
            signs = projection_matrix(width, self.projection, recorded.manifest["seed"])
            matrix = torch.from_numpy(signs).to(next(model.parameters()).device)

        def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
            outputs = model(**inputs)
            logits = getattr(outputs, "branch_logits", None)
            embeddings = torch.stack(heads.pop())
            if matrix is not None:
                embeddings = embeddings.float() @ matrix
            return [embeddings, outputs.logits[None] if logits is None else logits.transpose(0, 1)]

        def write(name: str, arrays: list[np.ndarray]) -> None:
            recorded.write(name, epoch, *arrays)

        with HeadInputs(model) as heads:
            self._extract_all(forward, write, args, kwargs)
        PartialState().wait_for_everyone()

    def _record_features(self, args: TrainingArguments, kwargs: dict[str, Any]) -> None:
        model: nn.Module = kwargs["model"]
        if not has_pooled_features(model):
            return

        def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
            with torch.autocast(next(iter(inputs.values())).device.type, torch.bfloat16, enabled=args.bf16):
                return [pooled_features(model, inputs)[None]]

        recorded = self._trajectories
        assert recorded is not None
        self._extract_all(forward, lambda name, arrays: recorded.write_features(name, arrays[0][0]), args, kwargs)
        PartialState().wait_for_everyone()

    def _extract_all(
        self,
        forward: Callable[[dict[str, Tensor]], list[Tensor]],
        write: Callable[[str, list[np.ndarray]], None],
        args: TrainingArguments,
        kwargs: dict[str, Any],
    ) -> None:
        """Extract and write one data set after the other; the main process writes."""
        model: nn.Module = kwargs["model"]
        size = self.batch_size or args.per_device_eval_batch_size
        collator = self.data_collator or _trainer_collator(self._trainer, kwargs)
        collate = ModelInputs(collator, model, all_columns=not args.remove_unused_columns)
        with random_state_kept():
            for name, dataset in self.datasets.items():
                if name not in self._batches:  # lengths of rows are read once
                    self._batches[name] = batches_of(dataset, size)
                arrays = outputs_by_row(
                    model,
                    dataset,
                    forward,
                    batches=self._batches[name],
                    collate=collate,
                    dtype=self.dtype,
                    check_finite=True,
                    num_workers=args.dataloader_num_workers,
                    show_progress=None if args.disable_tqdm else f"recording {name}",
                    processes="main",
                )
                if PartialState().is_main_process:
                    write(name, arrays)
                del arrays  # before those of the next data set are made

    def _description(self, model: nn.Module) -> dict[str, Any]:
        """What has to be the same when a run is resumed."""
        dim = find_heads(model)[0].in_features
        if self.projection is not None and self.projection >= dim:
            raise ValueError(
                f"projection must be below the width of the embeddings, {dim}, got {self.projection}; leave it out"
            )
        return {
            "num_classes": num_classes(model),
            "num_branches": len(find_heads(model)),
            "dim": self.projection or dim,
            "dtype": self.dtype,
            "projection": self.projection,
            "splits": {name: describe(dataset) for name, dataset in self.datasets.items()},
        }


def _trainer_collator(trainer: Any, kwargs: dict[str, Any]) -> Collator:
    """The collator of the trainer: of one that was attached, or else of the training loader."""
    if trainer is not None:
        attached: Collator = trainer.data_collator
        return attached
    collator: Collator = kwargs["train_dataloader"].collate_fn
    return collator.data_collator if isinstance(collator, RemoveColumnsCollator) else collator
