"""Label Wave: early stopping on noisy labels, from predictions for the training rows alone."""

from collections.abc import Sequence, Sized
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from hf_noisy.core.columns import LABELS
from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.rows import logits_of
from hf_noisy.core.task import task_of
from hf_noisy.data.fingerprint import check_processes_agree, describe
from hf_noisy.data.indexed import IndexedDataset
from hf_noisy.data.row_layout import row_layout
from hf_noisy.dynamics.epoch_callback import EpochCallback
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator

logger = logging.get_logger(__name__)

FOLDER = "_label_wave"  # with an underscore, so that Trainer.push_to_hub does not upload it


class FirstMinimum(NamedTuple):
    """Position where the window with the lowest average so far ends, and whether to stop."""

    candidate: int | None
    stop: bool


def first_minimum(changes: Sequence[int], window: int = 3, patience: int = 1) -> FirstMinimum:
    """The first local minimum of the moving average, found once `patience` averages did not fall below it."""
    candidate, least = None, 0
    for last in range(window - 1, len(changes)):
        total = sum(changes[last - window + 1 : last + 1])
        if candidate is None or total < least:
            candidate, least = last, total
        elif last - candidate >= patience:
            return FirstMinimum(candidate, True)
    return FirstMinimum(candidate, False)


class LabelWave(EpochCallback, ExportableState):
    """Stops any `Trainer` before it memorises wrong labels, without a validation set or any clean label.

    After each epoch it predicts the training rows and counts the predictions that changed since the epoch before. The
    count falls while the model learns shared patterns, and rises when it begins to fit wrong labels. Training
    stops at the first local minimum of the count's moving average, and the weights of that epoch are restored.

    With [`NoisyTrainer`] the state of the method (such as an EMA teacher) is restored too, and the metrics are logged;
    with a stock `Trainer` they are only in `trainer.state.log_history`. The optimizer is not restored.

    Args:
        dataset: The training rows to predict, such as images without augmentation; defaults to `train_dataset`.
        window: Epochs in the moving average.
        patience: Epochs without a lower average after which training stops.
        data_collator: Defaults to the trainer's.
        batch_size: Rows per forward pass; defaults to `per_device_eval_batch_size`.

    Raises:
        ValueError: If `window` or `patience` is below 1, or (at the start of training) if `load_best_model_at_end` is
            set or the weights are sharded.
        TypeError: If (at the start of training) the training set has no length.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=train, callbacks=[LabelWave()])
        trainer.train()  # trainer.model is that of the minimum
        ```

    Source:
        Yuan, Feng and Liu, "Early Stopping Against Label Noise Without Validation Data", ICLR 2024, arXiv 2502.07551.
    """

    folder_name = FOLDER

    def __init__(
        self,
        dataset: Any = None,
        *,
        window: int = 3,
        patience: int = 1,
        data_collator: Collator | None = None,
        batch_size: int | None = None,
    ) -> None:
        for name, value in (("window", window), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1 epoch, got {value}")
        self.dataset, self.data_collator, self.batch_size = dataset, data_collator, batch_size
        self.window, self.patience = window, patience
        self.changes: list[int] = []  # of consecutive epochs up to `epoch`
        self.epoch = 0
        self.given = dataset is not None or data_collator is not None
        self._predictions: np.ndarray | None = None

    def state(self) -> dict[str, Any]:
        """What is saved in a checkpoint."""
        arguments = {"window": self.window, "patience": self.patience, "batch_size": self.batch_size}
        return {"args": arguments, "attributes": {"changes": self.changes, "epoch": self.epoch, "given": self.given}}

    @property
    def candidate(self) -> int | None:
        """The epoch (from 1) with the lowest average so far."""
        found = first_minimum(self.changes, self.window, self.patience).candidate
        return None if found is None else self.epoch - len(self.changes) + 1 + found

    @property
    def stopped(self) -> bool:
        """Whether the minimum is found."""
        return first_minimum(self.changes, self.window, self.patience).stop

    def begin(self, args: TrainingArguments, state: TrainerState, **kwargs: Any) -> None:
        self.check_weights_are_whole()
        self._check(args, kwargs)
        self.begin_files(state)
        name = type(self).__name__
        # Trainer restores callbacks only on request, and none that were added after the checkpoint.
        kept = state.stateful_callbacks.setdefault(name, self.state()) if state.global_step else self.state()  # type: ignore[union-attr]
        if not state.global_step:
            kept["attributes"] |= {"changes": [], "epoch": 0}
            self.remove("*")
        self.changes, self.epoch = [*kept["attributes"]["changes"]], kept["attributes"]["epoch"]
        self._predictions = self._read() if self.epoch else None

    def on_epoch_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        if self.stopped:  # resumed from the last checkpoint of a run that stopped
            control.should_training_stop = True

    def is_done(self, epoch: int) -> bool:
        return epoch <= self.epoch or self.stopped

    def end_epoch(
        self, epoch: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # In an epoch that max_steps cuts short fewer predictions change, which would look like a minimum.
        if abs((state.epoch or 0) - epoch) > 1e-6 or self.is_done(epoch):
            return
        predictions = self._predict(args, kwargs)
        if self._predictions is not None and len(predictions) != len(self._predictions):
            raise ValueError(
                f"dataset has {len(predictions)} rows, the run that is resumed had {len(self._predictions)}; resume "
                "with the data of the first run"
            )
        if self._predictions is not None and epoch == self.epoch + 1:
            self.changes.append(int((predictions != self._predictions).sum()))
        else:
            self.changes = []  # the previous epoch's predictions are unknown
        self._predictions, self.epoch = predictions, epoch
        self.write(f"predictions-{epoch}", {"predictions": torch.from_numpy(predictions)})
        if self.candidate == epoch:
            self.write(f"weights-{epoch}", self._tensors(kwargs))
            self.remove("weights-*", keep=f"weights-{epoch}")
        PartialState().wait_for_everyone()
        control.should_training_stop |= self.stopped
        self._log(state, control)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        epoch, process = self.candidate, PartialState()
        if epoch is None:
            logger.warning(
                f"LabelWave saw {len(self.changes)} changes of epochs, fewer than window={self.window}: the model is "
                "that of the last step; train longer or use a smaller window"
            )
            return
        if epoch == self.epoch and state.epoch == epoch:
            return
        stem, found = f"weights-{epoch}", [False]
        if process.is_main_process:
            found = [self.has(stem)]
        if not broadcast_object_list(found)[0]:
            logger.warning(
                f"the weights of epoch {epoch} are not at {self.path / stem}.safetensors: the model is that of the "
                "last step"
            )
            return
        self._restore(kwargs, self.read(stem) if process.is_main_process else {})
        logger.warning(f"LabelWave: the model is that of epoch {epoch}, where the fewest predictions changed")

    def _check(self, args: TrainingArguments, kwargs: dict[str, Any]) -> None:
        if self.given and self.dataset is None and self.data_collator is None:
            raise ValueError(
                "restore_callback_states_from_checkpoint makes a new LabelWave, without the dataset or data_collator "
                "that it was given; set it to False: LabelWave reads its state from the checkpoint by itself"
            )
        dataset = kwargs["train_dataloader"].dataset if self.dataset is None else self.dataset
        self._dataset = dataset.dataset if isinstance(dataset, IndexedDataset) else dataset
        if isinstance(self._dataset, IterableDataset) or not isinstance(self._dataset, Sized):
            raise TypeError(
                f"dataset is a {type(self._dataset).__name__} without a length, so its rows cannot be predicted; "
                "load it without streaming"
            )
        if PartialState().num_processes > 1:
            check_processes_agree("the rows of dataset", describe(self._dataset))
        if args.load_best_model_at_end:
            raise ValueError("load_best_model_at_end and LabelWave both choose the model; set it to False")

    def _predict(self, args: TrainingArguments, kwargs: dict[str, Any]) -> Int[np.ndarray, " rows"]:
        """The class that the model (of branches: their ensemble) predicts for each row, on every process."""
        model: nn.Module = kwargs["model"]
        task = task_of(model)
        layout = None if task.one_row or task.cells else row_layout(self._dataset, task, num_classes(model))

        def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
            labels = None if layout is None else inputs.pop(LABELS)
            logits = task.to_classes(logits_of(model(**inputs)))
            logits = logits if labels is None else task.select(logits, labels)
            # A diverged model always predicts the same class, which would look like a minimum.
            classes = logits.argmax(-1).float().masked_fill(~logits.isfinite().all(-1), torch.nan)
            return [classes[None] if task.cells else classes[None, :, None]]

        bar = None if args.disable_tqdm else "predicting the training rows"
        with random_state_kept():
            set_seed(0)  # so that random augmentation is the same in every epoch
            rows = {} if layout is None else {"layout": layout, "with_labels": True}
            (classes,) = self.outputs(self._dataset, forward, args, kwargs, show_progress=bar, **rows)
        return np.asarray(classes[0].ravel(), np.int32)

    def _tensors(self, kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """What training changes: trainable weights, buffers, and the state of the method."""
        model: nn.Module = kwargs["model"]
        tensors: dict[str, Tensor] = {
            f"model.{n}": value for n, value in model.named_parameters() if value.requires_grad
        }
        tensors |= {f"model.{name}": value for name, value in model.named_buffers()}
        if isinstance(method := getattr(self.trainer, "method", None), nn.Module):
            tensors |= {f"method.{name}": value for name, value in method.state_dict().items()}
        return tensors

    @torch.no_grad()
    def _restore(self, kwargs: dict[str, Any], source: dict[str, Tensor]) -> None:
        # Only the main process reads the weights, as processes need not share a disk.
        main, missing = PartialState().is_main_process, []
        for name, target in self._tensors(kwargs).items():
            if main and name not in source:
                missing.append(name)
            elif main:
                target.copy_(source[name])
            target.copy_(broadcast(target.detach().clone()))
        if missing:
            logger.warning(f"not restored, as they were frozen in that epoch: {', '.join(missing[:5])}")

    def _log(self, state: TrainerState, control: TrainerControl) -> None:
        if not self.changes:
            return
        logs = {"prediction_changes": float(self.changes[-1])}
        if len(self.changes) >= self.window:
            logs["prediction_changes_average"] = float(np.mean(self.changes[-self.window :]))
        if self.trainer is None:
            state.log_history.append({**logs, "epoch": float(state.epoch or 0), "step": state.global_step})
        else:
            should_log = control.should_log  # log() resets it before the epoch's own log
            self.trainer.log(logs)
            control.should_log = should_log

    def _read(self) -> Int[np.ndarray, " rows"] | None:
        """The predictions of the checkpoint's epoch, read by the main process for all."""
        stem = f"predictions-{self.epoch}"
        found: list[np.ndarray | None] = [None]
        if PartialState().is_main_process and self.has(stem):
            found = [self.read(stem)["predictions"].numpy()]
        predictions: np.ndarray | None = broadcast_object_list(found)[0]
        if predictions is None:
            logger.warning(
                f"no predictions at {self.path / stem}.safetensors: changes are counted anew from this epoch"
            )
        return predictions
