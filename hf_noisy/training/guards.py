"""Checks that stop training: losses and weights must be finite, and losses reducible."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.methods import LossMethod, Method

logger = logging.get_logger(__name__)

_CHECK_EVERY = 100  # micro-batches


class LossWatch:
    """Finds losses that are not finite, checked together to avoid waiting for the device at every step."""

    def __init__(self, learning_rate: float, describe: Callable[[int], str] = "row {}".format) -> None:
        self.learning_rate, self.describe = learning_rate, describe
        self._unseen: list[tuple[Tensor, Tensor, int, float]] = []

    def add(self, losses: Float[Tensor, " batch"], index: Int[Tensor, " batch"], step: int, epoch: float) -> None:
        """Keep the losses of a micro-batch of step `step` (from 1); `index` is negative if rows have none."""
        self._unseen.append((losses.detach(), index, step, epoch))
        if len(self._unseen) >= _CHECK_EVERY:
            self.check()

    def check(self) -> None:
        """Raise `FloatingPointError` if one of the losses kept so far is not finite."""
        unseen, self._unseen = self._unseen, []
        if not unseen or bool(torch.cat([losses for losses, *_ in unseen]).isfinite().all()):
            return
        losses, index, step, epoch = next(kept for kept in unseen if not bool(kept[0].isfinite().all()))
        bad = (~losses.isfinite()).nonzero().flatten()
        row = int(index[bad[0]])
        raise FloatingPointError(
            f"loss is {float(losses[bad[0]])} in step {step} (epoch {epoch:.2f}) for {len(bad)} of {len(losses)} rows"
            f"{f', first for {self.describe(row)} of train_dataset' if row >= 0 else ''}; inspect such rows, or "
            f"train with a learning_rate below {self.learning_rate:g}"
        )


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """Raise `FloatingPointError` if a weight is no longer finite after step `step`."""
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise FloatingPointError(
                f"weight {name} is not finite after step {step}, so earlier checkpoints were kept; train "
                "with a smaller learning_rate, or with bf16 instead of fp16"
            )


def refuse_several_gpus(args: TrainingArguments) -> None:
    """Raise `ValueError` if one process would use several GPUs (`DataParallel`)."""
    if args.n_gpu > 1:
        raise ValueError(
            f"args sees {args.n_gpu} GPUs in one process, where losses of rows cannot be reduced exactly; start with "
            "`accelerate launch` or show one GPU (CUDA_VISIBLE_DEVICES=0)"
        )


def refuse_arguments(trainer: Trainer, given: nn.Module | None) -> None:
    """Raise `ValueError` for arguments of `Trainer` that do not go with a method; `given` is the user's model."""
    if given is not None and trainer.model is not given and trainer.optimizer is not None:
        raise ValueError(
            f"optimizers has the weights of {type(given).__name__}, from which branches were made; pass "
            "BranchedModel.from_model(model) and an optimizer of its weights"
        )
    if trainer.compute_loss_func is not None:
        raise ValueError("compute_loss_func and method both define the loss; use compute_loss_func=None")
    refuse_several_gpus(trainer.args)


def warn_of_other_loss(trainer: Trainer) -> None:
    """Log once that a subclass computes the loss without the method."""
    scaled = trainer.loss_is_scaled_for_ga
    logger.warning_once(
        f"{type(trainer).__name__}.compute_loss does not call super().compute_loss, so the method is not used"
        + (
            "; its loss counts as the mean of a micro-batch (if it is divided by num_items_in_batch, set "
            "loss_is_scaled_for_ga = True)"
            if scaled is None
            else ""
        )
    )


def with_label_smoothing(method: Method, smoothing: float) -> Method:
    """The method with the smoothing of `TrainingArguments`; `ValueError` if both define the targets."""
    if not smoothing:
        return method
    if isinstance(method, LossMethod) and type(method.loss) is CrossEntropy and not method.loss.label_smoothing:
        return LossMethod(CrossEntropy(label_smoothing=smoothing))
    raise ValueError(
        f"label_smoothing_factor={smoothing} and the method both define the targets; set label_smoothing_factor=0 "
        "or use method='cross_entropy'"
    )
