"""What methods compute from the training rows before training."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float32
from torch import nn
from transformers import set_seed

from hf_noisy.core.task import TOKENS, task_of
from hf_noisy.core.types import Labels
from hf_noisy.data.row_layout import row_layout
from hf_noisy.models.frozen_features import frozen_features, frozen_token_features
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator

if TYPE_CHECKING:
    from transformers import Trainer


def given_before_training(trainer: "Trainer") -> Labels:
    """The given label of every row."""
    model = cast(nn.Module, trainer.model)
    return row_layout(trainer.train_dataset, task_of(model), num_classes(model)).labels


def features_before_training(trainer: "Trainer") -> Float32[np.ndarray, "rows width"]:
    """Features of the encoder, or the column `features`; of tokens each. The caller keeps the random state."""
    args, model = trainer.args, cast(nn.Module, trainer.model)
    set_seed(args.seed)  # for random augmentation
    options: dict[str, Any] = {
        "device": args.device,
        "batch_size": args.per_device_eval_batch_size,
        "show_progress": None if args.disable_tqdm else "features before training",
    }
    inputs = model, trainer.train_dataset, cast(Collator, trainer.data_collator)
    if (task := task_of(model)) is TOKENS:
        return frozen_token_features(*inputs, row_layout(trainer.train_dataset, task, num_classes(model)), **options)
    return frozen_features(*inputs, **options)


def labels_before_training(trainer: "Trainer") -> Labels:
    """The label of every row as training sees it: checked where a person has checked it."""
    labels = given_before_training(trainer)
    checked = getattr(trainer, "checked", None)  # a stock Trainer has none
    if checked is not None:
        labels = labels.copy()
        labels[checked.index] = checked.labels
    return labels
