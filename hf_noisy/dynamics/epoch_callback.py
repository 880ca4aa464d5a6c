"""Base class of callbacks that evaluate the model after every epoch, for any `Trainer`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import RemoveColumnsCollator

from hf_noisy.core.files import file_digest
from hf_noisy.dynamics.run_files import MANIFEST, RunFiles, run_id
from hf_noisy.models.cross_encoder import PairCollator, classifier_of
from hf_noisy.models.inference import Collator, outputs_in_training


class EpochCallback(TrainerCallback):
    """Calls `end_epoch` exactly once per (possibly cut short) epoch, also after a resume, and writes into a folder."""

    folder_name: ClassVar[str]  # with an underscore, so that Trainer.push_to_hub does not upload it
    output_dir: str | Path | None = None
    data_collator: Collator | None = None
    batch_size: int | None = None
    trainer: Any = None
    run: str = ""  # the id of the training
    _path: Path | None = None
    _trained: Any = None  # the model of the trainer, which may hold the classifier

    def attach(self, trainer: Any) -> None:
        """Called by `NoisyTrainer`: gives access to its collator, its loggers and the state of its method."""
        self.trainer = trainer

    @property
    def path(self) -> Path:
        """The folder of the callback, once training has begun."""
        if self._path is None:
            raise ValueError("nothing was recorded yet; train first")
        return self._path

    def begin(self, args: TrainingArguments, state: TrainerState, **kwargs: Any) -> None:
        """Check the arguments and prepare the folder, for a new or a resumed run."""

    def is_done(self, epoch: int) -> bool:
        """Whether the epoch was handled before training was interrupted."""
        raise NotImplementedError

    def end_epoch(
        self, epoch: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Process the model after an epoch (from 1)."""
        raise NotImplementedError

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._path, self.run = Path(self.output_dir or str(args.output_dir)) / self.folder_name, run_id(state)
        kwargs = self._with_classifier(kwargs)
        self.begin(args, state, **kwargs)
        # A checkpoint at the last step of an epoch is written before on_epoch_end, which is not called after a resume.
        epoch = epoch_of(state)
        ended = epoch - (state.epoch or 0) < 1e-6 or state.global_step >= state.max_steps
        if state.global_step and ended and not self.is_done(epoch):
            self.end_epoch(epoch, args, state, control, **kwargs)

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.end_epoch(epoch_of(state), args, state, control, **self._with_classifier(kwargs))

    def _with_classifier(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        self._trained = kwargs["model"]
        return {**kwargs, "model": classifier_of(self._trained)}

    def outputs(
        self,
        dataset: Any,
        forward: Callable[[dict[str, Tensor]], list[Tensor]],
        args: TrainingArguments,
        kwargs: dict[str, Any],
        **options: Any,
    ) -> list[np.ndarray]:
        """Outputs by row of the model in training, with the batches of the trainer."""
        options |= {"batch_size": self.batch_size, "check_finite": True}
        return outputs_in_training(kwargs["model"], dataset, forward, args, self._collator(kwargs), **options)

    def _collator(self, kwargs: dict[str, Any]) -> Collator:
        # Not that of the training loader, which in NoisyTrainer may add second views.
        collator: Collator
        if self.data_collator is not None:
            collator = self.data_collator
        elif self.trainer is not None:
            collator = self.trainer.data_collator
        else:
            collator = kwargs["train_dataloader"].collate_fn
        collator = collator.data_collator if isinstance(collator, RemoveColumnsCollator) else collator
        return collator if self._trained is kwargs["model"] else PairCollator(collator, self._trained)

    def check_weights_are_whole(self) -> None:
        """Refuse sharded weights, of which no process could write whole files."""
        kind = PartialState().distributed_type.value
        if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            raise ValueError(f"{type(self).__name__} writes whole weights, but {kind} shards them; use DDP")

    def begin_files(self, state: TrainerState) -> None:
        """Begin the manifest of the run's files; a resumed run continues its own and refuses that of another run."""
        if state.global_step and (self.path / MANIFEST).is_file():
            check_same_run(self.path, RunFiles(self.path).run, self.run)
        elif PartialState().is_main_process:
            RunFiles.create(self.path, {"run": self.run})

    def write(self, stem: str, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """Write tensors atomically as `stem.safetensors`, on the main process."""
        if PartialState().is_main_process:
            copies = {
                name: tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous()
                for name, tensor in tensors.items()
            }

            def save(file: Path) -> str:
                save_file(copies, file)
                return file_digest(file)

            is_begun = (self.path / MANIFEST).is_file()
            files = RunFiles(self.path) if is_begun else RunFiles.create(self.path, {"run": self.run})
            files.write({f"{stem}.safetensors": save})

    def has(self, stem: str) -> bool:
        """Whether the run has written the tensors, and they are still there."""
        name = f"{stem}.safetensors"
        is_begun = (self.path / MANIFEST).is_file()
        return is_begun and name in RunFiles(self.path).digests and (self.path / name).is_file()

    def read(self, stem: str) -> dict[str, Tensor]:
        """The tensors that the run has written."""
        return load_file(RunFiles(self.path).verified(f"{stem}.safetensors"))

    def remove(self, pattern: str, keep: str = "") -> None:
        """Remove the callback's files whose stems match the pattern."""
        if PartialState().is_main_process:
            removed = [file for file in self.path.glob(f"{pattern}.safetensors") if file.stem != keep]
            if (self.path / MANIFEST).is_file():
                files = RunFiles(self.path)
                files.keep(files.digests.keys() - {file.name for file in removed})
            for file in removed:
                file.unlink()


def check_same_run(folder: Path, run: str, resumed: str) -> None:
    """Refuse to continue the files of another run than the one whose checkpoint is resumed."""
    if run != resumed:
        raise ValueError(
            f"files at {folder} belong to another run than the checkpoint; train anew, or remove the folder and "
            "resume without what was recorded before the checkpoint"
        )


def epoch_of(state: TrainerState) -> int:
    """The epoch (from 1) that has ended, or in which training stopped."""
    return math.ceil((state.epoch or 0) - 1e-6)
