"""SiDyP as a method: co-regularised branches, then a diffusion model of labels on their training dynamics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float64

from hf_noisy.core.checks import check_rate
from hf_noisy.data.labels import row_labels
from hf_noisy.dygen.label_diffusion import LabelDiffusion
from hf_noisy.methods.recorded_branches import SPLIT, RecordedBranches

if TYPE_CHECKING:
    from transformers import Trainer


class SiDyP(RecordedBranches):
    r"""Trains co-regularised branches, then refines the labels by a diffusion model and trains one network on them.

    Rows whose embeddings stay far from the centroid of their label are suspects. The ten nearest other rows of a
    suspect vote for the candidates for its true label: one with 90 % of the votes, two with 80 % together, else all.
    For each branch a diffusion model learns to denoise a candidate `y`, given the trajectory `w` of the row and its
    given label; what it samples raises the weights of the candidates while it learns. Afterwards

    $$p(y \mid x) = \frac1M \sum_m \sum_k p_m(y \mid k, w)\, p_m(k \mid x)$$

    for new rows, and for training rows $p_m(y \mid \hat y, w)$ with their given label. The trainer's one network is
    trained on the posterior of the training rows; `posteriors` holds those of all recorded rows.

    Args:
        agreement_weight: See [`CoRegularization`].
        warmup_ratio: See [`CoRegularization`].
        noise_rate: Share of suspects in `[0, 1)`; None to have it estimated from the dynamics.
        diffusion_epochs: Epochs of the diffusion model, at least 1; None for 10, or more for few rows.
        record: Datasets to record in training too, by name, for their posteriors. `"train"` replaces the training
            rows, such as by images without augmentation.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        ```python
        method = SiDyP(record={"test": test})
        trainer = NoisyTrainer(model, args, train_dataset=train, processing_class=tokenizer, method=method)
        trainer.train()
        trainer.method.posteriors["test"].argmax(1)
        ```

    Source: Ye et al. (2025), SiDyP; constants of the published code.
    """

    citation: ClassVar[str] = LabelDiffusion.citation
    folder_name: ClassVar[str] = "_sidyp"

    def __init__(
        self,
        agreement_weight: float = 5.0,
        warmup_ratio: float = 0.1,
        noise_rate: float | None = None,
        diffusion_epochs: int | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(agreement_weight, warmup_ratio, record)
        if noise_rate is not None:
            check_rate(noise_rate)
        if diffusion_epochs is not None and not (isinstance(diffusion_epochs, int) and diffusion_epochs >= 1):
            raise ValueError(
                f"diffusion_epochs must be an integer of at least 1, got {diffusion_epochs}; the published is 10"
            )
        self.noise_rate, self.diffusion_epochs = noise_rate, diffusion_epochs
        self.posteriors: dict[str, Float64[np.ndarray, "rows classes"]] = {}

    def finish(self, trainer: "Trainer") -> Float64[np.ndarray, "rows classes"]:
        process, args, labels = PartialState(), trainer.args, row_labels(trainer.train_dataset)
        process.wait_for_everyone()
        found: list[Any] = [None]
        checked = getattr(trainer, "checked", None)
        if process.is_main_process:
            fitted = LabelDiffusion.fit(
                self.recorder.trajectories,
                labels,
                self.noise_rate,
                split=SPLIT,
                epochs=self.diffusion_epochs,
                seed=args.seed,
                show_progress=not args.disable_tqdm,
                checked=None if checked is None else checked.as_column(),
            )
            found = [{name: fitted.posterior(name, labels if name == SPLIT else None) for name in self._names()}]
        self.posteriors = broadcast_object_list(found)[0]
        if checked is not None:
            self.posteriors[SPLIT][checked.index] = np.eye(self.posteriors[SPLIT].shape[1])[checked.labels]
        return self.posteriors[SPLIT]

    def _names(self) -> list[str]:
        return [SPLIT, *(name for name in self.record if name != SPLIT)]
