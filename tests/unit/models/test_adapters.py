import copy

import peft
import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BitConfig,
    BitForImageClassification,
    DeepseekV2Config,
    DeepseekV2ForSequenceClassification,
    MobileNetV1Config,
    MobileNetV2Config,
    PhimoeConfig,
    PhimoeForSequenceClassification,
    RegNetConfig,
    RegNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

from benchmarks.tiny_architectures import Architecture
from hf_noisy.models import BranchedModel
from hf_noisy.models.adapters import lora_to_dict

# PEFT itself asks a model for what transformers calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def count(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


def adapted(model: BranchedModel) -> BranchedModel:
    """Give the adapters an effect: they start as zero."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture
def branched(network):
    return adapted(BranchedModel.from_model(network("bert"), num_branches=3, seed=1, lora={"r": 2}))


def assert_shared(model: BranchedModel) -> None:
    first = dict(model.branches[0].named_parameters())
    for branch in list(model.branches)[1:]:
        for name, parameter in branch.named_parameters():
            assert (parameter.data_ptr() == first[name].data_ptr()) == (not parameter.requires_grad), name
            assert (parameter is first[name]) == (not parameter.requires_grad), name


def test_backbone_is_held_once_and_frozen(branched, network):
    plain = network("bert")
    own = count(parameter for parameter in branched.parameters() if parameter.requires_grad)
    assert count(branched.parameters()) == count(plain.bert.parameters()) + own
    # 2 layers of 4 square, 1 widening and 1 narrowing product, the pooler, at rank 2; and the head.
    adapter = 2 * (2 * (4 * 32 + 48 + 48) + 32)
    assert own == 3 * (adapter + count(plain.classifier.parameters()))
    for name, parameter in branched.named_parameters():
        assert parameter.requires_grad == ("lora_" in name or "classifier" in name)
    assert_shared(branched)


def test_adapters_differ_and_start_without_effect(network, inputs):
    plain = network("bert")
    model = BranchedModel.from_model(plain, lora={})
    factors = [[value for name, value in branch.named_parameters() if "lora_A" in name] for branch in model.branches]
    assert not any(torch.equal(a, b) for a, b in zip(*factors, strict=True))
    pooled = plain.bert(**inputs("bert")).pooler_output
    for branch in model.branches:
        torch.testing.assert_close(branch.bert(**inputs("bert")).pooler_output, pooled)


def test_the_given_model_is_left_alone(network):
    plain = network("bert")
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    model = BranchedModel.from_model(plain, lora={})
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert not hasattr(plain, "peft_config")
    assert {p.data_ptr() for p in plain.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())
    after = plain.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("kind", "lora"),
    [("roberta", {}), ("distilbert", {}), ("vit", {}), ("resnet", {"target_modules": ["convolution"]})],
)
def test_gradients_reach_every_adapter_and_head_and_nothing_else(kind, lora, network, inputs):
    model = adapted(BranchedModel.from_model(network(kind), lora=lora)).train()
    model(**inputs(kind), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


def test_a_step_moves_own_parameters_only(branched, inputs):
    before = {name: value.clone() for name, value in branched.named_parameters()}
    optimizer = torch.optim.SGD(branched.parameters(), lr=1.0, weight_decay=0.1)
    branched(**inputs("bert"), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    optimizer.step()
    for name, parameter in branched.named_parameters():
        assert torch.equal(before[name], parameter) != parameter.requires_grad, name


def test_file_holds_the_backbone_once_and_loading_keeps_the_sharing(branched, inputs, tmp_path):
    branched.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert sum(torch.Size(shape).numel() for shape in stored.values()) == count(branched.parameters())
    assert "branches.1.bert.embeddings.word_embeddings.weight" not in stored
    loaded = BranchedModel.from_pretrained(tmp_path)
    assert count(loaded.parameters()) == count(branched.parameters())
    assert_shared(loaded)
    expected = branched(**inputs("bert")).branch_logits
    torch.testing.assert_close(loaded(**inputs("bert")).branch_logits, expected, rtol=0, atol=0)


def test_file_of_convolutional_branches_keeps_their_statistics(network, inputs, tmp_path):
    model = BranchedModel.from_model(network("resnet"), lora={"target_modules": ["convolution"]}).train()
    model.branches[1](**inputs("resnet"))
    model.eval().save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path)
    name = "resnet.embedder.embedder.normalization.running_mean"
    assert not torch.equal(loaded.branches[0].get_buffer(name), loaded.branches[1].get_buffer(name))
    expected = model(**inputs("resnet")).branch_logits
    torch.testing.assert_close(loaded(**inputs("resnet")).branch_logits, expected, rtol=0, atol=0)


def test_sharing_survives_copies_casts_and_state(branched, inputs):
    twin = copy.deepcopy(branched)
    assert_shared(twin)
    expected = branched(**inputs("bert")).branch_logits
    other = BranchedModel.from_model(branched.unbranch(0), num_branches=3, seed=8, lora={"r": 2})
    result = other.load_state_dict(branched.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert_shared(other)
    torch.testing.assert_close(other(**inputs("bert")).branch_logits, expected, rtol=0, atol=0)
    assert_shared(twin.to(torch.bfloat16))
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.bfloat16}
    assert count(twin.parameters()) == count(branched.parameters())
    # A copy is independent of the original.
    assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(p.data_ptr() for p in branched.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "vit"])
def test_unbranched_model_has_the_adapter_merged(kind, network, inputs, tmp_path):
    plain = network(kind)
    model = adapted(BranchedModel.from_model(plain, lora={}))
    expected = model(**inputs(kind)).branch_logits
    branch = model.unbranch(1)
    assert type(branch) is type(plain)
    assert branch.state_dict().keys() == plain.state_dict().keys()
    assert all(parameter.requires_grad for parameter in branch.parameters())
    torch.testing.assert_close(branch(**inputs(kind)).logits, expected[:, 1], rtol=0, atol=1e-6)
    assert not torch.allclose(branch(**inputs(kind)).logits, expected[:, 0], rtol=0, atol=1e-6)
    # The other branches still hold the backbone as it was.
    torch.testing.assert_close(model(**inputs(kind)).branch_logits, expected, rtol=0, atol=0)
    branch.save_pretrained(tmp_path)
    loaded = type(plain).from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**inputs(kind)).logits, branch(**inputs(kind)).logits, rtol=0, atol=0)


@pytest.mark.parametrize("config", [MobileNetV1Config, MobileNetV2Config])
def test_adapters_of_convolutions_with_computed_padding(config):
    torch.manual_seed(0)
    sizes = {"depth_multiplier": 0.25, "num_labels": 3, "initializer_range": 0.3}
    network = AutoModelForImageClassification.from_config(config(**sizes)).eval()
    model = adapted(BranchedModel.from_model(network, lora={})).eval()
    pixels = torch.randn(2, 3, 32, 32)
    expected = model(pixel_values=pixels).branch_logits
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-4
    torch.testing.assert_close(model.unbranch(1)(pixel_values=pixels).logits, expected[:, 1], atol=1e-4, rtol=1e-4)


def test_weights_that_are_standardised_get_no_adapter():
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_groups": 2, "num_labels": 3}
    network = BitForImageClassification(BitConfig(**sizes))
    with pytest.raises(ValueError, match="BitForImageClassification has no linear or convolutional layer of an ord"):
        BranchedModel.from_model(network, lora={})
    with pytest.raises(
        ValueError, match=r"an adapter of a WeightStandardizedConv2d of Bit.* cannot be merged; name other"
    ):
        BranchedModel.from_model(network, lora={"target_modules": ["conv1"]})


def mixture(kind: str):
    """A network with layers of experts, of which PEFT adapts several weights at once, and with a router."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_labels": 3}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    if kind == "phimoe":
        return PhimoeForSequenceClassification(PhimoeConfig(**sizes, num_local_experts=2)).eval()
    sizes |= {"n_routed_experts": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 0, "n_group": 1}
    sizes |= {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    return DeepseekV2ForSequenceClassification(DeepseekV2Config(**sizes, n_shared_experts=1)).eval()


@pytest.mark.parametrize("kind", ["deepseek", "phimoe"])
def test_adapters_of_experts_are_merged(kind, inputs):
    model = adapted(BranchedModel.from_model(mixture(kind), lora={})).eval()
    assert kind == "phimoe" or any("experts" in n and "lora_B" in n for n, _ in model.named_parameters())
    expected = model(**inputs("bert")).branch_logits
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-4
    branch = model.unbranch(1).eval()
    assert branch.state_dict().keys() == mixture(kind).state_dict().keys()
    torch.testing.assert_close(branch(**inputs("bert")).logits, expected[:, 1], rtol=1e-5, atol=1e-5)


def test_unbranched_model_loads_by_its_auto_class(branched, tmp_path):
    branched.unbranch(2).save_pretrained(tmp_path)
    _, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())


def test_named_modules_are_trained_in_full_in_every_branch(network, inputs, tmp_path):
    lora = {"modules_to_save": ["pooler"], "target_modules": ["query", "dense"]}
    model = BranchedModel.from_model(network("bert"), lora=lora)
    poolers = [branch.bert.pooler.dense for branch in model.branches]
    assert all(isinstance(layer, torch.nn.Linear) and layer.weight.requires_grad for layer in poolers)
    assert poolers[0].weight is not poolers[1].weight
    model.save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path)
    assert loaded.branches[1].bert.pooler.dense.weight.requires_grad
    torch.testing.assert_close(loaded(**inputs("bert")).logits, model(**inputs("bert")).logits, rtol=0, atol=0)


@pytest.mark.slow
def test_adapters_run_compiled_as_one_graph(branched, inputs):
    branch = branched.branches[1]
    compiled = torch.compile(branch, backend="eager", fullgraph=True)
    branch(**inputs("bert")).logits.square().sum().backward()
    expected = [p.grad.clone() for p in branch.parameters() if p.requires_grad]
    branch.zero_grad()
    compiled(**inputs("bert")).logits.square().sum().backward()
    torch.testing.assert_close([p.grad for p in branch.parameters() if p.requires_grad], expected)


def test_settings_are_written_plainly():
    written = lora_to_dict({})
    assert LoraConfig(**written).lora_alpha == 16
    assert LoraConfig(**written).r == 8
    assert written["target_modules"] == "all-linear"
    assert lora_to_dict(LoraConfig(r=4, target_modules={"value", "query"}, task_type="SEQ_CLS")) == {
        "r": 4,
        "target_modules": ["query", "value"],
        "task_type": "SEQ_CLS",
    }
    assert lora_to_dict(LoraConfig(r=4))["target_modules"] == "all-linear"


@pytest.mark.parametrize(
    ("lora", "error", "message"),
    [
        (IA3Config(), TypeError, "lora must be a peft.LoraConfig or a dict of its arguments, got IA3Config"),
        ({"rank": 3}, TypeError, "rank"),
        ({"bias": "all"}, ValueError, "lora bias must be one of .*got 'all'; the backbone is shared"),
        ({"init_lora_weights": "pissa"}, ValueError, "lora init_lora_weights must be one of"),
        ({"target_modules": ["nowhere"]}, ValueError, "No modules were targeted"),
    ],
)
def test_unfit_settings_are_refused(lora, error, message, network):
    with pytest.raises(error, match=message):
        BranchedModel.from_model(network("bert"), lora=lora)


def test_model_that_has_adapters_already_is_refused(network):
    with pytest.raises(TypeError, match="PeftModel"):
        BranchedModel.from_model(get_peft_model(network("bert"), LoraConfig(target_modules=["query"])))


@pytest.mark.parametrize("kind", ["resnet", "grouped"])
def test_convolutional_network_has_adapters_by_default(kind, tmp_path):
    torch.manual_seed(0)
    if kind == "resnet":
        config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
        plain = ResNetForImageClassification(config)
    else:
        config = RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, num_labels=3)
        plain = RegNetForImageClassification(config)
    model = adapted(BranchedModel.from_model(plain, lora={})).eval()
    with_adapters = {name for name, _ in model.named_parameters() if "lora_B" in name}
    assert with_adapters
    grouped = {name for name, module in model.named_modules() if getattr(module, "groups", 1) > 1}
    assert not any(name.startswith(tuple(f"{one}." for one in grouped)) for name in with_adapters)
    assert_shared(model)
    pixels = torch.randn(2, 3, 32, 32)
    expected = model(pixel_values=pixels).branch_logits
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-4
    torch.testing.assert_close(model.unbranch(1)(pixel_values=pixels).logits, expected[:, 1], atol=1e-4, rtol=1e-4)
    model.save_pretrained(tmp_path)
    again = BranchedModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(pixel_values=pixels).branch_logits, expected)


def test_dropout_that_peft_refuses_is_left_out_by_default(network, monkeypatch):
    messages: list[str] = []
    monkeypatch.setattr("hf_noisy.models.adapters.logger.warning_once", messages.append)
    inject = peft.inject_adapter_in_model

    def refusing(config, model):
        if config.lora_dropout:
            raise ValueError("lora.ParamWrapper does not work with lora_dropout != 0.")
        return inject(config, model)

    monkeypatch.setattr(peft, "inject_adapter_in_model", refusing)
    assert BranchedModel.from_model(network("bert"), lora={}).num_branches == 2
    assert messages[0].startswith("BertForSequenceClassification: lora_dropout is 0")
    with pytest.raises(ValueError, match="lora_dropout"):
        BranchedModel.from_model(network("bert"), lora={"lora_dropout": 0.2})


def test_layers_that_the_architecture_ties_get_adapters(inputs, tmp_path):
    zamba = Architecture("text", "zamba", "ZambaForSequenceClassification")
    model = adapted(BranchedModel.from_model(zamba.model(), lora={})).eval()
    model.save_pretrained(tmp_path)
    expected = model(**inputs("bert")).branch_logits
    assert torch.equal(BranchedModel.from_pretrained(tmp_path).eval()(**inputs("bert")).branch_logits, expected)
