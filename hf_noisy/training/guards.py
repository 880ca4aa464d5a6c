"""Training that has gone wrong is stopped before it is saved."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import SaveStrategy, TrainOutput

from hf_noisy.training.checkpoints import (
    checkpoint_to_resume,
    refuse_other_run,
    refuse_unwritable,
    warn_of_earlier_run,
    whole_or_removed,
    write_state,
)

_EVERY = 100  # micro-batches that are kept at most before they are looked at


class LossWatch:
    """Finds losses of rows that are not finite, without waiting for the device at every step.

    Losses are kept as they are and looked at together: when something is logged, before a checkpoint is written, and
    at the latest after a hundred micro-batches.

    Args:
        learning_rate: Named in the error.

    Example:
        >>> watch = LossWatch(0.1)
        >>> watch.add(torch.tensor([0.5, 0.7]), torch.tensor([4, 2]), step=1, epoch=0.0)
        >>> watch.check()
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._unseen: list[tuple[Tensor, Tensor, int, float]] = []

    def add(self, losses: Float[Tensor, " batch"], index: Int[Tensor, " batch"], step: int, epoch: float) -> None:
        """Keep the losses of a micro-batch.

        Args:
            losses: `[batch]`.
            index: `[batch]`, the rows; negative where they have no numbers.
            step: The step, from 1.
            epoch: Where in training.
        """
        self._unseen.append((losses.detach(), index, step, epoch))
        if len(self._unseen) >= _EVERY:
            self.check()

    def check(self) -> None:
        """Look at the losses kept so far.

        Raises:
            FloatingPointError: If one is not finite.
        """
        unseen, self._unseen = self._unseen, []
        if not unseen or bool(torch.cat([losses for losses, *_ in unseen]).isfinite().all()):
            return
        losses, index, step, epoch = next(kept for kept in unseen if not bool(kept[0].isfinite().all()))
        bad = (~losses.isfinite()).nonzero().flatten()
        row = int(index[bad[0]])
        raise FloatingPointError(
            f"loss is {float(losses[bad[0]])} in step {step} (epoch {epoch:.2f}) for {len(bad)} of {len(losses)} rows"
            f"{f', first for row {row} of train_dataset' if row >= 0 else ''}; look at what is in such a row, or "
            f"train with a learning_rate below {self.learning_rate:g}"
        )


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """Refuse a model whose weights are no longer finite.

    Args:
        model: With all its weights.
        step: Named in the error.

    Raises:
        FloatingPointError: In one sentence that names the first such weight.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise FloatingPointError(
                f"weight {name} is not finite after step {step}, so nothing was saved over earlier checkpoints; train "
                "with a smaller learning_rate, or with bf16 instead of fp16"
            )


class GuardedTrainer(Trainer):
    """`Trainer` that resumes from whole checkpoints of the same run, and writes none once training has gone wrong.

    Args:
        *positional: Those of `Trainer`.
        **kwargs: Those of `Trainer`.

    Attributes:
        watch: Where `compute_loss` puts the losses of rows.
        identity: What a run that resumes must have in common with the first.

    Example:
        ```python
        trainer = GuardedTrainer(model, args, train_dataset=train)
        trainer.train(resume_from_checkpoint=True)
        ```
    """

    model: nn.Module

    def __init__(self, *positional: Any, **kwargs: Any) -> None:
        super().__init__(*positional, **kwargs)
        self.watch = LossWatch(self.args.learning_rate)
        self.identity: dict[str, Any] = {}

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """`Trainer`'s; True resumes from the last checkpoint that is whole, and another run's is refused.

        Raises:
            ValueError: If the checkpoint is not whole, or is of other data, classes or another method.
            FloatingPointError: If losses or weights are no longer finite; no checkpoint is written from then on.
            OSError: If `output_dir` cannot be written to, or a checkpoint could not be written.
        """
        folder = str(self.args.output_dir)
        if self.args.should_save and self.args.save_strategy != SaveStrategy.NO:
            refuse_unwritable(folder)
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, folder)
        self.identity = self.make_identity()
        if checkpoint is not None:
            refuse_other_run(checkpoint, self.identity)
        elif self.args.should_save and self.args.save_strategy != SaveStrategy.NO:
            warn_of_earlier_run(folder)
        self.watch = LossWatch(self.args.learning_rate)
        return super().train(checkpoint, trial, ignore_keys_for_eval)

    def make_identity(self) -> dict[str, Any]:
        """What a run that resumes must have in common with this one: values by plural noun."""
        return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs, after a look at the losses, and at the weights where training ends."""
        if self.is_in_train:
            self.watch.check()
            if "train_loss" in logs:
                refuse_broken_weights(self.model, self.state.global_step)
        super().log(logs, start_time)

    def _run_epoch(self, *positional: Any, **kwargs: Any) -> None:
        # After a checkpoint of the last step there is none left, but Trainer would take one more of those that
        # `max_steps` leaves out of an epoch.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*positional, **kwargs)  # type: ignore[no-untyped-call]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.watch.check()
        refuse_broken_weights(self.model, self.state.global_step)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with whole_or_removed(folder) if self.args.should_save else nullcontext():
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # Every process writes its own. What says that a checkpoint is whole is written next, and must not be there
        # before all of these are: a resume without one goes on with other random numbers.
        self.accelerator.wait_for_everyone()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            write_state(output_dir, self.identity)
