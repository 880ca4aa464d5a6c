from peft import LoraConfig, get_peft_model

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
