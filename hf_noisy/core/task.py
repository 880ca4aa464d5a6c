"""The tasks by name, and which one a model has.

To support another kind of task, subclass `Task` and add an entry to `TASKS`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from hf_noisy.core.cell_task import MULTI_LABEL, MultiLabel
from hf_noisy.core.rows import Task
from hf_noisy.core.single_label import SingleLabel
from hf_noisy.core.token_task import TokenLabels

# Heads with several rows of logits, or none, per example.
_OTHER_HEADS = re.compile(r"For(MultipleChoice|QuestionAnswering|CausalLM|MaskedLM)$")
_TOKEN_HEAD = re.compile(r"ForTokenClassification$")
_BRANCHED = "branched"  # model_type of BranchedModel
AUTO_CLASS_NAMES = (
    "AutoModelForSequenceClassification, AutoModelForTokenClassification or AutoModelForImageClassification"
)

_METRICS = ("accuracy", "accuracy_by_noise", "calibration", "detection", "label_quality")
_SEQUENCE = (
    AutoModelForSequenceClassification,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "text-classification",
    "text",
    "input_ids",
)
_IMAGE = (
    AutoModelForImageClassification,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    "image-classification",
    "image",
    "pixel_values",
)
_ANY: tuple[Any, dict[Any, Any], str, str, str | None] = (None, {}, "text-classification", "unknown", None)

SEQUENCES = SingleLabel("sequence-classification", *_SEQUENCE, _METRICS)
IMAGES = SingleLabel("image-classification", *_IMAGE, _METRICS)
TOKENS = TokenLabels(
    "token-classification",
    AutoModelForTokenClassification,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    "token-classification",
    "text",
    "input_ids",
    (*_METRICS, "entities"),
)
_MULTI_METRICS = (*_METRICS, "multi_label")
LABEL_SETS = MultiLabel("multi-label-classification", *_SEQUENCE, _MULTI_METRICS)
LABEL_SETS_OF_IMAGES = MultiLabel("multi-label-image-classification", *_IMAGE, _MULTI_METRICS)
# Any module that returns class logits, whatever its inputs.
SINGLE_LABEL = SingleLabel("classification", *_ANY, _METRICS)
_ANY_LABEL_SETS = MultiLabel("multi-label", *_ANY, _MULTI_METRICS)
TASKS: dict[str, Task] = {task.name: task for task in (SEQUENCES, IMAGES, TOKENS, LABEL_SETS, LABEL_SETS_OF_IMAGES)}


def task_of(model: Any) -> Task:
    """The task of a classifier (PEFT adapters are looked through); a model of another kind is a `ValueError`."""
    config = getattr(model, "config", None)
    problem = getattr(config, "problem_type", None)
    if problem == "regression":
        raise ValueError(f"model must classify into one label, several labels or tokens, got problem_type={problem!r}")
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    if _OTHER_HEADS.search(type(network).__name__):
        raise ValueError(
            f"{type(network).__name__} is not a text or image classifier with one row of class logits per example; "
            f"pass a model from {AUTO_CLASS_NAMES}"
        )
    if getattr(config, "model_type", None) == _BRANCHED:
        return TASKS[config.task]  # type: ignore[union-attr]
    if _TOKEN_HEAD.search(type(network).__name__):
        return TOKENS
    several = problem == MULTI_LABEL
    main_input = getattr(network, "main_input_name", None)
    kinds = (LABEL_SETS, LABEL_SETS_OF_IMAGES) if several else (SEQUENCES, IMAGES)
    found = next((task for task in kinds if task.main_input == main_input), None)
    return found or (_ANY_LABEL_SETS if several else SINGLE_LABEL)


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
    alike = [other for other in known if type(other) is type(task)]
    return task if task in known else (alike or known)[0]


def task_of_config(config: Mapping[str, Any]) -> Task:
    """The task of a stored configuration; only those of image models have `num_channels`."""
    if config.get("model_type") == _BRANCHED and config.get("task") in TASKS:
        return TASKS[str(config["task"])]
    if any(_TOKEN_HEAD.search(str(name)) for name in config.get("architectures") or ()):
        return TOKENS
    is_image = '"num_channels"' in json.dumps(dict(config), default=str)
    if config.get("problem_type") == MULTI_LABEL:
        return LABEL_SETS_OF_IMAGES if is_image else LABEL_SETS
    return IMAGES if is_image else SEQUENCES
