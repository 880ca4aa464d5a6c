import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    EvalPrediction,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_noisy.core.task import (
    IMAGES,
    LABEL_SETS,
    LABEL_SETS_OF_IMAGES,
    SEQUENCES,
    SINGLE_LABEL,
    TASKS,
    TOKENS,
    auto_task,
    task_of,
    task_of_config,
)
from hf_noisy.models import BranchedModel

LABELS = torch.tensor([0, 2])
SIZES = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "num_labels": 3}


def bert(**settings):
    return BertForSequenceClassification(BertConfig(vocab_size=10, **SIZES, **settings))


def vit():
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SIZES))


@pytest.mark.parametrize("form", [lambda x: SequenceClassifierOutput(logits=x), lambda x: {"logits": x}])
def test_rows_are_the_logits_of_outputs_and_dictionaries(form):
    logits, index = torch.zeros(2, 3), torch.tensor([7, 1])
    rows = SINGLE_LABEL.rows(form(logits), LABELS, index)
    assert rows.logits is logits
    assert rows.labels is LABELS
    assert rows.index is index
    assert rows.branch_logits is None
    assert SINGLE_LABEL.rows(form(logits), LABELS).index.tolist() == [-1, -1]


def test_rows_of_several_networks_have_the_logits_of_each():
    model = BranchedModel.from_model(bert(), num_branches=2).eval()
    outputs = model(input_ids=torch.tensor([[1, 2], [3, 4]]))
    rows = task_of(model).rows(outputs, LABELS)
    assert rows.branch_logits.shape == (2, 2, 3)
    assert rows.logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (SequenceClassifierOutput(logits=torch.zeros(2, 5, 3)), r"logits of shape \(2, 5, 3\)"),
        (SequenceClassifierOutput(logits=torch.zeros(4, 3)), r"logits of shape \(4, 3\)"),
        (SequenceClassifierOutput(hidden_states=()), "no logits"),
        ((torch.zeros(()), torch.zeros(3)), r"logits of shape \(3,\)"),
        (torch.zeros(2), r"logits of shape \(2,\)"),
    ],
)
def test_outputs_without_class_logits_are_refused(outputs, found):
    with pytest.raises(ValueError, match=rf"model must return logits .*{found} for a batch of 2"):
        SINGLE_LABEL.rows(outputs, LABELS)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: (x.sum(), x, x + 1), lambda x: {"logits": x}])
def test_outputs_of_any_form_have_logits(form):
    logits = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(SINGLE_LABEL.rows(form(logits), LABELS).logits, logits)


def test_the_task_of_a_model():
    assert task_of(bert()) is auto_task(bert()) is SEQUENCES
    assert task_of(vit()) is auto_task(vit()) is IMAGES
    assert task_of(nn.Linear(2, 3)) is SINGLE_LABEL
    branched = BranchedModel.from_model(vit(), num_branches=2)
    assert task_of(branched) is auto_task(branched) is IMAGES
    assert TASKS[branched.config.task] is IMAGES


def test_the_task_of_adapters_is_that_of_their_model():
    from peft import LoraConfig, get_peft_model

    assert task_of(get_peft_model(bert(), LoraConfig(target_modules=["query"]))) is SEQUENCES


def test_the_task_of_a_stored_configuration():
    assert task_of_config(vit().config.to_dict()) is IMAGES
    assert task_of_config(bert().config.to_dict()) is task_of_config({}) is SEQUENCES
    assert task_of_config(BranchedModel.from_model(vit()).config.to_dict()) is IMAGES


def test_other_problems_are_refused():
    for find in (task_of, auto_task):
        with pytest.raises(ValueError, match="several labels or tokens, got problem_type='regression'"):
            find(bert(problem_type="regression"))


def test_the_task_of_tokens_and_of_several_labels():
    tokens = BertForTokenClassification(BertConfig(vocab_size=10, **SIZES))
    several = bert(problem_type="multi_label_classification")
    of_images = vit()
    of_images.config.problem_type = "multi_label_classification"
    for model, task in ((tokens, TOKENS), (several, LABEL_SETS), (of_images, LABEL_SETS_OF_IMAGES)):
        assert task_of(model) is auto_task(model) is task
        branched = BranchedModel.from_model(model)
        assert task_of(branched) is task_of_config(branched.config.to_dict()) is task
    assert task_of_config({**tokens.config.to_dict(), "architectures": ["BertForTokenClassification"]}) is TOKENS
    assert task_of_config(several.config.to_dict()) is LABEL_SETS
    assert task_of_config(of_images.config.to_dict()) is LABEL_SETS_OF_IMAGES


def test_what_no_auto_class_knows_cannot_be_made_again():
    with pytest.raises(TypeError, match="model must be a transformers model, got Linear"):
        auto_task(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="ViTModel is not a text or image classifier that transformers knows"):
        auto_task(ViTModel(vit().config))


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (np.array([0]), 1, "model has 1 class, but at least 2 are needed; load it with num_labels=2 or more"),
        (np.array([3]), 3, "labels must be classes 0 to 2, got 3 in row 0"),
        (np.eye(3), 3, r"labels must be one class per row for this method, got soft labels of shape \(3, 3\)"),
    ],
)
def test_labels_that_cannot_be_trained_on_are_refused(labels, num_classes, message):
    SINGLE_LABEL.check_labels(np.eye(3), 3, soft_labels=True)
    with pytest.raises(ValueError, match=message):
        SINGLE_LABEL.check_labels(labels, num_classes)


def test_soft_labels_must_be_distributions():
    with pytest.raises(ValueError, match="soft labels must sum to 1"):
        SINGLE_LABEL.check_labels(2 * np.eye(3), 3, soft_labels=True)


def test_evaluated_rows_are_labels_and_probabilities():
    given, logits = np.array([0, 1]), np.log(np.array([[0.9, 0.1], [0.2, 0.8]]))
    for predictions in (logits, (logits, np.zeros(3))):  # hidden states come after the logits
        labels, probabilities = SINGLE_LABEL.evaluated(EvalPrediction(predictions, given))
        np.testing.assert_array_equal(labels, given)
        np.testing.assert_allclose(probabilities, np.exp(logits))
    with pytest.raises(ValueError, match=r"predictions must be logits \[rows, classes\] of the 2 rows, got \(3, 2\)"):
        SINGLE_LABEL.evaluated(EvalPrediction(np.zeros((3, 2)), given))
    with pytest.raises(ValueError, match="labels must be one class id per row"):
        SINGLE_LABEL.evaluated(EvalPrediction(logits, np.zeros((2, 2), int)))
