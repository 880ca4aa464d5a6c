"""Features of the training rows before training, for methods that estimate something from them."""

from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float32
from transformers import set_seed

from hf_noisy.models.frozen_features import frozen_features
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
