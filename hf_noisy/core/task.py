"""Tasks: how the output of a model becomes rows of class logits, which are all that methods and metrics see.

To support another kind of task (token labels, multi-label), subclass `Task` and add an entry to `TASKS`.
"""

import json
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from hf_noisy.core.checks import check_labels, check_soft_labels
from hf_noisy.core.types import Labels, Logits, Probabilities

# Heads with several rows of logits, or none, per example.
_OTHER_HEADS = re.compile(r"For(TokenClassification|MultipleChoice|QuestionAnswering|CausalLM|MaskedLM)$")
_OTHER_PROBLEMS = ("regression", "multi_label_classification")
_ONE_LABEL = "model must classify into one label"
AUTO_CLASS_NAMES = "AutoModelForSequenceClassification or AutoModelForImageClassification"


@dataclass(frozen=True)
class Rows:
    """Rows of class logits, with the given label (or soft label) and the index of each row."""

    logits: Logits
    labels: Int[Tensor, " rows"] | Float[Tensor, "rows classes"]
    index: Int[Tensor, " rows"]  # -1 where rows have no index
    branch_logits: Float[Tensor, "rows branches classes"] | None = None  # of a model of several networks


@dataclass(frozen=True)
class Task(ABC):
    """A kind of classification."""

    name: str  # as configurations store it
    auto_class: Any  # of transformers; None for modules that it does not know
    mapping: Any  # from configurations to the model classes of `auto_class`
    pipeline_tag: str  # of `pipeline` and model cards
    modality: str  # "text", "image" or "unknown"; also the column of raw inputs
    main_input: str | None  # the input that such a model requires
    metrics: tuple[str, ...]  # names that `compute_metrics` accepts

    def model_classes(self, config: Any) -> tuple[type, ...]:
        """The model classes that the auto class has for a configuration."""
        classes = self.mapping.get(type(config), ())
        return classes if isinstance(classes, tuple) else (classes,)

    @abstractmethod
    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        """The rows of logits in the output of a model for a batch; `ValueError` if there are none."""

    @abstractmethod
    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        """Indices of the rows of logits of a batch; -1 where its examples have none."""

    @abstractmethod
    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        """Labels and probabilities of all rows of an `EvalPrediction`."""

    @abstractmethod
    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        """Refuse labels on which such a model cannot be trained."""


class SingleLabel(Task):
    """One class for each example: a row is an example."""

    def rows(self, outputs: Any, labels: Tensor, index: Tensor | None = None) -> Rows:
        logits = logits_of(outputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != labels.shape[0]:
            found = "no logits" if logits is None else f"logits of shape {tuple(getattr(logits, 'shape', ()))}"
            raise ValueError(
                f"model must return logits of shape [batch, classes], but its output has {found} for a batch of "
                f"{labels.shape[0]}; use a sequence or image classification model"
            )
        return Rows(logits, labels, self.row_index(labels, index), getattr(outputs, "branch_logits", None))

    def row_index(self, labels: Tensor, index: Tensor | None) -> Int[Tensor, " rows"]:
        return torch.full(labels.shape[:1], -1, device=labels.device) if index is None else index

    def evaluated(self, predicted: Any) -> tuple[Labels, Probabilities]:
        from scipy.special import softmax

        # Where a model returns more than logits, such as hidden states, the logits come first.
        logits = predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions
        labels = check_labels(one_class_each(predicted.label_ids))
        if not isinstance(logits, np.ndarray) or logits.ndim != 2 or len(logits) != len(labels):
            shape = getattr(logits, "shape", type(logits).__name__)
            raise ValueError(f"predictions must be logits [rows, classes] of the {len(labels)} rows, got {shape}")
        return labels, softmax(logits.astype(np.float64), axis=1)

    def check_labels(self, labels: Shaped[np.ndarray, "..."], num_classes: int, soft_labels: bool = False) -> None:
        if num_classes < 2:
            raise ValueError(
                f"model has {num_classes} class, but at least 2 are needed; load it with num_labels=2 or more"
            )
        refuse_multi_label(labels, num_classes)
        if labels.ndim != 2 or labels.dtype.kind != "f":
            check_labels(labels, num_classes)
        elif soft_labels:
            check_soft_labels(labels, num_classes)
            if len(labels) and np.isin(labels, (0, 1)).all():
                warnings.warn(
                    "labels are one-hot vectors, trained as one class per row with softmax, where a stock Trainer "
                    "would train independent classes",
                    stacklevel=2,
                )
        else:
            raise ValueError(
                f"labels must be one class per row for this method, got soft labels of shape {labels.shape}; use "
                "method='cross_entropy', or the most probable class of each row"
            )


_METRICS = ("accuracy", "accuracy_by_noise", "calibration", "detection", "label_quality")
SEQUENCES = SingleLabel(
    "sequence-classification",
    AutoModelForSequenceClassification,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "text-classification",
    "text",
    "input_ids",
    _METRICS,
)
IMAGES = SingleLabel(
    "image-classification",
    AutoModelForImageClassification,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    "image-classification",
    "image",
    "pixel_values",
    _METRICS,
)
# Any module that returns class logits, whatever its inputs.
SINGLE_LABEL = SingleLabel("classification", None, {}, "text-classification", "unknown", None, _METRICS)
TASKS: dict[str, Task] = {task.name: task for task in (SEQUENCES, IMAGES)}


def logits_of(outputs: Any) -> Any:
    """The logits in the output of a model: an object, a mapping, a tuple `(loss, logits, ...)`, or logits alone."""
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, tuple | list):
        return next((part for part in outputs if not (isinstance(part, Tensor) and part.ndim == 0)), None)
    return outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)


def one_class_each(labels: Any) -> Any:
    """Labels `[rows, 1]` of class ids, which transformers' own losses accept, as `[rows]`; others unchanged."""
    if getattr(labels, "ndim", 0) != 2 or labels.shape[1] != 1:
        return labels
    if not isinstance(labels, Tensor):
        return labels[:, 0]
    column = labels[:, 0].long()  # the default collator makes floats of lists
    return column if bool((column == labels[:, 0]).all()) else labels


def refuse_multi_label(labels: Shaped[np.ndarray, "..."], num_classes: int) -> None:
    """Refuse rows of zeros and ones with several classes, or none."""
    is_table = labels.ndim == 2 and labels.shape[1] == num_classes and labels.dtype.kind in "biuf"
    if not is_table or not np.isin(labels, (0, 1)).all():
        return
    if (several := labels.sum(1) != 1).any():
        row = int(several.argmax())
        raise ValueError(
            f"{_ONE_LABEL}, got {int(labels[row].sum())} classes in row {row}, as of "
            "problem_type='multi_label_classification'"
        )


def task_of(model: Any) -> Task:
    """The task of a classifier (PEFT adapters are looked through); a model of another kind is a `ValueError`."""
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    if problem in _OTHER_PROBLEMS:
        raise ValueError(f"{_ONE_LABEL}, got problem_type={problem!r}")
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    if _OTHER_HEADS.search(type(network).__name__):
        raise ValueError(
            f"{type(network).__name__} is not a text or image classifier with one row of class logits per example; "
            f"pass a model from {AUTO_CLASS_NAMES}"
        )
    main_input = getattr(network, "main_input_name", None)
    return next((task for task in TASKS.values() if task.main_input == main_input), SINGLE_LABEL)


def auto_task(model: Any) -> Task:
    """The task of a model that an auto class of transformers can rebuild from its configuration."""
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"model must be a transformers model, got {type(model).__name__}; for adapters, call "
            "BranchedModel.from_model on the plain model with lora="
        )
    task = task_of(model)
    known = [other for other in TASKS.values() if type(model) in other.model_classes(model.config)]
    if not known:
        raise ValueError(
            f"{type(model).__name__} is not a text or image classifier that transformers knows; pass a model from "
            f"{AUTO_CLASS_NAMES}"
        )
    return task if task in known else known[0]


def task_of_config(config: Mapping[str, Any]) -> Task:
    """The task of a stored configuration; only those of image models have `num_channels`."""
    return IMAGES if '"num_channels"' in json.dumps(dict(config), default=str) else SEQUENCES
