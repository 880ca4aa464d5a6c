"""What methods compute from the training rows before training."""

from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float32
from torch import nn
from transformers import set_seed

from hf_noisy.core.task import task_of
from hf_noisy.core.types import Labels
from hf_noisy.data.labels import row_labels
from hf_noisy.data.row_layout import row_layout
from hf_noisy.models.frozen_features import frozen_features
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator

if TYPE_CHECKING:
    from transformers import Trainer


def features_before_training(trainer: "Trainer") -> Float32[np.ndarray, "rows width"]:
    """Features of the encoder, or the column `features`; the caller keeps the random state."""
    args = trainer.args
    set_seed(args.seed)  # for random augmentation
    return frozen_features(
        trainer.model,
        trainer.train_dataset,
        cast(Collator, trainer.data_collator),
        device=args.device,
        batch_size=args.per_device_eval_batch_size,
        show_progress=None if args.disable_tqdm else "features before training",
    )


def labels_before_training(trainer: "Trainer") -> Labels:
    """The label of every row as training sees it: checked where a person has checked it."""
    model = cast(nn.Module, trainer.model)
    if not (task := task_of(model)).one_row:
        return row_layout(trainer.train_dataset, task, num_classes(model)).labels
    labels: Labels = row_labels(trainer.train_dataset)
    checked = getattr(trainer, "checked", None)  # a stock Trainer has none
    if checked is not None:
        labels = labels.copy()
        labels[checked.index] = checked.labels
    return labels
