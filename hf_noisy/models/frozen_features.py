"""Features of all rows from a model before it is trained."""

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from hf_noisy.core.columns import FEATURES, LABELS, column_vectors
from hf_noisy.core.task import TOKENS
from hf_noisy.data.row_layout import RowLayout
from hf_noisy.models.heads import HeadInputs
from hf_noisy.models.inference import Collator, ModelInputs, batches_of, evaluating, outputs_by_row
from hf_noisy.models.pooling import encoder_of, has_pooled_features, pooled_features


def frozen_features(
    model: nn.Module | None,
    dataset: Any,
    collator: Collator,
    *,
    device: torch.device | None = None,
    batch_size: int = 64,
    show_progress: str | None = None,
) -> Float32[np.ndarray, "rows width"]:
    """The column `features` if there is one, else the mean of the last hidden states of the model's encoder."""
    if (stored := stored_features(dataset)) is not None:
        return stored
    if reason := why_no_features(model):
        raise ValueError(f"features are needed, but {reason}; add a column 'features' with embed")
    with evaluating(cast(nn.Module, model), device):
        (features,) = outputs_by_row(
            cast(nn.Module, model),
            dataset,
            lambda inputs: [pooled_features(cast(nn.Module, model), inputs)[None]],
            batches=batches_of(dataset, batch_size),
            collate=ModelInputs(collator, cast(nn.Module, model)),
            check_finite=True,
            show_progress=show_progress,
        )
    return np.asarray(features[0])


def frozen_token_features(
    model: nn.Module,
    dataset: Any,
    collator: Collator,
    layout: RowLayout,
    *,
    device: torch.device | None = None,
    batch_size: int = 64,
    show_progress: str | None = None,
) -> Float32[np.ndarray, "rows width"]:
    """The inputs of the head of a token classifier at every labelled token."""
    if reason := why_no_features(model):
        raise ValueError(f"features are needed, but {reason}; load a pretrained model")

    def forward(inputs: dict[str, Tensor]) -> list[Tensor]:
        labels = inputs.pop(LABELS)
        model(**inputs)
        return [TOKENS.select(heads.pop()[0], labels)[None]]

    with evaluating(model, device), HeadInputs(model) as heads:
        (features,) = outputs_by_row(
            model,
            dataset,
            forward,
            batches=batches_of(dataset, batch_size),
            collate=ModelInputs(collator, model, with_labels=True),
            check_finite=True,
            show_progress=show_progress,
            layout=layout,
        )
    return np.asarray(features[0])


def stored_features(dataset: Any) -> Float32[np.ndarray, "rows width"] | None:
    """The column `features`, or None."""
    if FEATURES not in (getattr(dataset, "column_names", None) or []):
        return None
    found = column_vectors(dataset, FEATURES)
    return found.astype(np.float32) if found.ndim == 2 and found.dtype.kind == "f" else None


def fed_with_features(model: nn.Module | None) -> bool:
    """Whether the inputs of the model are feature vectors: nothing below its head has weights."""
    if model is None or not has_pooled_features(model):
        return getattr(model, "main_input_name", None) == FEATURES
    encoder: Any = getattr(_first(model), "base_model", None)
    return isinstance(encoder, nn.Module) and not any(True for _ in encoder.parameters())


def trains_encoder(model: nn.Module) -> bool:
    """Whether training changes what lies below the head, so that features do not stay as they are."""
    if fed_with_features(model):
        return False
    encoder = encoder_of(model)  # of another network, any weight may be the encoder's
    return any(weight.requires_grad for weight in (model if encoder is None else encoder).parameters())


def transition_for(encoder_trained: bool) -> str:
    """How [`~hf_noisy.detection.evidence.fit_evidence`] is to estimate the transition matrix before a training."""
    # Softer labels regularise a head on fixed features, which cannot learn more than these tell.
    return "auto" if encoder_trained else "counted"


def why_no_features(model: nn.Module | None) -> str:
    """Why the model gives no features that say something about the rows; empty if it does."""
    if model is None:
        return "there is no model to compute features with"
    if fed_with_features(model):
        found = has_pooled_features(model)
        return "" if found else "the feature vectors for the model are not in a column 'features'"
    if not has_pooled_features(model):
        return "the model has no transformers encoder"
    if getattr(model, "is_quantized", False) or getattr(model, "hf_device_map", None):
        return "the model is quantized or split over devices, so it cannot be moved"
    # A model that was not loaded has random weights.
    loaded = getattr(model, "name_or_path", "") or getattr(_first(model), "name_or_path", "")
    return "" if loaded else "the model has random weights, so its features are uninformative"


def _first(model: nn.Module) -> Any:
    return cast(Any, model).branches[0] if hasattr(model, "branches") else model
