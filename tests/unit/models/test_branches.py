import copy
import inspect
import json
import math

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BartConfig,
    BartForSequenceClassification,
    BertForMaskedLM,
    BertModel,
    PvtConfig,
    PvtForImageClassification,
    Trainer,
    TrainingArguments,
)

from hf_noisy.dygen.exact import DyGenModelConfig
from hf_noisy.models import BranchedConfig, BranchedModel
from hf_noisy.models.branches import mean_log_probability
from hf_noisy.models.heads import find_heads
from tests.contract.runs import bert


def rows(count: int = 12) -> Dataset:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 40, (count, 6), generator=generator)
    columns = {"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()}
    return Dataset.from_dict({**columns, "label": [i % 3 for i in range(count)], "index": list(range(count))})


def trainer(model, folder, **changes) -> Trainer:
    arguments = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "save_steps": 2}
    arguments |= {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    return Trainer(model, TrainingArguments(str(folder), **(arguments | changes)), train_dataset=rows())


def test_logits_are_the_log_of_the_mean_probability(kind, network, inputs):
    model = BranchedModel.from_model(network(kind), num_branches=3)
    labels = torch.tensor([0, 1, 2, 1])
    output = model(**inputs(kind), labels=labels)
    assert output.branch_logits.shape == (4, 3, 3)
    mean = output.branch_logits.softmax(-1).mean(dim=1)
    torch.testing.assert_close(output.logits.exp(), mean)
    torch.testing.assert_close(output.loss, -mean.log()[range(4), labels].mean())
    for branch in range(3):
        alone = model.branches[branch](**inputs(kind)).logits
        torch.testing.assert_close(output.branch_logits[:, branch], alone, rtol=0, atol=0)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 1000), st.sampled_from([0.1, 5.0, 500.0]))
def test_mean_log_probability_is_normalised_and_finite(branches, classes, seed, scale):
    logits = scale * torch.randn(3, branches, classes, generator=torch.Generator().manual_seed(seed))
    result = mean_log_probability(logits)
    assert result.isfinite().all()
    torch.testing.assert_close(result.exp().sum(-1), torch.ones(3))
    torch.testing.assert_close(result.exp(), logits.softmax(-1).mean(1), rtol=1e-4, atol=1e-6)


def test_mean_log_probability_widens_half_precision_and_keeps_double():
    assert mean_log_probability(torch.zeros(1, 2, 4, dtype=torch.bfloat16)).dtype == torch.float32
    wide = mean_log_probability(torch.zeros(1, 2, 4, dtype=torch.float64))
    assert wide.dtype == torch.float64
    assert wide[0, 0].item() == pytest.approx(math.log(0.25), abs=1e-15)


def test_only_the_heads_differ(kind, network):
    plain = network(kind)
    before = copy.deepcopy(plain.state_dict())
    model = BranchedModel.from_model(plain, seed=3)
    (head,) = [name for name, module in plain.named_modules() if module is find_heads(plain)[0]]
    first, second = (branch.state_dict() for branch in model.branches)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        if name == f"{head}.weight":
            assert not torch.equal(first[name], second[name])
            assert not torch.equal(first[name], value)
        elif name != f"{head}.bias":
            assert torch.equal(first[name], second[name])
            assert torch.equal(first[name], value)


def test_heads_depend_on_the_seed_alone(network):
    plain = network("bert")
    weights = []
    for seed, noise in [(5, 1), (5, 2), (6, 1)]:
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        model = BranchedModel.from_model(plain, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        weights.append(torch.stack([head.weight for head in find_heads(model)]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_heads_follow_the_initialisation_of_the_architecture(network):
    model = BranchedModel.from_model(network("bert", initializer_range=1e-3), num_branches=8)
    weights = torch.stack([head.weight for head in find_heads(model)])
    assert weights.std().item() == pytest.approx(1e-3, rel=0.2)
    assert all((head.bias == 0).all() for head in find_heads(model))


def test_dropout_draws_differ_between_branches(network, inputs):
    model = BranchedModel.from_model(network("bert"))
    find_heads(model)[1].load_state_dict(find_heads(model)[0].state_dict())
    same = model.eval()(**inputs("bert")).branch_logits
    assert torch.equal(same[:, 0], same[:, 1])
    torch.manual_seed(0)
    drawn = model.train()(**inputs("bert")).branch_logits
    assert not torch.allclose(drawn[:, 0], drawn[:, 1])


def test_mode_and_dtype_follow_the_model(network, inputs):
    model = BranchedModel.from_model(network("vit").to(torch.bfloat16).train())
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    output = model(pixel_values=inputs("vit")["pixel_values"].bfloat16())
    assert output.logits.dtype == torch.float32
    assert output.branch_logits.dtype == torch.bfloat16


@pytest.mark.parametrize("lora", [None, {"r": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit"])
def test_save_and_load_round_trip(kind, lora, network, inputs, tmp_path):
    model = BranchedModel.from_model(network(kind), num_branches=3, seed=1, lora=lora)
    expected = model(**inputs(kind)).branch_logits
    model.save_pretrained(tmp_path)
    auto = AutoModelForImageClassification if kind == "vit" else AutoModelForSequenceClassification
    loaded, report = BranchedModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    for other in (loaded, auto.from_pretrained(tmp_path)):
        assert isinstance(other, BranchedModel)
        assert other.num_branches == 3
        torch.testing.assert_close(other(**inputs(kind)).branch_logits, expected, rtol=0, atol=0)
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [name for name, parameter in loaded.named_parameters() if parameter.requires_grad]


def test_configuration_is_plain_json(network, tmp_path):
    BranchedModel.from_model(network("bert"), lora={"target_modules": {"value", "query"}}).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "branched"
    assert stored["branch"]["model_type"] == "bert"
    assert stored["task"] == "sequence-classification"
    assert stored["num_branches"] == 2
    assert stored["lora"]["target_modules"] == ["query", "value"]
    assert stored["id2label"] == {"0": "no", "1": "maybe", "2": "yes"}
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, BranchedConfig)
    assert config.num_labels == 3
    assert config.label2id == {"no": 0, "maybe": 1, "yes": 2}
    assert type(config.branch).__name__ == "BertConfig"


def test_model_from_configuration_alone_has_working_adapters(network, inputs):
    config = BranchedConfig(branch=network("bert").config, lora={"r": 2, "target_modules": "all-linear"})
    model = BranchedModel(config).eval()
    factors = {name: value for name, value in model.named_parameters() if "lora_B" in name}
    assert factors
    assert all((value == 0).all() for value in factors.values())
    assert model(**inputs("bert")).logits.isfinite().all()


def test_tied_embeddings_inside_a_branch_stay_tied(tmp_path):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 40}
    plain = BartForSequenceClassification(BartConfig(**sizes, max_position_embeddings=24)).eval()
    ids = torch.full((2, 5), 7)
    ids[:, -1] = plain.config.eos_token_id
    for lora in (None, {}):
        model = BranchedModel.from_model(plain, lora=lora)
        model.save_pretrained(tmp_path)
        loaded = BranchedModel.from_pretrained(tmp_path)
        torch.testing.assert_close(loaded(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0, atol=0)
        body = loaded.branches[1].model
        assert body.encoder.embed_tokens.weight is body.shared.weight


def test_loading_in_another_dtype(network, tmp_path):
    BranchedModel.from_model(network("bert"), lora={}).save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_unbranched_model_is_ordinary(kind, network, inputs, tmp_path):
    plain = network(kind)
    model = BranchedModel.from_model(plain)
    branch = model.unbranch(1)
    assert type(branch) is type(plain)
    branch.save_pretrained(tmp_path)
    auto = AutoModelForImageClassification if "pixel_values" in inputs(kind) else AutoModelForSequenceClassification
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is type(plain)
    torch.testing.assert_close(
        loaded(**inputs(kind)).logits, model(**inputs(kind)).branch_logits[:, 1], rtol=0, atol=0
    )
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.zero_()
    assert find_heads(model)[1].weight.abs().sum() > 0


def test_gradient_of_one_branch_stays_in_it(network, inputs):
    model = BranchedModel.from_model(network("bert"))
    model(**inputs("bert")).branch_logits[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.branches[0].parameters())
    assert not any(p.grad.abs().sum() for p in model.branches[1].parameters() if p.grad is not None)


def test_inputs_that_branches_do_not_know_are_left_out(network, inputs):
    model = BranchedModel.from_model(network("distilbert"))
    batch = inputs("distilbert")
    output = model(**batch, token_type_ids=torch.ones_like(batch["input_ids"]))
    assert torch.equal(output.logits, model(**batch).logits)


def test_signature_is_what_trainer_filters_columns_by(network):
    names = ["input_ids", "attention_mask", "token_type_ids", "pixel_values", "labels", "inputs"]
    model = BranchedModel.from_model(network("vit"))
    assert list(inspect.signature(model.forward).parameters) == names
    assert model.main_input_name == "pixel_values"
    assert BranchedModel.from_model(network("bert")).main_input_name == "input_ids"


def test_gradient_checkpointing_changes_no_gradient(network, inputs):
    plain = network("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    gradients = []
    for checkpointing in (False, True):
        model = BranchedModel.from_model(plain).train()
        if checkpointing:
            # The second name is that of older releases.
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
            assert getattr(model, "is_activation_checkpointing", None) or model.is_gradient_checkpointing
        model(**inputs("bert"), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not BranchedModel.from_model(network("resnet")).supports_gradient_checkpointing


def test_trainer_predicts_one_array(network, tmp_path):
    model = BranchedModel.from_model(network("bert"))
    prediction = trainer(model, tmp_path).predict(rows())
    assert prediction.predictions.shape == (12, 3)
    assert prediction.metrics["test_loss"] == pytest.approx(math.log(3), abs=0.1)


@pytest.mark.parametrize("lora", [None, {}], ids=["full", "lora"])
def test_resumed_training_equals_the_uninterrupted_run(lora, network, tmp_path, caplog):
    plain = network("bert")
    whole = BranchedModel.from_model(plain, lora=lora)
    start = copy.deepcopy(whole.state_dict())
    trainer(whole, tmp_path / "run").train()
    resumed = BranchedModel.from_model(plain, seed=9, lora=lora)
    with caplog.at_level("WARNING", logger="transformers.trainer"):
        trainer(resumed, tmp_path / "again").train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert "missing keys" not in caplog.text
    changed = 0
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
        changed += not torch.equal(value, start[name])
    assert changed == len({name for name, parameter in whole.named_parameters() if parameter.requires_grad})


def test_file_holds_each_branch(network, tmp_path):
    model = BranchedModel.from_model(network("resnet"))
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())


@pytest.mark.parametrize("count", [1, 0, -2])
def test_fewer_than_two_branches_are_refused(count, network):
    with pytest.raises(ValueError, match=rf"num_branches must be 2 or more, got {count}; .*use the model itself"):
        BranchedModel.from_model(network("bert"), num_branches=count)


def test_models_that_are_no_single_label_classifiers_are_refused(network):
    config = network("bert").config
    for other in (BertModel(config), BertForMaskedLM(config)):
        with pytest.raises(ValueError, match="not a text or image classifier"):
            BranchedModel.from_model(other)
    with pytest.raises(TypeError, match="Linear"):
        BranchedModel.from_model(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="several labels or tokens, got problem_type='regression'"):
        BranchedModel.from_model(network("bert", problem_type="regression"))
    with pytest.raises(ValueError, match="task must be one of"):
        BranchedConfig(branch=config, task="text")
    with pytest.raises(ValueError, match=r"config\.branch is None"):
        BranchedModel(BranchedConfig())


@pytest.mark.parametrize("index", [2, -1])
def test_branch_out_of_range_is_refused(index, network):
    with pytest.raises(ValueError, match=rf"index must be in \[0, 2\), got {index}"):
        BranchedModel.from_model(network("bert")).unbranch(index)


def test_a_saved_model_names_no_local_folder(tmp_path):
    bert().save_pretrained(tmp_path / "one")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one")
    branched = BranchedModel.from_model(loaded)
    branched.save_pretrained(tmp_path / "branches")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "branches")
    again.save_pretrained(tmp_path / "again")
    DyGenModelConfig(network=again.config).save_pretrained(tmp_path / "exact")
    assert branched.branches[0].name_or_path == str(tmp_path / "one")
    for folder in ("branches", "again", "exact"):
        assert str(tmp_path) not in (tmp_path / folder / "config.json").read_text()


def test_classes_that_a_configuration_only_counts(tmp_path):
    sizes = {"hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4, "num_attention_heads": [1] * 4, "image_size": 32}
    network = PvtForImageClassification(PvtConfig(**sizes, num_labels=3)).eval()
    assert network.config.id2label is None
    model = BranchedModel.from_model(network).eval()
    assert model.config.num_labels == 3
    model.save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path).eval()
    assert loaded.config.num_labels == 3
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(pixel_values=pixels).logits, model(pixel_values=pixels).logits)
