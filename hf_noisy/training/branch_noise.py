"""NEFTune with several networks: noise on the embeddings of each."""

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.integrations.neftune import neftune_post_forward_hook

from hf_noisy.models.branches import BranchedModel

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer


class BranchNoise:
    """Takes the place of `Trainer`'s NEFTune, which knows one embedding, while several networks are trained."""

    def __init__(self, trainer: "NoisyTrainer") -> None:
        self.trainer = trainer
        self._many = False  # between the trials of a search, there is no model to ask
        self._alpha: float | None = None
        self._noisy: list[tuple[Any, Any]] = []  # embeddings and the handles of their hooks

    def __enter__(self) -> None:
        trainer = self.trainer
        if trainer.model is not None:
            self._many = trainer.method.num_branches > 1 or isinstance(trainer.model, BranchedModel)
        if self._many:
            self._alpha, trainer.neftune_noise_alpha = trainer.neftune_noise_alpha, None

    def attach(self, model: nn.Module) -> None:
        """Add noise in training from now on; the model is the final one."""
        if self._alpha is None or not isinstance(model, BranchedModel):
            return
        for embedding in {branch.get_input_embeddings() for branch in model.branches}:  # type: ignore[operator]
            embedding.neftune_noise_alpha = self._alpha
            self._noisy.append((embedding, embedding.register_forward_hook(neftune_post_forward_hook)))

    def __exit__(self, *error: object) -> None:
        for embedding, handle in self._noisy:
            handle.remove()
            del embedding.neftune_noise_alpha
        self._noisy.clear()
        if self._alpha is not None:
            self.trainer.neftune_noise_alpha, self._alpha = self._alpha, None
