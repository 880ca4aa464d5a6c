"""Extract one network to serve from a trainer with branches or an averaged teacher."""

import copy
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate import PartialState
from jaxtyping import Float64, Int64
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_noisy.core.columns import LABELS
from hf_noisy.core.files import write_atomically
from hf_noisy.core.task import task_of
from hf_noisy.data.row_layout import row_layout
from hf_noisy.models.branches import BranchedModel
from hf_noisy.models.heads import labels_argument, logits_by_branch, num_classes
from hf_noisy.models.inference import Collator, evaluating, outputs_in_training
from hf_noisy.training.distill import name_classes

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer

logger = logging.get_logger(__name__)

FILE = "chosen_network.json"


@dataclass(frozen=True)
class ChosenNetwork:
    """A network of a trainer, and why it was chosen.

    Attributes:
        model: A copy of the network, sharing nothing with the trainer.
        chosen: Which one, such as `"branch 1"` or `"teacher"`.
        reason: Why.
        rows: `"eval_dataset"` or `"train_dataset"`, whichever it was chosen on; None if nothing was compared.
        candidates: Accuracy and loss of each network, against the given labels of these rows.
    """

    model: nn.Module
    chosen: str
    reason: str
    rows: str | None = None
    candidates: dict[str, dict[str, float]] = field(default_factory=dict)

    def save_pretrained(self, folder: str | Path, processing_class: Any = None) -> None:
        """Save the network, and which it is and why in `chosen_network.json`.

        Args:
            folder: Target folder.
            processing_class: Tokenizer or image processor to save with it.
        """
        if not PartialState().is_main_process:
            return
        needs_us = not type(self.model).__module__.startswith(("transformers.", "peft."))
        cast(Any, self.model).save_pretrained(str(folder))
        if processing_class is not None:
            processing_class.save_pretrained(str(folder))
        record = {name: value for name, value in vars(self).items() if name != "model"}
        record |= {"architecture": type(self.model).__name__, "needs_hf_noisy": needs_us}
        write_atomically(Path(folder) / FILE, json.dumps(record, indent=1))
        needs = "; loading it needs hf_noisy.models to be imported" if needs_us else ""
        logger.warning_once(f"{folder}: saved {self.chosen}, {self.reason}{needs}")


def best_network(trainer: "NoisyTrainer") -> ChosenNetwork:
    """The branch (or for methods with a teacher, the student or the teacher) that agrees most with given labels.

    Networks are compared on `eval_dataset`, or else on `train_dataset`, by accuracy and then by loss. True labels are
    not used, unless `eval_dataset` has them.

    Args:
        trainer: After training.

    Returns:
        A [`ChosenNetwork`] with an ordinary model; adapters of branches are merged.

    Raises:
        ValueError: If the trainer has neither branches nor a teacher, weights are sharded, or there are no rows or
            labels to choose by.

    Example:
        ```python
        best = best_network(trainer)
        best.save_pretrained("one-branch", tokenizer)
        best.chosen, best.candidates
        ```
    """
    source = _source(trainer)
    networks = [source] if isinstance(source, BranchedModel) else [trainer.model, source]
    by, parts = "train_dataset", [trainer.train_dataset]
    if trainer.eval_dataset is not None:
        by, of = "eval_dataset", trainer.eval_dataset
        parts = list(of.values()) if isinstance(of, dict) else [of]
    predicted = [_predictions(trainer, networks, part) for part in parts]
    if any(part.labels is None for part in predicted):
        raise ValueError(f"{by} must have labels to choose a network by, in a column 'label' or 'labels'")
    labels = np.concatenate([cast(np.ndarray, part.labels) for part in predicted])
    scores = np.concatenate([part.scores for part in predicted], 1)
    names = ["student", "teacher"] if len(networks) == 2 else [f"branch {index}" for index in range(len(scores))]
    accuracy = (scores.argmax(-1) == labels).mean(1)
    loss = -scores[:, np.arange(len(labels)), labels].mean(1)
    best = int(np.lexsort((loss, -accuracy))[0])
    candidates = {
        name: {"accuracy": float(a), "loss": float(b)} for name, a, b in zip(names, accuracy, loss, strict=True)
    }
    reason = f"by its accuracy against the {len(labels)} given labels of {by}, {accuracy[best]:.4f}"
    if by == "train_dataset":
        reason += ", some of which it may have memorised: pass an eval_dataset to choose by other rows"
    network = source.unbranch(best) if isinstance(source, BranchedModel) else _copy(networks[best])
    return _named(trainer, ChosenNetwork(network, names[best], reason, by, candidates))


def ensemble(trainer: "NoisyTrainer") -> ChosenNetwork:
    """All branches as one model, or the averaged teacher of a method that has one.

    Args:
        trainer: After training.

    Returns:
        A [`ChosenNetwork`]: a [`BranchedModel`], which needs `hf_noisy.models` to load, or an ordinary model.

    Raises:
        ValueError: If the trainer has neither branches nor a teacher, or weights are sharded.
    """
    source = _source(trainer)
    chosen, reason = "the averaged teacher", "which is the mean of the student over its last steps"
    if isinstance(source, BranchedModel):
        chosen = f"all {source.num_branches} branches as one model"
        reason = "since no single ordinary network gives the mean of their probabilities"
    return _named(trainer, ChosenNetwork(_copy(source), chosen, reason))


def _source(trainer: "NoisyTrainer") -> nn.Module:
    """The averaged teacher of the method, or the model with branches."""
    model = trainer.model
    others = [one for one in trainer.method.evaluated(model).values() if one is not model]
    teacher = next((one for one in others if type(one) is type(model)), None)  # not what a method fitted afterwards
    if teacher is None and not isinstance(model, BranchedModel):
        raise ValueError(
            f"trainer must have a model with branches or a method with a teacher after training, got "
            f"{type(model).__name__}; it is an ordinary model already: take trainer.model"
        )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("choosing a network needs whole weights in each process; save_model() first, then load them")
    return model if teacher is None else teacher


def _copy(network: nn.Module) -> nn.Module:
    if not isinstance(network, PreTrainedModel) or isinstance(network, BranchedModel):
        return copy.deepcopy(network)
    # Rebuilt, as accelerate may have patched the forward of the trained network.
    again: Any = type(network)(copy.deepcopy(network.config))
    again.to(device=network.device, dtype=network.dtype).load_state_dict(network.state_dict())
    return cast(nn.Module, again.train(network.training))


def _named(trainer: "NoisyTrainer", chosen: ChosenNetwork) -> ChosenNetwork:
    if isinstance(chosen.model, PreTrainedModel) and not isinstance(chosen.model, BranchedModel):
        name_classes(chosen.model, trainer.train_dataset)
    return chosen


@dataclass
class _Predictions:
    """Log-probabilities of the rows of a dataset, and their given labels."""

    scores: Float64[np.ndarray, "networks rows classes"]
    labels: Int64[np.ndarray, " rows"] | None


def _predictions(trainer: "NoisyTrainer", networks: Sequence[nn.Module], dataset: Any) -> _Predictions:
    """Log-probabilities of every branch or network, in row order."""
    if dataset is None or not hasattr(dataset, "__len__"):
        raise ValueError("train_dataset or eval_dataset must have a length to choose by; load it without streaming")

    needs_labels, task = labels_argument(networks[0]) is not None, task_of(networks[0])
    layout = None if task.one_row or task.cells else row_layout(dataset, task, num_classes(networks[0]))

    def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
        given = inputs.get(LABELS) if needs_labels else inputs.pop(LABELS, None)
        logits = torch.cat([logits_by_branch(network(**inputs)) for network in networks])
        if given is None:
            return [logits]
        given = task.for_model(task.given(given))
        if task.cells:
            return [logits, given[None]]
        return [torch.stack([task.select(one, given) for one in logits]), task.row_labels(given)[None, :, None]]

    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        logits, *labels = outputs_in_training(
            networks[0],
            dataset,
            forward,
            trainer.args,
            cast(Collator, trainer.data_collator),
            with_labels=True,
            layout=layout,
        )
    scores = task.to_classes(torch.from_numpy(logits).double()).log_softmax(-1).numpy()
    scores = scores.reshape(len(scores), -1, scores.shape[-1])
    return _Predictions(scores, labels[0][0].ravel().astype(np.int64) if labels else None)
