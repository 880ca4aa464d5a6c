import copy

import pytest
import torch
from torch import nn

from hf_noisy.models import BranchedModel
from hf_noisy.models.shared_layers import SharedLayer, find_layers

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
STACKS = ("bert", "roberta", "distilbert", "vit")


LORA = {"r": 2, "lora_dropout": 0.0}


def make(plain, shared_layers, num_branches=3, lora=LORA):
    model = BranchedModel.from_model(plain, num_branches, seed=1, lora=lora, shared_layers=shared_layers)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # adapters start as zero
                parameter.normal_(0, 0.1, generator=generator)
    return model.eval()


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def runs(model, inputs):
    """How often the first linear layer of each lower layer is called, with the logits."""
    calls = []
    lower = {id(m.layer) for m in model.modules() if isinstance(m, SharedLayer)}
    hooks = [m.register_forward_hook(lambda *_: calls.append(1)) for m in model.modules() if id(m) in lower]
    logits = model(**inputs).branch_logits
    for hook in hooks:
        hook.remove()
    return len(calls), logits


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("kind", STACKS)
def test_lower_layers_run_once_and_the_logits_are_those_of_the_single_branches(kind, lora, network, inputs):
    model = make(network(kind), 1, lora=lora)
    calls, logits = runs(model, inputs(kind))
    assert calls == 1  # not three
    alone = torch.stack([model.unbranch(index)(**inputs(kind)).logits for index in range(3)], dim=1)
    torch.testing.assert_close(logits, alone)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    assert all(m.output is None for m in model.modules() if isinstance(m, SharedLayer))  # nothing of a batch is kept


def test_lower_layers_carry_no_adapter_and_keep_no_graph(network, inputs):
    model = make(network("bert"), 1).train()
    assert not any("lora_" in name and "layer.0." in name for name, _ in model.named_parameters())
    assert any("lora_" in name and "layer.1." in name for name, _ in model.named_parameters())
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        model(**inputs("bert")).branch_logits.square().sum().backward()
    with_sharing = sum(saved)
    saved.clear()
    plain = make(network("bert"), 0).train()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        plain(**inputs("bert")).branch_logits.square().sum().backward()
    assert with_sharing < 0.6 * sum(saved)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_full_branches_train_all_that_is_above_the_shared_layers(network):
    plain = network("bert")
    model = make(plain, 1, 2, lora=None)
    names = {f"branches.{branch}.{name}" for branch in (0, 1) for name in trained(plain)}
    assert trained(model) == {name for name in names if "embeddings" not in name and "layer.0." not in name}
    assert trained(plain) == {name for name, _ in plain.named_parameters()}
    assert trained(model.unbranch(1)) == trained(plain)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_what_is_shared_has_no_dropout(lora, network):
    model = make(network("bert"), 1, lora=lora).train()
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            assert module.training == ("embeddings" not in name and "layer.0." not in name), name
    assert all(module.training for module in model.unbranch(0).modules())
    assert not any(module.training for module in model.eval().modules())


def test_without_sharing_nothing_changes(network, inputs):
    one, other = make(network("bert"), 0), make(network("bert"), 0)
    assert not any(isinstance(m, SharedLayer) for m in one.modules())
    torch.testing.assert_close(one(**inputs("bert")).logits, other(**inputs("bert")).logits, rtol=0, atol=0)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_saved_loaded_and_copied_models_give_the_same(kind, lora, network, inputs, tmp_path):
    model = make(network(kind), 1, lora=lora)
    expected = model(**inputs(kind)).branch_logits
    model.save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path).eval()
    assert loaded.config.shared_layers == 1
    assert trained(loaded) == trained(model)
    assert runs(loaded, inputs(kind))[0] == 1
    torch.testing.assert_close(loaded(**inputs(kind)).branch_logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(model)(**inputs(kind)).branch_logits, expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_gradient_checkpointing_gives_the_same_gradients(network, inputs):
    model = make(network("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), 1).train()
    model(**inputs("bert")).branch_logits.square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(**inputs("bert")).branch_logits.square().sum().backward()
    torch.testing.assert_close([p.grad for p in model.parameters() if p.requires_grad], expected)


def test_a_branch_that_takes_its_layers_cannot_run_alone(network, inputs):
    model = make(network("bert"), 1)
    with pytest.raises(RuntimeError, match="unbranch"):
        model.branches[1](**inputs("bert"))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bert", {"shared_layers": 2}, "at least the last"),
        ("bert", {"shared_layers": 1, "initialize": "all"}, "without lora and shared_layers"),
        ("bert", {"shared_layers": 2, "lora": {"r": 2}}, "at least the last"),
        ("bert", {"shared_layers": -1, "lora": {"r": 2}}, r"must be in \[0, 2\)"),
        ("bert", {"shared_layers": 1, "lora": {"modules_to_save": ["word_embeddings"]}}, "share fewer layers"),
        ("bert", {"shared_layers": 1, "lora": {"exclude_modules": "pooler"}}, "list of names"),
    ],
)
def test_what_cannot_be_shared_is_refused(kind, options, message, network):
    with pytest.raises(ValueError, match=message):
        BranchedModel.from_model(network(kind), 2, **options)


def test_a_backbone_that_is_no_stack_is_refused(network):
    plain = network("resnet")
    del plain.resnet.encoder
    with pytest.raises(ValueError, match="stack of layers"):
        find_layers(plain)


def test_the_layers_of_an_encoder_are_found(network):
    name, layers = find_layers(network("bert"))
    assert name == "bert.encoder.layer"
    assert isinstance(layers, nn.ModuleList)
