"""What callbacks share that look at the model after every epoch, for any `Trainer`."""

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
from hf_noisy.models.inference import Collator, outputs_in_training


class EpochCallback(TrainerCallback):
    """Calls `end_epoch` exactly once for every epoch, also after a resume, and writes files into a folder of its own.

    What was seen of a last epoch that `max_steps` cuts short counts as that epoch. Subclasses define `begin`,
    `is_done` and `end_epoch`.
    """

    folder_name: ClassVar[str]  # begins with an underscore, which keeps Trainer.push_to_hub from publishing the folder
    output_dir: str | Path | None = None
    data_collator: Collator | None = None
    batch_size: int | None = None
    trainer: Any = None
    _path: Path | None = None

    def attach(self, trainer: Any) -> None:
        """Take the trainer for its collator, its trackers and the state of its method; `NoisyTrainer` calls this."""
        self.trainer = trainer

    @property
    def path(self) -> Path:
        """The folder that the callback writes, once training has begun."""
        if self._path is None:
            raise ValueError("nothing was recorded yet; train first")
        return self._path

    def begin(self, args: TrainingArguments, state: TrainerState, **kwargs: Any) -> None:
        """Check the arguments and prepare the folder, for a new run or a resumed one."""

    def is_done(self, epoch: int) -> bool:
        """Whether this epoch was handled before the checkpoint that training resumes from."""
        raise NotImplementedError

    def end_epoch(
        self, epoch: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the model after an epoch (from 1)."""
        raise NotImplementedError

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._path = Path(self.output_dir or str(args.output_dir)) / self.folder_name
        self.begin(args, state, **kwargs)
        # A checkpoint of the last step of an epoch, or of training, is written before on_epoch_end, which never fires
        # after a resume from it.
        epoch = epoch_of(state)
        ended = epoch - (state.epoch or 0) < 1e-6 or state.global_step >= state.max_steps
        if state.global_step and ended and not self.is_done(epoch):
            self.end_epoch(epoch, args, state, control, **kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.end_epoch(epoch_of(state), args, state, control, **kwargs)

    def outputs(
        self,
        dataset: Any,
        forward: Callable[[dict[str, Tensor]], list[Tensor]],
        args: TrainingArguments,
        kwargs: dict[str, Any],
        **options: Any,
    ) -> list[np.ndarray]:
        """Outputs by row of the model in training, with batches as the trainer collates them."""
        size, collator = self.batch_size, self._collator(kwargs)
        return outputs_in_training(
            kwargs["model"], dataset, forward, args, collator, batch_size=size, check_finite=True, **options
        )

    def _collator(self, kwargs: dict[str, Any]) -> Collator:
        # The training loader of NoisyTrainer may add second views, which the trainer's own collator does not.
        collator: Collator
        if self.data_collator is not None:
            collator = self.data_collator
        elif self.trainer is not None:
            collator = self.trainer.data_collator
        else:
            collator = kwargs["train_dataloader"].collate_fn
        return collator.data_collator if isinstance(collator, RemoveColumnsCollator) else collator

    def check_weights_are_whole(self) -> None:
        """Refuse training that spreads weights over processes, of which no process could write whole files."""
        kind = PartialState().distributed_type.value
        if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            raise ValueError(
                f"{type(self).__name__} writes whole weights, which {kind} spreads over processes; use DDP"
            )

    def write(self, stem: str, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """Write tensors as `stem.safetensors`, whole or not at all; the main process writes, the others do nothing."""
        if PartialState().is_main_process:
            copies = {
                name: tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous()
                for name, tensor in tensors.items()
            }
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing(self.path / f"{stem}.safetensors") as temporary:
                save_file(copies, temporary)

    def remove(self, pattern: str, keep: str = "") -> None:
        """Remove the files that the callback wrote with a stem of this pattern."""
        if PartialState().is_main_process:
            for file in self.path.glob(f"{pattern}.safetensors"):
                if file.stem != keep:
                    file.unlink()


def epoch_of(state: TrainerState) -> int:
    """The epoch (from 1) that has ended, or that training has stopped in."""
    return math.ceil((state.epoch or 0) - 1e-6)
