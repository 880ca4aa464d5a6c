from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertForMaskedLM, BertModel, GPT2Config, GPT2ForSequenceClassification

from hf_noisy.models import BranchedModel
from hf_noisy.models.heads import HeadInputs, find_heads, num_classes

# PEFT itself asks a model for what transformers calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Custom(nn.Module):
    """A classifier that transformers does not know, with a decoy after the body."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 5)
        self.top = nn.Linear(5, 3)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        return SimpleNamespace(logits=self.top(self.dropout(self.body(x))))


def test_the_head_turns_its_recorded_input_into_the_logits(kind, network, inputs):
    model = network(kind)
    (head,) = find_heads(model)
    with torch.no_grad(), HeadInputs(model) as features:
        logits = model(**inputs(kind)).logits
        (seen,) = features.pop()
    assert seen.shape == (4, head.in_features)
    torch.testing.assert_close(head(seen), logits, rtol=0, atol=0)


@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["roberta", "vit"])
def test_each_branch_has_its_own_head_in_order(kind, lora, network, inputs):
    model = BranchedModel.from_model(network(kind), num_branches=3, lora=lora)
    heads = find_heads(model)
    assert len({id(head) for head in heads}) == 3
    with torch.no_grad(), HeadInputs(model) as features:
        output = model(**inputs(kind))
        seen = features.pop()
    for branch, (head, x) in enumerate(zip(heads, seen, strict=True)):
        torch.testing.assert_close(head(x), output.branch_logits[:, branch], rtol=0, atol=0)


def test_peft_head_is_the_copy_that_is_trained(network, inputs):
    settings = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], modules_to_save=["classifier"])
    model = get_peft_model(network("bert"), settings).eval()
    (head,) = find_heads(model)
    assert head.weight.requires_grad
    with torch.no_grad(), HeadInputs(model) as features:
        logits = model(**inputs("bert")).logits
        torch.testing.assert_close(head(features.pop()[0]), logits, rtol=0, atol=0)


def test_adapter_factors_are_no_heads(network):
    # With rank 3 the first factor of each adapter has three outputs too, as many as there are classes.
    settings = LoraConfig(r=3, target_modules=["query", "classifier"])
    model = get_peft_model(network("bert"), settings)
    assert find_heads(model) == [model.base_model.model.classifier.base_layer]


def test_custom_module_without_config():
    model = Custom()
    assert num_classes(model) == 3
    assert find_heads(model) == [model.top]
    with HeadInputs(model) as features:
        model(torch.zeros(2, 6))
        torch.testing.assert_close(features.pop()[0], model.body(torch.zeros(2, 6)))


@pytest.mark.parametrize("compiled_before", [False, True])
def test_compiled_model_is_heard(compiled_before, network, inputs):
    eager = network("bert")
    model = torch.compile(eager, backend="eager")
    with torch.no_grad():
        expected = model(**inputs("bert")).logits if compiled_before else eager(**inputs("bert")).logits
        with HeadInputs(model) as features:
            model(**inputs("bert"))
            (seen,) = features.pop()
    (head,) = find_heads(model)
    assert head is eager.classifier
    torch.testing.assert_close(head(seen), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_decoder_gives_the_token_that_was_classified(side):
    config = GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=12, num_labels=3, pad_token_id=0, eos_token_id=1
    )
    config.bos_token_id = 1
    model = GPT2ForSequenceClassification(config).eval()
    ids = torch.randint(2, 40, (4, 7))
    ids[1, : 3 if side == "left" else None] = 0 if side == "left" else ids[1]
    if side == "right":
        ids[1, -3:] = 0
    with torch.no_grad(), HeadInputs(model) as features:
        logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        (seen,) = features.pop()
    assert seen.shape == (4, 16)
    torch.testing.assert_close(model.score(seen), logits)


def test_gradients_flow_through_recorded_inputs(network, inputs):
    model = network("bert")
    with HeadInputs(model) as features:
        model(**inputs("bert"))
        features.pop()[0].sum().backward()
    assert model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    assert model.classifier.weight.grad is None


def test_each_forward_pass_is_popped_once_and_hooks_go_away(network, inputs):
    model = network("bert")
    with torch.no_grad():
        with HeadInputs(model) as features:
            model(**inputs("bert"))
            features.pop()
            with pytest.raises(RuntimeError, match=r"branches \[0\] saw no input"):
                features.pop()
        model(**inputs("bert"))
    with pytest.raises(RuntimeError, match="saw no input"):
        features.pop()
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("body", [BertModel, BertForMaskedLM])
def test_model_without_a_classifier_is_refused(body, network):
    with pytest.raises(ValueError, match=rf"{body.__name__} has no linear layer with 3 outputs .*AutoModelFor"):
        find_heads(body(network("bert").config))


def test_module_without_linear_layer_is_refused():
    with pytest.raises(ValueError, match=r"Dropout has no config\.num_labels and no linear layer"):
        num_classes(nn.Dropout())


def test_num_classes_comes_from_the_configuration(network):
    assert num_classes(network("vit")) == 3
    assert num_classes(BranchedModel.from_model(network("bert"))) == 3
    assert num_classes(get_peft_model(network("bert"), LoraConfig(target_modules=["query"]))) == 3
