"""The metrics as the `compute_metrics` of a `Trainer`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from hf_noisy.core.cell_task import PRESENT
from hf_noisy.core.checks import check_label_columns
from hf_noisy.core.rows import Task, predicted_logits
from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.core.token_task import NO_LABEL
from hf_noisy.core.types import Labels, Probabilities
from hf_noisy.metrics.calibration import calibration_scores
from hf_noisy.metrics.detection import detection_scores
from hf_noisy.metrics.entities import entity_scores
from hf_noisy.metrics.label_accuracy import accuracy_by_noise, relabelling_scores
from hf_noisy.metrics.label_sets import multi_label_scores
from hf_noisy.metrics.modules import SETTINGS

SETTINGS_OF_TASKS = {"entities": ("names",), "multi_label": ("threshold",)}
_SETTINGS = {"accuracy": (), **SETTINGS, **SETTINGS_OF_TASKS}
_NEED_BOTH = ("accuracy_by_noise", "detection", "label_quality")
_Labels = Sequence[int] | Integer[np.ndarray, " rows"]


def compute_metrics(
    *names: str,
    given_labels: _Labels | None = None,
    clean_labels: _Labels | None = None,
    task: Task = SINGLE_LABEL,
    **settings: Any,
) -> Callable[[Any], dict[str, float]]:
    """Metrics of a classifier as the `compute_metrics` of a `Trainer` or `NoisyTrainer`.

    Predictions are compared with the labels of the evaluation set. If these are noisy and the true ones are known,
    pass both columns: predictions are then compared with the true labels, and the three metrics that need both are
    available. The score of `detection` is one minus the probability of the given label, the new label of
    `label_quality` the predicted class.

    Args:
        names: `"accuracy"`, `"calibration"`, and, with both columns, `"accuracy_by_noise"`, `"detection"` and
            `"label_quality"`; for the task `TOKENS` also `"entities"` (F1 of named entities, by seqeval), for
            `LABEL_SETS` `"multi_label"` (micro and macro F1). The others are of rows: tokens, or cells.
        given_labels: Given labels of the evaluation set, in its order.
        clean_labels: Its true labels. A checkpoint chosen by these scores has been chosen with true labels.
        task: The task of the model, `hf_noisy.core.task.task_of(model)`.
        settings: `num_bins` and `binning` of calibration, `k` and `threshold` of detection, `names` (of the classes,
            by id) of entities, `threshold` of multi_label.

    Returns:
        A function from an `EvalPrediction` to scores by name.

    Raises:
        ValueError: If a name or setting is not known, or one of the two columns is missing; and when called, if the
            predictions are not one score per class, or the labels of the evaluation set equal neither column.

    Example:
        >>> import numpy as np
        >>> from transformers import EvalPrediction
        >>> given, clean = np.array([0, 0, 1]), np.array([0, 1, 1])
        >>> score = compute_metrics("accuracy", "accuracy_by_noise", given_labels=given, clean_labels=clean)
        >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> score(EvalPrediction(predictions=logits, label_ids=given))["memorised"]
        1.0
    """
    _check_names(names, settings, task, given_labels is None or clean_labels is None)
    if (given_labels is None) != (clean_labels is None):
        raise ValueError("given_labels and clean_labels go together, got only one; pass both columns or neither")
    given = None if given_labels is None else np.asarray(given_labels)
    clean = None if clean_labels is None else np.asarray(clean_labels)
    if given is not None and clean is not None:
        check_label_columns(given_labels=given, clean_labels=clean)

    def compute(predicted: Any, compute_result: bool | None = None) -> dict[str, float]:
        if compute_result is not None:
            raise ValueError("these metrics need all rows at once; set batch_eval_metrics=False")
        labels, probabilities = task.evaluated(predicted)
        scores: dict[str, float] = {}
        if "entities" in names:
            scores |= entity_scores(*_tags(predicted, settings["names"]))
        if "multi_label" in names:
            shape = np.shape(predicted.label_ids)
            tables = labels.reshape(shape), probabilities[:, PRESENT].reshape(shape)
            chosen = {key: settings[key] for key in SETTINGS_OF_TASKS["multi_label"] if key in settings}
            scores |= multi_label_scores(*tables, **chosen)
        if given is not None and clean is not None:
            _check_order(labels, given, clean)
            labels = clean
        for name in names:
            if name in SETTINGS_OF_TASKS:
                continue
            chosen = {key: settings[key] for key in _SETTINGS[name] if key in settings}
            scores |= _score(name, labels, probabilities, given, chosen)
        return scores

    return compute


def _score(
    name: str,
    labels: Labels,
    probabilities: Probabilities,
    given: Integer[np.ndarray, " rows"] | None,
    settings: dict[str, Any],
) -> dict[str, float]:
    predicted = probabilities.argmax(axis=1)
    if name == "accuracy":
        return {"accuracy": float(np.mean(predicted == labels))}
    if name == "calibration":
        return calibration_scores(labels, probabilities, **settings)
    assert given is not None  # by `_check_names`
    if name == "accuracy_by_noise":
        return accuracy_by_noise(predicted, given, labels)
    if name == "label_quality":
        return relabelling_scores(predicted, given, labels)
    return detection_scores(1 - probabilities[np.arange(len(given)), given], given != labels, **settings)


def _tags(predicted: Any, names: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Given and predicted tags of the labelled tokens of each sentence."""
    ids, classes = np.asarray(predicted.label_ids), predicted_logits(predicted).argmax(-1)
    return tuple(  # type: ignore[return-value]
        [[names[one] for one in row[is_row]] for row, is_row in zip(side, ids != NO_LABEL, strict=True)]
        for side in (ids, classes)
    )


def _check_names(names: tuple[str, ...], settings: dict[str, Any], task: Task, one_missing: bool) -> None:
    unknown = [name for name in names if name not in task.metrics]
    if unknown or not names:
        raise ValueError(f"metrics must be some of {', '.join(task.metrics)}, got {unknown[0] if unknown else 'none'}")
    known = [key for name in names for key in _SETTINGS[name]]
    if wrong := [key for key in settings if key not in known]:
        raise ValueError(f"settings of {', '.join(names)} are {', '.join(known) or 'none'}, got {wrong[0]}")
    if "entities" in names and "names" not in settings:
        raise ValueError("entities needs names=, the names of the classes by id, such as ['O', 'B-PER', 'I-PER']")
    if one_missing and (needy := [name for name in names if name in _NEED_BOTH]):
        raise ValueError(f"{needy[0]} compares given with true labels; pass given_labels and clean_labels")


def _check_order(labels: Labels, given: Integer[np.ndarray, " given"], clean: Integer[np.ndarray, " clean"]) -> None:
    # `group_by_length` sorts evaluation sets too, and scores of columns in another order would be meaningless.
    if not np.array_equal(labels, given) and not np.array_equal(labels, clean):
        raise ValueError(
            f"the {len(labels)} labels of the evaluation set are neither the {len(given)} given_labels nor the "
            f"{len(clean)} clean_labels; pass the columns of that set, and evaluate without group_by_length"
        )
