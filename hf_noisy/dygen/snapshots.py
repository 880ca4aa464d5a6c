"""A callback that saves the weights of every epoch, which DyGEN needs to predict new rows exactly."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerState, TrainingArguments

from hf_noisy.dynamics.epoch_callback import EpochCallback
from hf_noisy.dynamics.run_files import MANIFEST, RunFiles
from hf_noisy.models.branches import BranchedModel
from hf_noisy.models.heads import unwrapped

FOLDER = "_snapshots"  # with an underscore, so that Trainer.push_to_hub does not upload it
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class EpochSnapshots(EpochCallback):
    """Saves trained weights (of adapters, or all) after every epoch, for any `Trainer`; use it with a recorder.

    Before the first step, the encoder of the first branch is saved too. Files are written atomically; a manifest has
    their checksums and the id of the run, as that of the trajectories. A new run in the same folder replaces earlier
    snapshots.

    Args:
        output_dir: Parent of the folder `_snapshots`; defaults to the trainer's `output_dir`.
        dtype: `"float32"`, or `"float16"` or `"bfloat16"` for half the size; None for the weights' own.

    Raises:
        ValueError: If `dtype` is another, or (before training) if weights are sharded.

    Example:
        ```python
        recorder, snapshots = DynamicsRecorder({"train": train}), EpochSnapshots()
        trainer = NoisyTrainer(model, args, train_dataset=train, callbacks=[recorder, snapshots])
        trainer.train()
        dygen = DyGen.fit(recorder.trajectories, labels)
        exact = DyGenForClassification.from_training(dygen, trainer.model, snapshots.path)
        ```
    """

    folder_name = FOLDER

    def __init__(self, output_dir: str | Path | None = None, *, dtype: str | None = None) -> None:
        if dtype is not None and dtype not in _DTYPES:
            raise ValueError(f"dtype must be None or one of {', '.join(map(repr, _DTYPES))}, got {dtype!r}")
        self.output_dir, self.dtype = output_dir, dtype

    def begin(self, args: TrainingArguments, state: TrainerState, **kwargs: Any) -> None:
        self.check_weights_are_whole()
        self.begin_files(state)
        if not state.global_step:
            self.remove("start")
            self.remove("epoch-*")
            weights = changing(kwargs["model"])
            self._write_weights("start", {name: weights[name] for name in encoder_names(kwargs["model"])})

    def is_done(self, epoch: int) -> bool:
        return self.has(_stem(epoch))

    def end_epoch(self, epoch: int, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._write_weights(_stem(epoch), changing(kwargs["model"]))

    def _write_weights(self, stem: str, tensors: dict[str, Tensor]) -> None:
        self.write(stem, tensors, _DTYPES.get(self.dtype or ""))


def changing(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network that training changes: weights with a gradient, and saved float buffers."""
    model = unwrapped(model)
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and (not isinstance(tensor, nn.Parameter) or tensor.requires_grad):
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def encoder_names(model: nn.Module) -> list[str]:
    """Names in `changing(model)` of the encoder whose features the recorder reads before the first step."""
    model = unwrapped(model)
    network: Any = model.branches[0] if isinstance(model, BranchedModel) else model
    encoder = getattr(network, "base_model", network)
    own = {id(tensor) for tensor in encoder.state_dict(keep_vars=True).values()}
    return [name for name, tensor in changing(model).items() if id(tensor) in own]


def read_snapshot(path: str | Path, epoch: int | None, run: str) -> dict[str, Tensor]:
    """Weights by name after an epoch (from 1), or for None those of the encoder before the first step, of a run."""
    folder = Path(path) / FOLDER if (Path(path) / FOLDER).is_dir() else Path(path)
    name = f"{'start' if epoch is None else _stem(epoch)}.safetensors"
    files = RunFiles(folder) if (folder / MANIFEST).is_file() else None
    if files is not None and files.run != run:
        raise ValueError(
            f"snapshots at {folder} belong to another run than the trajectories on which dygen was fitted; pass the "
            "snapshots of the same training"
        )
    if files is None or name not in files.digests:
        raise FileNotFoundError(
            f"snapshots at {folder} lack {name}, which the fitted DyGen needs; train with EpochSnapshots and "
            "DynamicsRecorder from the first step on"
        )
    return load_file(files.verified(name))


def _stem(epoch: int) -> str:
    return f"epoch-{epoch:03d}"
