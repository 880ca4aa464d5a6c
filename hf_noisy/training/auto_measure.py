"""The label noise of a training set, estimated before training from frozen features and the given labels."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float, Int64
from torch import nn
from torch.utils.data import Subset
from transformers import PreTrainedModel, set_seed

from hf_noisy.core.columns import FEATURES, LABEL, LABELS
from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.task import TASKS
from hf_noisy.data.checked import RANDOM, CheckedRows
from hf_noisy.data.labels import label_array, label_column, label_column_array
from hf_noisy.data.views import default_view
from hf_noisy.detection.agreement import informed_agreement
from hf_noisy.detection.checked_choice import LabelChoice, choose_labels
from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.noise_rate import NoiseRate
from hf_noisy.models.frozen_features import (
    fed_with_features,
    frozen_features,
    stored_features,
    trains_encoder,
    transition_for,
    why_no_features,
)
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator, default_collator

MAX_ROWS = 3000
_FEWEST_RANDOM = 20  # checked rows drawn at random, on which labels are then compared instead of on all
_MIN_ROWS = 50  # too few for a meaningful estimate below


class NoiseEstimate(NamedTuple):
    """Rate and kind of the label noise in a sample of the training rows."""

    rate: NoiseRate
    agreement: float  # share of given labels that classifiers on the features predict without having seen them
    beyond_chance: float  # the same beyond chance, from 0 to 1: how much the features say about the labels
    class_prior: dict[str, float]  # weight of each class prior
    sample: int  # rows
    labels: LabelChoice | None = None  # which labels are best by the checked rows, if there are any


@dataclass(frozen=True)
class Measured:
    """The measurements by which `method="auto"` chooses."""

    rows: int | None  # None without a training set of known length
    classes: int | None
    modality: str  # "text", "image", "features" (vectors of an encoder) or "unknown"
    branches: bool  # whether the model has, or can be made into, several networks
    views: bool  # whether a second view of each row can be made
    noise: NoiseEstimate | None = None
    reason: str = ""  # why there is no estimate


def measure(
    model: nn.Module | None,
    train_dataset: Any,
    processing_class: Any = None,
    *,
    checked: CheckedRows | None = None,
    data_collator: Collator | None = None,
    device: torch.device | None = None,
    batch_size: int = 64,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    show_progress: bool = True,
) -> Measured:
    """Estimate rate and kind of the noise of a training set from frozen features, without a true label.

    Features are the column `features` if there is one, else the mean of the last hidden states of the model's encoder.
    [`~hf_noisy.detection.evidence.fit_evidence`] predicts each row without its own label. The global random state
    does not change.

    Args:
        model: A classifier; None if the rows have features.
        train_dataset: As for the trainer.
        processing_class: As for the trainer.
        checked: Rows that a person has checked; all of them are in the sample.
        data_collator: As for the trainer; defaults to padding if possible.
        device: Device for computing features; by default the model's.
        batch_size: Rows per forward pass.
        max_rows: Rows in the sample.
        seed: Of the sample and the folds.
        show_progress: Whether to show a progress bar.

    Returns:
        A [`Measured`], the same on every process.

    Example:
        ```python
        measure(model, train, tokenizer).noise.rate  # NoiseRate(rate=0.19, low=0.16, high=0.22)
        ```
    """
    sized = train_dataset is not None and hasattr(train_dataset, "__len__") and hasattr(train_dataset, "__getitem__")
    rows, modality = len(train_dataset) if sized else None, _modality(model, train_dataset)
    classes = None if model is None else num_classes(model)
    known: dict[str, Any] = {"rows": rows, "classes": classes, "modality": modality, "branches": _can_branch(model)}
    if not rows:
        return Measured(**known, views=False, reason="there are no training rows")
    with random_state_kept():
        set_seed(seed)  # for random augmentation
        known["views"] = _has_view(train_dataset, processing_class, modality)
        position = np.random.default_rng(seed).permutation(rows)[:max_rows]
        position = np.unique(position if checked is None else np.r_[position, checked.index])
        labels = _labels(train_dataset, position)
        sample = _select(train_dataset, position)
        if labels is None:
            return Measured(**known, reason="its labels are not class ids")
        if stored_features(sample) is None and (reason := why_no_features(model)):
            return Measured(**known, reason=reason)
        features = frozen_features(
            model,
            sample,
            data_collator or default_collator(processing_class),
            device=device,
            batch_size=batch_size,
            show_progress="measuring the noise" if show_progress else None,
        )
        found: list[Any] = [None]
        if PartialState().is_main_process:
            found = [noise_of(features, labels, seed=seed)]
            if checked is not None and found[0] is not None:
                index = np.searchsorted(position, checked.index)
                random = np.array(checked.strategy) == RANDOM
                best = choose_labels(
                    features,
                    labels,
                    index,
                    checked.labels,
                    compared=random if random.sum() >= _FEWEST_RANDOM else None,
                    num_classes=classes,
                    transition=transition_for(model is not None and trains_encoder(model)),
                    seed=seed,
                )
                found = [found[0]._replace(labels=best)]
    noise = broadcast_object_list(found)[0]
    reason = "" if noise is not None else f"there are fewer than {_MIN_ROWS} rows, or only one class"
    return Measured(**known, noise=noise, reason=reason)


def noise_of(
    features: Float[np.ndarray, "rows width"], labels: Int64[np.ndarray, " rows"], *, seed: int = 0
) -> NoiseEstimate | None:
    """The noise of given labels, without classes of one row; None if there are too few rows or classes."""
    counts = np.bincount(labels)
    kept = counts[labels] >= 2
    present, codes = np.unique(labels[kept], return_inverse=True)
    if len(codes) < _MIN_ROWS or len(present) < 2:
        return None
    evidence = fit_evidence(features[kept], codes, seed=seed)
    predicted = evidence.probabilities.argmax(1)
    return NoiseEstimate(
        evidence.noise_rate,
        float((predicted == codes).mean()),
        informed_agreement(codes, predicted),
        evidence.prior_weights,
        len(codes),
    )


def _modality(model: nn.Module | None, dataset: Any) -> str:
    columns = getattr(dataset, "column_names", None) or []
    if fed_with_features(model) or (model is None and FEATURES in columns):
        return "features"
    inputs = {getattr(model, "main_input_name", None), *columns}
    return next((task.modality for task in TASKS.values() if task.main_input in inputs), "unknown")


def _can_branch(model: nn.Module | None) -> bool:
    return isinstance(model, PreTrainedModel) or getattr(model, "num_branches", 1) > 1


def _has_view(dataset: Any, processing_class: Any, modality: str) -> bool:
    try:
        view = default_view(dataset[0], processing_class)
    except ValueError:
        return False
    # Feature vectors in the shape of an image must not be shifted or mirrored, so they need their own views.
    return view is None or modality != "features"


def _select(dataset: Any, position: Int64[np.ndarray, " sample"]) -> Any:
    return dataset.select(position) if hasattr(dataset, "select") else Subset(dataset, position.tolist())


def _labels(dataset: Any, position: Int64[np.ndarray, " sample"]) -> Int64[np.ndarray, " sample"] | None:
    column = label_column(dataset)
    if column is not None:
        values = label_column_array(dataset.select(position), column)
    else:
        rows = (dataset[int(row)] for row in position)
        values = label_array([np.asarray(row.get(LABELS, row.get(LABEL))) for row in rows])
    return values.astype(np.int64) if values.ndim == 1 and values.dtype.kind in "iu" and values.min() >= 0 else None
