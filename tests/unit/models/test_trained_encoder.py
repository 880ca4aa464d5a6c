from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import MetaClip2Config, MetaClip2ForImageClassification

from hf_noisy.models import BranchedModel
from hf_noisy.models.frozen_features import trains_encoder
from tests.contract.runs import make_model


def test_an_encoder_is_trained_unless_all_of_its_weights_are_fixed():
    model = make_model("plain")
    assert trains_encoder(model)
    assert trains_encoder(BranchedModel.from_model(model, 2))
    for weight in model.base_model.parameters():
        weight.requires_grad_(False)
    assert not trains_encoder(model)  # only the head
    next(model.base_model.parameters()).requires_grad_(True)
    assert trains_encoder(model)


def test_adapters_are_trained_though_the_weights_of_the_encoder_are_fixed():
    adapted = get_peft_model(make_model("plain"), LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=2))
    assert trains_encoder(adapted)


def test_the_head_is_no_encoder_where_that_has_no_name_of_its_own():
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MetaClip2Config(vision_config={**vision, "image_size": 16, "patch_size": 8}, num_labels=3)
    model = MetaClip2ForImageClassification(config)
    assert trains_encoder(model)
    model.vision_model.requires_grad_(False)
    assert not trains_encoder(model)


def test_of_another_network_any_weight_counts():
    network = nn.Linear(4, 3)
    assert trains_encoder(network)
    assert not trains_encoder(network.requires_grad_(False))
