"""Cross-entropy with soft labels: the posterior of the true labels, estimated before training."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.task import task_of
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.row_layout import row_layout
from hf_noisy.detection.checked_correction import CheckedCorrection, CorrectedLabels
from hf_noisy.detection.evidence import TRANSITIONS, Evidence, fit_evidence
from hf_noisy.detection.list_posterior import cell_targets, token_targets
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.before_training import features_before_training, given_before_training
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.models.frozen_features import trains_encoder, transition_for
from hf_noisy.models.heads import num_classes

if TYPE_CHECKING:
    from transformers import Trainer


class SoftCorrection(Method):
    r"""Cross-entropy with the posterior of the true label, estimated before training from frozen features.

    The features of all rows are those of the encoder before training, or a column `features`.
    [`~hf_noisy.detection.evidence.fit_evidence`] computes the posterior $q$ from the row's given label and from
    predictors that never saw that label. Training minimises

    $$\ell = -\sum_k q_k \log p_k$$

    If the trainer has checked rows, [`~hf_noisy.detection.checked_correction.CheckedCorrection`] computes it from
    these too, and they keep their checked label. The result is an ordinary network. Neither true labels nor a noise
    rate are needed.

    Rows may be tokens or cells ([`hf_noisy.detection.list_posterior`][]). Without checked rows little is gained there.

    Args:
        class_prior: Frequencies of the true classes: `"uniform"`, `"given"`, an array `[classes]`, or None to choose
            by agreement with the given labels. Not read by the correction from checked rows.
        use_checked: Whether checked rows correct the posterior of the other rows.
        transition: Estimate of the transition matrix, as for [`~hf_noisy.detection.evidence.fit_evidence`]. By
            default `"auto"` if weights of the encoder are trained, as the network may then learn more than the frozen
            features tell, else `"counted"`. Not read by the correction from checked rows.

    Attributes:
        evidence: The [`~hf_noisy.detection.evidence.Evidence`] or
            [`~hf_noisy.detection.checked_correction.CorrectedLabels`], on the main process; None after a resume, and
            for tokens and cells.
        targets: `[rows, classes]`, the posterior.

    Raises:
        ValueError: When training starts, if there is no column `features` and the model has random weights or no
            encoder, or if all rows have one label.

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

    def __init__(self, class_prior: Any = None, use_checked: bool = True, transition: str | None = None) -> None:
        super().__init__()
        if transition not in (None, *TRANSITIONS):
            raise ValueError(f"transition must be one of {', '.join(TRANSITIONS)}, got {transition!r}")
        self.class_prior, self.use_checked, self.transition = class_prior, use_checked, transition
        self.evidence: Evidence | CorrectedLabels | None = None
        self.register_buffer("targets", None)

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        model = cast(nn.Module, trainer.model)
        task, labels = task_of(model), given_before_training(trainer)
        classes = task.row_classes(num_classes(model))
        self.targets = torch.zeros(len(labels), classes)
        if resumes:
            return
        with random_state_kept():
            features = features_before_training(trainer)
            found: list[Any] = [None]
            if PartialState().is_main_process:
                checked = getattr(trainer, "checked", None)  # a stock Trainer has none
                if task.one_row:
                    self.evidence = self._estimate(features, labels, checked, classes, trainer)
                    posterior = self.evidence.posterior.astype(np.float32)
                else:
                    posterior = self._of_lists(trainer, features, labels).astype(np.float32)
                if checked is not None:
                    posterior[checked.index] = np.eye(classes, dtype=np.float32)[checked.labels]
                found = [posterior]
        self.targets = torch.from_numpy(broadcast_object_list(found)[0])

    def _of_lists(
        self, trainer: "Trainer", features: Float[np.ndarray, "units width"], labels: Labels
    ) -> Float[np.ndarray, "rows classes"]:
        """The posterior of tokens or cells."""
        model = cast(nn.Module, trainer.model)
        task, classes, seed = task_of(model), num_classes(model), trainer.args.seed
        for name in ("class_prior", "transition"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for examples with one label, not for {task.name}; leave it out")
        checked = getattr(trainer, "checked", None) if self.use_checked else None
        if task.cells:
            return cell_targets(features, labels, classes, checked, seed)
        counts = np.diff(row_layout(trainer.train_dataset, task, classes).first)
        return token_targets(features, labels, np.repeat(np.arange(len(counts)), counts), classes, checked, seed)

    def _estimate(
        self,
        features: Float[np.ndarray, "rows width"],
        labels: Labels,
        checked: CheckedRows | None,
        classes: int,
        trainer: "Trainer",
    ) -> Evidence | CorrectedLabels:
        options: dict[str, Any] = {"num_classes": classes, "seed": trainer.args.seed}
        if checked is not None and self.use_checked:
            return CheckedCorrection().fit(features, labels, checked.index, checked.labels, **options)
        transition = self.transition or transition_for(trains_encoder(cast(nn.Module, trainer.model)))
        return fit_evidence(features, labels, class_prior=self.class_prior, transition=transition, **options)

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        assert self.targets is not None  # made by prepare
        if batch.missing_rate is not None:
            raise ValueError("soft_correction corrects missing labels too, so leave missing_rate out")
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        losses = F.cross_entropy(at_least_float32(rows.logits), self.targets[rows.index], reduction="none")
        return Step(losses, outputs)
