"""Base class of callbacks that evaluate the model after every epoch, for any `Trainer`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import RemoveColumnsCollator

from hf_noisy.core.files import replacing
from hf_noisy.models.cross_encoder import PairCollator, classifier_of
from hf_noisy.models.inference import Collator, outputs_in_training


class EpochCallback(TrainerCallback):
    """Calls `end_epoch` exactly once per (possibly cut short) epoch, also after a resume, and writes into a folder."""

    folder_name: ClassVar[str]  # with an underscore, so that Trainer.push_to_hub does not upload it
    output_dir: str | Path | None = None
    data_collator: Collator | None = None
    batch_size: int | None = None
    trainer: Any = None
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
        self._path = Path(self.output_dir or str(args.output_dir)) / self.folder_name
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

    def write(self, stem: str, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """Write tensors atomically as `stem.safetensors`, on the main process."""
        if PartialState().is_main_process:
            copies = {
                name: tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous()
                for name, tensor in tensors.items()
            }
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing(self.path / f"{stem}.safetensors") as temporary:
                save_file(copies, temporary)

    def remove(self, pattern: str, keep: str = "") -> None:
        """Remove the callback's files whose stems match the pattern."""
        if PartialState().is_main_process:
            for file in self.path.glob(f"{pattern}.safetensors"):
                if file.stem != keep:
                    file.unlink()


def epoch_of(state: TrainerState) -> int:
    """The epoch (from 1) that has ended, or in which training stopped."""
    return math.ceil((state.epoch or 0) - 1e-6)
