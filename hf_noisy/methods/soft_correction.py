"""Cross-entropy with soft labels: the posterior of the true labels, estimated before training."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.rng import random_state_kept
from hf_noisy.data.labels import row_labels
from hf_noisy.detection.evidence import Evidence, fit_evidence
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.models.frozen_features import frozen_features
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator

if TYPE_CHECKING:
    from transformers import Trainer


class SoftCorrection(Method):
    r"""Trains on the posterior of the true labels that frozen features and given labels imply.

    Before training, the features of all rows are computed by the encoder as it is loaded (or read from a column
    `features`), and [`~hf_noisy.detection.evidence.fit_evidence`] gives the posterior $q$ from predictors that never
    saw the row's own label, and that label. Training minimises

    $$\ell = -\sum_k q_k \log p_k$$

    The result is an ordinary network. Neither true labels nor a noise rate are used.

    Args:
        class_prior: Frequencies of the true classes: `"uniform"`, `"given"`, an array `[classes]`, or None to weigh
            them by how predictions agree with the given labels.

    Raises:
        ValueError: In training, if the model gives no features (such as one with random weights), or rows have no
            class ids as labels.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="soft_correction")
        trainer.train()
        trainer.method.evidence.posterior
        ```

    Source: ours.
    """

    citation: ClassVar[str] = "hf_noisy: soft labels from held-out predictions on frozen features"
    needs_rows = True

    targets: Tensor | None

    def __init__(self, class_prior: Any = None) -> None:
        super().__init__()
        self.class_prior = class_prior
        self.evidence: Evidence | None = None  # on the main process, unless training was resumed
        self.register_buffer("targets", None)

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        rows, classes = trainer.train_dataset, num_classes(cast(nn.Module, trainer.model))
        self.targets = torch.zeros(len(rows), classes)  # type: ignore[arg-type]
        if resumes:
            return
        args = trainer.args
        labels = row_labels(rows)
        with random_state_kept():
            features = frozen_features(
                trainer.model,
                rows,
                cast(Collator, trainer.data_collator),
                device=args.device,
                batch_size=args.per_device_eval_batch_size,
                show_progress=None if args.disable_tqdm else "features before training",
            )
            found: list[Any] = [None]
            if PartialState().is_main_process:
                self.evidence = fit_evidence(
                    features, labels, num_classes=classes, class_prior=self.class_prior, seed=args.seed
                )
                found = [self.evidence.posterior.astype(np.float32)]
        self.targets = torch.from_numpy(broadcast_object_list(found)[0])

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        assert self.targets is not None  # made by prepare
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        losses = F.cross_entropy(at_least_float32(rows.logits), self.targets[rows.index], reduction="none")
        return Step(losses, outputs)
