"""A callback that records embeddings and logits of every row during training."""

import math
from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from jaxtyping import Float32
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from hf_noisy.core.columns import LABELS
from hf_noisy.core.files import check_file_name
from hf_noisy.core.phases import phase
from hf_noisy.core.rng import uniforms
from hf_noisy.core.task import task_of
from hf_noisy.data.fingerprint import check_processes_agree, describe, labels_digest
from hf_noisy.data.row_layout import RowLayout, row_layout
from hf_noisy.dynamics.epoch_callback import EpochCallback, check_same_run
from hf_noisy.dynamics.run_files import MANIFEST
from hf_noisy.dynamics.store import FOLDER, Trajectories
from hf_noisy.models.frozen_features import trains_encoder
from hf_noisy.models.heads import HeadInputs, find_heads, logits_by_branch, num_classes
from hf_noisy.models.inference import Collator
from hf_noisy.models.pooling import has_pooled_features, pooled_features

logger = logging.get_logger(__name__)


class DynamicsRecorder(EpochCallback):
    """Records embeddings and logits of whole datasets after every epoch, for any `Trainer`.

    Per row and branch, the input of the classification head and the logits are stored in `output_dir/_trajectories`
    (of token classification a row is a labelled token, of multi-label classification an example);
    once, before the first step, also the mean of the pretrained encoder's last hidden states, which the noisy labels
    have not influenced. Rows are stored by index whatever the sampler, batch size or number of processes; the random
    state of training is not changed.

    Args:
        datasets: Datasets by name, for example `{"train": train, "test": test}`, as passed to the trainer.
        output_dir: Parent of the folder; defaults to the trainer's `output_dir`.
        data_collator: Defaults to the trainer's.
        batch_size: Rows per forward pass; defaults to `per_device_eval_batch_size`.
        dtype: `"float16"` or `"float32"`.
        projection: Width to which embeddings (not logits or features) are projected by random signs, to save space;
            None for no projection. All branches and epochs share one matrix, computed from the training seed, which
            the manifest records.
        features: Whether to record the pretrained encoder's hidden states, in one more pass over the datasets.

    Raises:
        TypeError: If a dataset has no length.
        ValueError: If a name cannot be a folder name; at the start of training, if a resumed run continues
            trajectories of another run, of other data or of other settings, or `projection` is not below the width of
            the embeddings.

    Example:
        ```python
        recorder = DynamicsRecorder({"train": train})
        trainer = Trainer(model, args, train_dataset=train, callbacks=[recorder])
        trainer.train()
        trajectories = recorder.trajectories
        ```
    """

    folder_name = FOLDER
    _recorded: Trajectories

    def __init__(
        self,
        datasets: dict[str, Any],
        output_dir: str | Path | None = None,
        *,
        data_collator: Collator | None = None,
        batch_size: int | None = None,
        dtype: str = "float16",
        projection: int | None = None,
        features: bool = True,
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
        self.datasets, self.output_dir, self.data_collator = datasets, output_dir, data_collator
        self.batch_size, self.dtype, self.projection, self.features = batch_size, dtype, projection, features
        self._layouts: dict[str, RowLayout] = {}  # of the datasets, where their rows are tokens

    @property
    def trajectories(self) -> Trajectories:
        """The trajectories recorded so far."""
        return Trajectories(self.path)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        past = range(1, _whole_epochs(state) + 1)
        if lacking := sorted(set(past) - set(self.trajectories.epochs)):
            logger.warning(
                f"trajectories at {self.path} lack epochs {lacking} from before the checkpoint: not recorded, "
                "or another run has started there since; train from the first step to have them all"
            )

    def begin(self, args: TrainingArguments, state: TrainerState, **kwargs: Any) -> None:
        expected, process = self._description(kwargs["model"]), PartialState()
        for name, described in expected["splits"].items():
            check_processes_agree(f"the rows of {name!r}", described)
        if state.global_step and (self.path / MANIFEST).is_file():
            recorded = self.trajectories
            check_same_run(self.path, recorded.run, self.run)
            for key, value in expected.items():
                if recorded.manifest.get(key, value) != value:
                    raise ValueError(
                        f"trajectories at {self.path} belong to another dataset or model: they differ in {key}; "
                        "resume with the data, the model and the settings of the first run"
                    )
            if process.is_main_process:
                recorded.drop_after(_whole_epochs(state))
        elif process.is_main_process:
            Trajectories.create(self.path, {"run": self.run, **expected, "seed": args.seed})
        process.wait_for_everyone()
        self._recorded = self.trajectories
        if not state.global_step and process.is_main_process:
            for name, layout in self._layouts.items():
                self._recorded.write_first_rows(name, layout.first)
        if not state.global_step and self.features:
            self._record_features(args, kwargs)

    def is_done(self, epoch: int) -> bool:
        return epoch in self._recorded.epochs

    def end_epoch(
        self, epoch: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module = kwargs["model"]
        matrix: Tensor | None = None
        if self.projection is not None:
            # The seed of the first run, even if a resumed one has another.
            width = find_heads(model)[0].in_features
            signs = projection_matrix(width, self.projection, self._recorded.manifest["seed"])
            matrix = torch.from_numpy(signs).to(next(model.parameters()).device)

        task = task_of(model)

        def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
            labels = inputs.pop(LABELS) if self._layouts else None
            outputs = model(**inputs)
            embeddings, logits = torch.stack(heads.pop()), logits_by_branch(outputs)
            if labels is not None:
                embeddings, logits = (
                    torch.stack([task.select(one, labels) for one in x]) for x in (embeddings, logits)
                )
            if matrix is not None:
                embeddings = embeddings.float() @ matrix
            return [embeddings, logits]

        with HeadInputs(model) as heads:
            for name, arrays in self._outputs(forward, args, kwargs, self._layouts):
                if arrays:
                    self._recorded.write(name, epoch, *arrays)
                del arrays  # before those of the next dataset are made
        PartialState().wait_for_everyone()

    def _record_features(self, args: TrainingArguments, kwargs: dict[str, Any]) -> None:
        model: nn.Module = kwargs["model"]
        if not has_pooled_features(model) or self._layouts:  # one vector for each example, not each token
            return

        def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
            with torch.autocast(next(iter(inputs.values())).device.type, torch.bfloat16, enabled=args.bf16):
                return [pooled_features(model, inputs)[None]]

        for name, arrays in self._outputs(forward, args, kwargs):
            if arrays:
                self._recorded.write_features(name, arrays[0][0])
            del arrays
        PartialState().wait_for_everyone()

    def _outputs(
        self,
        forward: Callable[[dict[str, Tensor]], list[Tensor]],
        args: TrainingArguments,
        kwargs: dict[str, Any],
        layouts: Mapping[str, RowLayout] | None = None,
    ) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Arrays of each dataset in turn, on the main process; no arrays on the others."""
        for name, dataset in self.datasets.items():
            options: dict[str, Any] = {"show_progress": None if args.disable_tqdm else f"recording {name}"}
            if layouts:
                options |= {"layout": layouts[name], "with_labels": True}
            with phase("recording"):
                arrays = self.outputs(dataset, forward, args, kwargs, dtype=self.dtype, processes="main", **options)
            yield name, arrays

    def _description(self, model: nn.Module) -> dict[str, Any]:
        """What must not change when a run is resumed."""
        dim = find_heads(model)[0].in_features
        if self.projection is not None and self.projection >= dim:
            raise ValueError(
                f"projection must be below the width of the embeddings, {dim}, got {self.projection}; leave it out"
            )
        task, classes = task_of(model), num_classes(model)
        splits = {name: describe(dataset) for name, dataset in self.datasets.items()}
        self._layouts = {}
        if not task.one_row and not task.cells:
            self._layouts = {name: row_layout(dataset, task, classes) for name, dataset in self.datasets.items()}
            for name, layout in self._layouts.items():
                splits[name] |= {"examples": splits[name]["rows"], "rows": layout.num_rows}
                splits[name]["labels"] = labels_digest(layout.labels)
        return {
            "task": task.name,
            "num_classes": classes,
            "num_branches": len(find_heads(model)),
            "dim": self.projection or dim,
            "dtype": self.dtype,
            "projection": self.projection,
            "encoder_trained": trains_encoder(model),
            "splits": splits,
        }


def _whole_epochs(state: TrainerState) -> int:
    return math.floor((state.epoch or 0) + 1e-6)


def projection_matrix(width: int, dim: int, seed: int) -> Float32[np.ndarray, "{width} {dim}"]:
    r"""Random signs over $\sqrt{dim}$, the same on every machine: squared lengths are kept in expectation."""
    # Achlioptas (2003), Database-friendly random projections, Theorem 1.1; the deviation is about sqrt(2 / dim).
    numbers = uniforms(seed, stream="projection", index=np.arange(width), size=dim)
    return np.where(numbers < 0.5, -1.0, 1.0).astype(np.float32) / np.float32(np.sqrt(dim))
