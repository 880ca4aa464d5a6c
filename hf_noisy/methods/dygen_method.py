"""DyGEN as a method: co-regularised branches, then the posterior of their training dynamics."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from accelerate import PartialState
from jaxtyping import Float64
from torch import nn

from hf_noisy.core.checks import check_rate
from hf_noisy.data.labels import row_labels
from hf_noisy.dygen.exact import DyGenForClassification
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.snapshots import EpochSnapshots
from hf_noisy.methods.recorded_branches import SPLIT, RecordedBranches

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback


class DyGenMethod(RecordedBranches):
    """Trains co-regularised branches, records their dynamics, and afterwards fits and predicts with [`DyGen`].

    After `train()`, `trainer.dygen` is the fitted model, `trainer.predict` and `trainer.evaluate` give its posterior
    (the logits are the log of it) for any rows, and the trainer's one network is trained on the posterior of the
    training rows. Trajectories and snapshots are in `output_dir/_dygen`. Evaluation during training is that of the
    branches.

    Args:
        agreement_weight: See [`CoRegularization`].
        warmup_ratio: See [`CoRegularization`].
        noise_rate: Share of wrong labels in `[0, 1)`; None to have it estimated.
        preset: `"evidence"`, or `"paper"` for the published prior and constants; see [`DyGen.fit`].
        vae_epochs: Epochs of the VAE; see [`DyGen.fit`].
        exact: Whether to keep the trained weights of every epoch (in float16), which the posterior of later rows
            needs; otherwise the distilled network predicts them.
        distill: Whether to train a network on the posterior for `save_model`, with the arguments of the trainer;
            otherwise it saves the best branch.
        record: Datasets to record in training too, by name, for `trainer.dygen.posterior(name)`. `"train"` replaces
            the training rows, such as by images without augmentation.

    Raises:
        ValueError: If an argument is out of range; in training, if weights are sharded and `exact` is set.

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, method="dygen")
        trainer.train()
        trainer.dygen.noise_rate
        ```

    Source: DyGEN (Zhuang et al., 2023), Algorithm 2.
    """

    folder_name: ClassVar[str] = "_dygen"

    def __init__(
        self,
        agreement_weight: float = 5.0,
        warmup_ratio: float = 0.1,
        noise_rate: float | None = None,
        preset: Literal["evidence", "paper"] = "evidence",
        vae_epochs: int | None = None,
        exact: bool = True,
        distill: bool = True,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(agreement_weight, warmup_ratio, record)
        if preset not in ("evidence", "paper"):
            raise ValueError(f"preset must be 'evidence' or 'paper', got {preset!r}")
        if noise_rate is not None:
            check_rate(noise_rate)
        self.noise_rate, self.preset, self.vae_epochs = noise_rate, preset, vae_epochs
        self.exact, self.distill = exact, distill
        self.dygen: DyGen | None = None
        self._autocast: str | None = None  # in which the branches were recorded
        self._networks: list[DyGenForClassification] = []  # in a list, to be no part of the state of the method

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        self.dygen = None
        self._networks.clear()
        super().prepare(trainer, resumes=resumes)

    def recorders(self, datasets: dict[str, Any], folder: Path) -> list["TrainerCallback"]:
        snapshots = [EpochSnapshots(folder, dtype="float16")] if self.exact else []
        return [*super().recorders(datasets, folder), *snapshots]

    def finish(self, trainer: "Trainer") -> Float64[np.ndarray, "rows classes"] | None:
        process, args = PartialState(), trainer.args
        trajectories, folder = self.recorder.trajectories, self.recorder.path.parent
        labels = row_labels(trainer.train_dataset)
        process.wait_for_everyone()
        if process.is_main_process:
            fitted = DyGen.fit(
                trajectories,
                labels,
                self.noise_rate,
                split=SPLIT,
                preset=self.preset,
                checked=getattr(trainer, "checked", None),
                vae_epochs=self.vae_epochs,
                seed=args.seed,
                show_progress=not args.disable_tqdm,
            )
            fitted.save_pretrained(folder)
        process.wait_for_everyone()
        self.dygen = fitted if process.is_main_process else DyGen.from_pretrained(folder, trajectories)
        self._autocast = "bfloat16" if args.bf16 else "float16" if args.fp16 else None
        return self.dygen.posterior(SPLIT, labels) if self.distill else None

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        return {"": self.exact_network(model)} if self.dygen is not None and self.exact else {}

    def exact_network(self, model: nn.Module) -> DyGenForClassification:
        """The network that gives the posterior of any rows, after training.

        Args:
            model: The trained branches, `trainer.model`.

        Returns:
            The network, which `save_pretrained` saves.

        Raises:
            ValueError: If nothing was fitted yet, or `exact` is False.
        """
        if self.dygen is None or not self.exact:
            raise ValueError("there is no exact network: train first, with exact=True")
        if not self._networks:
            network = DyGenForClassification.from_training(
                self.dygen, model, self.recorder.path.parent, autocast=self._autocast
            )
            self._networks.append(network)
        return self._networks[0]
