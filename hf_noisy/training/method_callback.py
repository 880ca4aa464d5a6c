"""What a method needs from the training loop, through the hooks of `TrainerCallback`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from hf_noisy.methods import Method, Step
from hf_noisy.training.guards import LossWatch, refuse_broken_weights
from hf_noisy.training.resumed_settings import apply_learning_rate, optimizer_rates

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer

METHOD_FILE = "method.safetensors"


class MethodFirst(CallbackHandler):
    """A trainer's handler that calls the method's callback before those of the user, without showing it among them."""

    # First, so that others see the updated method, and loggers its metrics with the loss.

    def __init__(self, handler: CallbackHandler, first: TrainerCallback) -> None:
        vars(self).update(vars(handler))
        self.first = first

    def call_event(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        getattr(self.first, event)(args, state, control, model=self.model, **kwargs)
        return super().call_event(event, args, state, control, **kwargs)  # type: ignore[no-untyped-call]


class MethodCallback(TrainerCallback):
    """Updates the views and the state of a method in training, logs its metrics and checks its losses."""

    def __init__(self, trainer: "NoisyTrainer") -> None:
        self.trainer = trainer
        self.views: list[Any] = []  # what makes new views in every epoch
        self.watch = LossWatch(trainer.args.learning_rate, trainer._rows.describe)
        self.has_begun = self.is_set_up = False
        self.rates: list[float] | None = None  # of an optimizer that the user made
        self._sums: dict[str, tuple[Tensor | float, int]] = {}

    def restart(self) -> None:
        """Discard the losses and metrics of an earlier training."""
        if not self.has_begun:
            self.rates = optimizer_rates(self.trainer)
        self.watch = LossWatch(self.trainer.args.learning_rate, self.trainer._rows.describe)
        self.has_begun = self.is_set_up = False
        self._sums.clear()

    @property
    def method(self) -> Method:
        """The trainer's method, which `"auto"` changes late."""
        return self.trainer.method

    def add(self, step: Step, losses: Float[Tensor, " batch"], index: Int[Tensor, " batch"]) -> None:
        """Keep the (weighted) losses and the metrics of a micro-batch until the next log."""
        state, rows = self.trainer.state, len(losses)
        self.watch.add(losses, index, state.global_step + 1, state.epoch or 0.0)
        for name, value in step.metrics.items():
            total, counted = self._sums.get(name, (0.0, 0))
            mean = value.detach().float().mean() if value.numel() else losses.new_zeros(())  # no token has a label
            self._sums[name] = (total + mean * rows, counted + rows)

    def check(self, state: TrainerState) -> None:
        """Raise `FloatingPointError` if a loss or a weight is not finite."""
        self.watch.check()
        refuse_broken_weights(self.trainer.model, state.global_step)

    def save(self, checkpoint: str | Path) -> None:
        """Write the method's state into a checkpoint."""
        if self.method.state_dict() and self.trainer.args.should_save:
            save_model(self.method, str(Path(checkpoint) / METHOD_FILE))

    def restore(self, checkpoint: str | Path) -> None:
        """Read the method's state, if any, from a checkpoint; `ValueError` if it is missing."""
        if not self.method.state_dict():
            return
        path = Path(checkpoint) / METHOD_FILE
        if not path.is_file():
            raise ValueError(
                f"resume_from_checkpoint {checkpoint} holds no {METHOD_FILE}, which method "
                f"{type(self.method).__name__} needs; resume from a checkpoint of the same method"
            )
        load_model(self.method, path)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.has_begun = True
        if self.trainer._checkpoint is not None:
            apply_learning_rate(self.trainer, self.trainer._checkpoint, self.rates)
        if not self.is_set_up:  # a subclass has a training loader of its own
            self.trainer._set_up_method()

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        # Before the first batch is loaded, which accelerate's own call does not guarantee.
        for views in self.views:
            if hasattr(views, "set_epoch"):
                views.set_epoch(int(state.epoch or 0))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.method.before_step(kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.method.after_step(kwargs["model"])

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if not self.trainer.is_in_train or logs is None:
            return
        self.watch.check()
        if "train_loss" in logs:
            refuse_broken_weights(self.trainer.model, state.global_step)
        if "loss" in logs:
            means = {name: self._mean(total, rows) for name, (total, rows) in self._sums.items()}
            self._sums.clear()
            logs |= means
            state.log_history[-1] |= means

    def _mean(self, total: Any, rows: int) -> float:
        """The mean over the rows of all processes, which may have different numbers of them."""
        both = torch.stack([total, total.new_full((), rows)])[None]
        total, rows = self.trainer.accelerator.gather(both).sum(0)
        return float(total / max(rows, 1))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        best = state.best_model_checkpoint
        if args.load_best_model_at_end and best and (Path(best) / METHOD_FILE).is_file():
            load_model(self.method, Path(best) / METHOD_FILE)  # a teacher belongs to its student
