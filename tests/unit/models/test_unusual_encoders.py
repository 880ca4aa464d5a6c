"""Encoder-decoders, and encoders whose output is not as long as their input, can be recorded."""

import pytest
import torch
from transformers import (
    FunnelConfig,
    FunnelForSequenceClassification,
    MT5Config,
    MT5ForSequenceClassification,
    PerceiverConfig,
    PerceiverForSequenceClassification,
    PreTrainedModel,
    T5Config,
    T5ForSequenceClassification,
    UMT5Config,
    UMT5ForSequenceClassification,
)

from hf_noisy.models.heads import HeadInputs, find_heads
from hf_noisy.models.pooling import pooled_features

T5_SIZES = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
T5_SIZES |= {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def network(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "funnel":
        sizes = {"vocab_size": 40, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16}
        return FunnelForSequenceClassification(FunnelConfig(**sizes, block_sizes=[1, 1], num_labels=3)).eval()
    if kind == "perceiver":
        sizes = {"vocab_size": 40, "d_model": 16, "d_latents": 16, "num_latents": 4, "max_position_embeddings": 16}
        depth = {"num_self_attends_per_block": 1, "num_self_attention_heads": 2, "num_cross_attention_heads": 2}
        return PerceiverForSequenceClassification(PerceiverConfig(**sizes, **depth, num_labels=3)).eval()
    config, model = {
        "t5": (T5Config, T5ForSequenceClassification),
        "mt5": (MT5Config, MT5ForSequenceClassification),
        "umt5": (UMT5Config, UMT5ForSequenceClassification),
    }[kind]
    return model(config(**T5_SIZES, num_labels=3)).eval()


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5", "perceiver", "funnel"])
@torch.no_grad()
def test_features_and_inputs_of_the_head(kind):
    model = network(kind)
    ids = torch.randint(2, 40, (4, 8), generator=torch.Generator().manual_seed(1))
    ids[:, -1] = 1
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    features = pooled_features(model, batch)
    assert features.shape == (4, 16)
    torch.testing.assert_close(pooled_features(model, {n: v[1:] for n, v in batch.items()}), features[1:])
    with HeadInputs(model) as heads:
        logits = model(**batch).logits
        (inputs,) = heads.pop()
    torch.testing.assert_close(find_heads(model)[0](inputs), logits)
