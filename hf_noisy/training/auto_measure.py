"""The label noise of a training set, estimated before training from frozen features and the given labels."""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from jaxtyping import Float, Float32, Int64
from torch import nn
from torch.utils.data import Subset
from transformers import PreTrainedModel, set_seed

from hf_noisy.core.columns import FEATURES, LABEL, LABELS
from hf_noisy.core.rng import random_state_kept
from hf_noisy.core.task import TASKS
from hf_noisy.data.labels import label_column
from hf_noisy.data.views import default_view
from hf_noisy.detection.label_model import fit_label_model
from hf_noisy.detection.noise_rate import NoiseRate, rate_from_posterior
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.models.heads import num_classes
from hf_noisy.models.inference import Collator, ModelInputs, batches_of, default_collator, evaluating, outputs_by_row
from hf_noisy.models.pooling import has_pooled_features, pooled_features

MAX_ROWS = 3000
_MIN_ROWS = 50  # too few for a meaningful estimate below


class NoiseEstimate(NamedTuple):
    """Rate and kind of the label noise in a sample of the training rows."""

    rate: NoiseRate
    concentration: float  # of a class's noise on one other class, 0 to 1; of two classes how one-sided it is
    by_row: float  # share of rows whose noise depends on the row rather than on its class
    agreement: float  # share of given labels that a linear classifier on the features predicts out of fold
    sample: int  # rows


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
    data_collator: Collator | None = None,
    device: torch.device | None = None,
    batch_size: int = 64,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    show_progress: bool = True,
) -> Measured:
    """Estimate rate and kind of the noise of a training set from frozen features, without a true label.

    Features are the column `features` if there is one, else the mean of the last hidden states of the model's encoder.
    A logistic regression on them is cross-validated, and the label model of [`hf_noisy.detection`] fitted to its
    predictions. The global random state is not changed.

    Args:
        model: A classifier; None if the rows have features.
        train_dataset: As for the trainer.
        processing_class: As for the trainer.
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
        position = np.sort(np.random.default_rng(seed).permutation(rows)[:max_rows])
        labels = _labels(train_dataset, position)
        sample = _select(train_dataset, position)
        if labels is None:
            return Measured(**known, reason="its labels are not class ids")
        features = _column(sample)
        if features is None:
            if reason := _why_no_features(model):
                return Measured(**known, reason=reason)
            collator = data_collator or default_collator(processing_class)
            features = _encode(cast(nn.Module, model), sample, collator, device, batch_size, show_progress)
        found: list[Any] = [None]
        if PartialState().is_main_process:
            found = [noise_of(features, labels, seed=seed)]
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
    probabilities = out_of_fold_probabilities(features[kept], codes, seed=seed)
    model = fit_label_model(codes, probabilities)
    rate = rate_from_posterior(model.predict(codes, probabilities), model.ambiguous)
    shares = np.bincount(codes) / len(codes)
    return NoiseEstimate(
        NoiseRate(*(float(value) for value in rate)),
        concentration(model.transition, shares),
        float(model.ambiguous),
        float((probabilities.argmax(1) == codes).mean()),
        len(codes),
    )


def concentration(transition: Float[np.ndarray, "classes classes"], shares: Float[np.ndarray, " classes"]) -> float:
    """How much of the noise of a class goes to one other class, from 0 (spread evenly) to 1 (all of it)."""
    classes = len(transition)
    wrong = transition * (1 - np.eye(classes)) * shares[:, None]
    total = wrong.sum()
    if total == 0:
        return 0.0
    if classes == 2:
        return float(abs(wrong[0, 1] - wrong[1, 0]) / total)
    largest = wrong.max(axis=1).sum() / total
    return float(np.clip((largest - 1 / (classes - 1)) / (1 - 1 / (classes - 1)), 0.0, 1.0))


def _modality(model: nn.Module | None, dataset: Any) -> str:
    columns = getattr(dataset, "column_names", None) or []
    if _fed_with_features(model) or (model is None and FEATURES in columns):
        return "features"
    inputs = {getattr(model, "main_input_name", None), *columns}
    return next((task.modality for task in TASKS.values() if task.main_input in inputs), "unknown")


def _fed_with_features(model: nn.Module | None) -> bool:
    """Whether the inputs of the model are feature vectors: nothing below its head has weights."""
    if model is None or not has_pooled_features(model):
        return getattr(model, "main_input_name", None) == FEATURES
    encoder: Any = getattr(_first(model), "base_model", None)
    return isinstance(encoder, nn.Module) and not any(True for _ in encoder.parameters())


def _first(model: nn.Module) -> Any:
    return cast(Any, model).branches[0] if hasattr(model, "branches") else model


def _why_no_features(model: nn.Module | None) -> str:
    if model is None:
        return "there is no model to compute features with"
    if _fed_with_features(model):
        found = has_pooled_features(model)
        return "" if found else "the feature vectors for the model are not in a column 'features'"
    if not has_pooled_features(model):
        return "the model has no transformers encoder"
    if getattr(model, "is_quantized", False) or getattr(model, "hf_device_map", None):
        return "the model is quantized or split over devices, so it cannot be moved"
    # A model that was not loaded has random weights.
    loaded = getattr(model, "name_or_path", "") or getattr(_first(model), "name_or_path", "")
    return "" if loaded else "the model has random weights, so its features are uninformative"


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
        values = np.asarray(dataset.select(position).with_format(None)[column][:])
    else:
        rows = (dataset[int(row)] for row in position)
        values = np.asarray([np.asarray(row.get(LABELS, row.get(LABEL))) for row in rows])
    return values.astype(np.int64) if values.ndim == 1 and values.dtype.kind in "iu" and values.min() >= 0 else None


def _column(sample: Any) -> Float32[np.ndarray, "sample width"] | None:
    if FEATURES not in (getattr(sample, "column_names", None) or []):
        return None
    vectors = np.asarray(sample.with_format("numpy", columns=[FEATURES])[:][FEATURES])
    return vectors.astype(np.float32) if vectors.ndim == 2 and vectors.dtype.kind == "f" else None


def _encode(
    model: nn.Module, sample: Any, collator: Collator, device: torch.device | None, batch_size: int, show: bool
) -> Float32[np.ndarray, "sample width"]:
    with evaluating(model, device):
        (features,) = outputs_by_row(
            model,
            sample,
            lambda inputs: [pooled_features(model, inputs)[None]],
            batches=batches_of(sample, batch_size),
            collate=ModelInputs(collator, model),
            check_finite=True,
            show_progress="measuring the noise" if show else None,
        )
    return np.asarray(features[0])
