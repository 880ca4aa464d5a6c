"""The one ordinary network that a training of several networks leaves: in the user's model, and in `save_model`."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.utils import logging

from hf_noisy.core.rng import random_state_kept
from hf_noisy.models.branches import BranchedModel
from hf_noisy.models.inference import Collator
from hf_noisy.training.best_network import best_network
from hf_noisy.training.distill import name_classes, train_student

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer

logger = logging.get_logger(__name__)

BRANCHES_FOLDER, DYGEN_FOLDER = "branches", "dygen"


class SingleNetwork:
    """The network for users after the training of a method of several networks.

    Args:
        trainer: After training.
        given: The ordinary model that the user passed, which gets the weights; None if there was none.
        posterior: `[rows, classes]`, distributions of the true labels to train the network on, if the method has them.
    """

    def __init__(
        self,
        trainer: "NoisyTrainer",
        given: PreTrainedModel | None,
        posterior: Float[np.ndarray, "rows classes"] | None,
    ) -> None:
        self.trainer = trainer
        self.is_distilled = given is not None and posterior is not None
        self._network: PreTrainedModel | None = None
        if given is None:
            return  # chosen when asked for
        if posterior is not None:
            self._network, how = self._distilled(given, posterior), "trained on the posterior of the training rows"
        else:
            best, how = _best(trainer)
            given.load_state_dict(best.state_dict())
            self._network = given
        name_classes(self._network, trainer.train_dataset)
        self._network.eval()
        self._say(f"the model passed to the trainer is now one ordinary network, {how}")

    @property
    def network(self) -> PreTrainedModel:
        """The network; without a model of the user, a copy of the best branch."""
        if self._network is None:
            self._network, how = _best(self.trainer)
            self._say(f"save_model writes one ordinary network, {how}")
        return self._network

    @contextmanager
    def in_place_of_all(self) -> Iterator[None]:
        """Let the network be the trainer's model."""
        model, network = self.trainer.model, self.network
        try:
            self.trainer.model = network
            yield
        finally:
            self.trainer.model = model

    def save_others(self, folder: str) -> None:
        """Write what stands beside the network: all branches, and a fitted DyGEN."""
        if not self.trainer.args.should_save:
            return
        cast(BranchedModel, self.trainer.model).save_pretrained(Path(folder) / BRANCHES_FOLDER)
        if self.trainer.dygen is not None:
            self.trainer.dygen.save_pretrained(Path(folder) / DYGEN_FOLDER)

    def _distilled(self, given: PreTrainedModel, posterior: Float[np.ndarray, "rows classes"]) -> PreTrainedModel:
        trainer = self.trainer
        collator, args = cast(Collator, trainer.data_collator), _quiet(trainer.args)
        with random_state_kept():
            train_student(given, trainer.train_dataset, posterior, args, trainer.processing_class, collator)
        return given

    def _say(self, message: str) -> None:
        if self.trainer.is_world_process_zero():
            logger.warning(message)


def _best(trainer: "NoisyTrainer") -> tuple[PreTrainedModel, str]:
    try:
        best = best_network(trainer)
        return cast(PreTrainedModel, best.model), f"{best.chosen}, {best.reason}"
    except ValueError as error:  # nothing to choose by
        return cast(BranchedModel, trainer.model).unbranch(0), f"branch 0 ({error})"


def _quiet(args: TrainingArguments) -> TrainingArguments:
    """The arguments of a training that neither evaluates, saves, reports nor publishes."""
    args = copy.copy(args)
    args.eval_strategy = args.logging_strategy = IntervalStrategy.NO
    args.save_strategy, args.load_best_model_at_end = SaveStrategy.NO, False
    args.push_to_hub, args.report_to = False, []
    return args
