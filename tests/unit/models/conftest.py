"""Tiny networks with random weights, so that nothing is downloaded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

TEXT = ("bert", "roberta", "distilbert")
IMAGE = ("vit", "resnet")


def _network(kind: str, **changes: Any) -> PreTrainedModel:
    labels = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}} | changes
    layers: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        **labels,
    }
    words = {"vocab_size": 40, "max_position_embeddings": 24}
    torch.manual_seed(0)
    if kind == "bert":
        return BertForSequenceClassification(BertConfig(**layers, **words))
    if kind == "roberta":
        return RobertaForSequenceClassification(RobertaConfig(**layers, **words))
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
        return DistilBertForSequenceClassification(DistilBertConfig(**sizes, **words, **labels))
    if kind == "vit":
        return ViTForImageClassification(ViTConfig(**layers, image_size=16, patch_size=8))
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(**sizes, **labels))


@pytest.fixture
def network() -> Callable[..., PreTrainedModel]:
    """Builds a tiny classifier of three classes, in evaluation mode."""
    return lambda kind, **changes: _network(kind, **changes).eval()


@pytest.fixture
def inputs() -> Callable[[str], dict[str, Tensor]]:
    """Builds a batch of four rows for a kind of network."""

    def batch(kind: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1)
        if kind in IMAGE:
            size = 16 if kind == "vit" else 32
            return {"pixel_values": torch.randn(4, 3, size, size, generator=generator)}
        ids = torch.randint(3, 40, (4, 7), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return batch


@pytest.fixture(params=[*TEXT, *IMAGE])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of tiny network in turn."""
    return str(request.param)
