"""Evaluation of the model and of the further networks of its method."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from transformers.trainer_utils import EvalLoopOutput

from hf_noisy.training.single_network import SingleNetwork

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer


def evaluate_networks(
    trainer: "NoisyTrainer", single: SingleNetwork | None, loop: Callable[[str], EvalLoopOutput], prefix: str
) -> EvalLoopOutput:
    """The results of the loop for the model, with the metrics of further networks by their names."""
    model, networks = trainer.model, trainer.method.evaluated(trainer.model)
    distilled = single.network if single and single.is_distilled else model
    try:
        trainer.model = networks.pop("", distilled)
        result = loop(prefix)
        for name, network in networks.items():
            trainer.model = network
            result.metrics.update(loop(f"{prefix}_{name}").metrics or {})  # type: ignore[union-attr]
    finally:
        trainer.model = model
    return result
