"""Losses for a stock `Trainer`."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.losses.loss import Loss


def for_trainer(loss: Loss) -> Callable[..., Tensor]:
    """A loss as the `compute_loss_func` of a stock `Trainer`.

    The sum over rows is divided by the number of rows in the accumulated batch of all processes, so the gradient is
    exact. `Trainer` then ignores `label_smoothing_factor`, and its `eval_loss` is this loss too.

    Args:
        loss: A [`Loss`] that needs no schedule.

    Returns:
        `(outputs, labels, num_items_in_batch=None) -> scalar`.

    Raises:
        ValueError: If the loss depends on the progress of training; when called, if labels are missing or soft, logits
            are not `[batch, classes]`, or one process has several GPUs.

    Example:
        ```python
        trainer = Trainer(model, args, train_dataset=dataset, compute_loss_func=for_trainer(GCE(q=0.7)))
        ```
    """
    if loss.scheduled:
        raise ValueError(
            f"{type(loss).__name__} depends on the progress of training, which a stock Trainer does not pass on; "
            f"use NoisyTrainer(..., method={type(loss).__name__}())"
        )

    def compute_loss(outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        if labels is None:
            raise ValueError("the batch has no labels; name the label column 'label' or 'labels'")
        if labels.ndim != 1:
            raise ValueError(
                f"labels must be one class per row, got shape {tuple(labels.shape)}, whose rows a stock Trainer "
                "miscounts; use NoisyTrainer for soft labels"
            )
        if isinstance(num_items_in_batch, Tensor) and num_items_in_batch.ndim:
            raise ValueError(
                "Trainer sees several GPUs in one process, where losses of rows cannot be reduced exactly; start with "
                "`accelerate launch` or show one GPU (CUDA_VISIBLE_DEVICES=0)"
            )
        losses: Tensor = loss(SINGLE_LABEL.rows(outputs, labels).logits, labels)
        return losses.sum() / (labels.shape[0] if num_items_in_batch is None else num_items_in_batch)

    return compute_loss
