import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import MetaClip2Config, MetaClip2ForImageClassification

from hf_noisy.models import BranchedModel
from hf_noisy.models.pooling import has_pooled_features, pooled_features

# PEFT itself asks a model for what transformers calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TEXT = ["bert", "roberta", "distilbert"]


@torch.no_grad()
def features_of(model, batch):
    return pooled_features(model, batch)


def without_row(batch, row):
    return {name: value[torch.arange(len(value)) != row] for name, value in batch.items()}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", TEXT)
def test_padding_does_not_count(kind, side, network, inputs):
    model, batch = network(kind), inputs(kind)
    batch["attention_mask"][2, slice(None, 3) if side == "left" else slice(4, None)] = 0
    batch["attention_mask"][3, 1:] = 0
    found = features_of(model, batch)
    with torch.no_grad():
        hidden = model.base_model(**batch).last_hidden_state
    assert found.shape == (4, 16)
    for row, states in enumerate(hidden):
        kept = states[batch["attention_mask"][row].bool()]
        torch.testing.assert_close(found[row], kept.mean(0))
    scribbled = {**batch, "input_ids": torch.where(batch["attention_mask"] == 1, batch["input_ids"], 7)}
    if kind != "roberta":  # which numbers positions by what is not the padding token
        torch.testing.assert_close(features_of(model, scribbled), found)


def test_without_a_mask_every_token_counts(network, inputs):
    model, batch = network("bert"), inputs("bert")
    expected = features_of(model, batch)
    torch.testing.assert_close(features_of(model, {"input_ids": batch["input_ids"]}), expected)


def test_row_without_a_token_stays_finite(network, inputs):
    batch = inputs("bert")
    batch["attention_mask"][1] = 0
    assert features_of(network("bert"), batch).isfinite().all()


def test_patches_of_an_image_are_averaged(network, inputs):
    model, batch = network("vit"), inputs("vit")
    with torch.no_grad():
        hidden = model.vit(**batch).last_hidden_state
    assert hidden.shape == (4, 5, 16)
    torch.testing.assert_close(features_of(model, batch), hidden.mean(1))


def test_positions_of_a_feature_map_are_averaged(network, inputs):
    model, batch = network("resnet"), inputs("resnet")
    with torch.no_grad():
        hidden = model.resnet(**batch).last_hidden_state
    assert hidden.ndim == 4
    torch.testing.assert_close(features_of(model, batch), hidden.mean((2, 3)))


def test_rows_do_not_depend_on_each_other(kind, network, inputs):
    model, batch = network(kind), inputs(kind)
    torch.testing.assert_close(
        features_of(model, without_row(batch, 0)), features_of(model, batch)[1:], rtol=1e-4, atol=1e-5
    )


def test_what_the_encoder_does_not_take_is_left_out(kind, network, inputs):
    model, batch = network(kind), inputs(kind)
    labels = torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(features_of(model, {**batch, "labels": labels}), features_of(model, batch))


def test_wrappers_are_looked_through(kind, network, inputs):
    expected = features_of(network(kind), inputs(kind))
    layers = {"resnet": ["convolution"], "distilbert": ["q_lin"]}.get(kind, "all-linear")
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=layers)
    for wrapped in (
        BranchedModel.from_model(network(kind), num_branches=2),
        torch.compile(network(kind), backend="eager"),
        get_peft_model(network(kind), lora),  # adapters add nothing before the first step
    ):
        wrapped.eval()
        assert has_pooled_features(wrapped)
        torch.testing.assert_close(features_of(wrapped, inputs(kind)), expected)


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_lora_branches_have_the_encoder_they_were_made_of(kind, network, inputs):
    expected = features_of(network(kind), inputs(kind))
    model = BranchedModel.from_model(network(kind), num_branches=2, lora={}).eval()
    torch.testing.assert_close(features_of(model, inputs(kind)), expected)


def test_the_head_has_no_part_in_it(network, inputs):
    model = network("bert")
    before = features_of(model, inputs("bert"))
    nn.init.normal_(model.classifier.weight, std=5)
    torch.testing.assert_close(features_of(model, inputs("bert")), before, rtol=0, atol=0)


def test_encoder_without_the_name_of_its_architecture(inputs):
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MetaClip2Config(vision_config={**vision, "image_size": 16, "patch_size": 8}, num_labels=3)
    model = MetaClip2ForImageClassification(config).eval()
    assert model.base_model is model
    assert has_pooled_features(model)
    with torch.no_grad():
        hidden = model.vision_model(**inputs("vit")).last_hidden_state
    torch.testing.assert_close(features_of(model, inputs("vit")), hidden.mean(1))


def test_model_without_an_encoder_is_refused(network):
    for model in (nn.Linear(4, 3), network("bert").bert):
        assert not has_pooled_features(model)
        with pytest.raises(ValueError, match=r"has no encoder below its head; pass a classifier of transformers"):
            pooled_features(model, {})
