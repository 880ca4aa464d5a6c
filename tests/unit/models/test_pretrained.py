"""Pretrained classifiers whose head knows other classes, other names, or another order."""

import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ResNetConfig,
    ResNetForImageClassification,
)

from hf_noisy.models.heads import find_heads
from hf_noisy.models.pretrained import pretrained_classifier


def saved(folder, names, kind=BertForSequenceClassification, **options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    labels = {"id2label": dict(enumerate(names))} if names else {}
    kind(BertConfig(vocab_size=12, max_position_embeddings=8, **sizes, **labels, **options)).save_pretrained(folder)
    return str(folder)


def loaded(folder, names, auto=AutoModelForSequenceClassification):
    model, note = pretrained_classifier(auto, str(folder), names)
    (head,) = find_heads(model)
    assert (head.out_features, model.config.num_labels, model.num_labels) == (len(names),) * 3
    assert [model.config.id2label[i] for i in range(len(names))] == list(names)
    assert model.config.label2id == {name: i for i, name in enumerate(names)}
    return model, head, note


def head_of(folder):
    (head,) = find_heads(AutoModelForSequenceClassification.from_pretrained(folder))
    return head


@pytest.mark.parametrize(
    ("known", "names"),
    [(["a", "b", "c"], ["x", "y"]), (["no", "yes"], ["x", "y"]), (["a", "b"], ["a", "b", "c"]), (["one"], ["x", "y"])],
)
def test_a_head_for_other_classes_is_replaced_and_said(tmp_path, known, names):
    folder = saved(tmp_path, known)
    model, head, note = loaded(folder, names)
    assert note.startswith(f"the head of '{folder}' is for other classes ({known[0]}")
    assert f"{len(names)} classes of the data (" in note
    if len(known) == len(names):
        assert not torch.equal(head.weight, head_of(folder).weight)
    assert model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([1])).loss > 0
    encoder = AutoModelForSequenceClassification.from_pretrained(folder).bert
    torch.testing.assert_close(model.bert.state_dict(), encoder.state_dict())


@pytest.mark.parametrize("names", [["Yes", "no", "maybe "], ["maybe", "no"]])
def test_a_head_that_knows_the_classes_by_name_is_kept(tmp_path, names):
    known = ["no", "maybe", "yes"]
    _, head, note = loaded(saved(tmp_path, known), names)
    places = [known.index(name.strip().lower()) for name in names]
    torch.testing.assert_close(head.weight, head_of(tmp_path).weight[places])
    torch.testing.assert_close(head.bias, head_of(tmp_path).bias[places])
    assert "its weights are kept" in note


@pytest.mark.parametrize("known", [["x", "y", "z"], None])
def test_the_same_classes_or_none_with_names_need_no_sentence(tmp_path, known):
    folder = saved(tmp_path, known or [f"LABEL_{i}" for i in range(3)])
    _, head, note = loaded(folder, ["x", "y", "z"])
    assert note is None
    torch.testing.assert_close(head.weight, head_of(folder).weight)


def test_an_encoder_gets_a_head_as_always(tmp_path):
    assert loaded(saved(tmp_path, None, BertModel), ["x", "y", "z"])[2] is None


def test_one_label_per_row_is_trained(tmp_path):
    folder = saved(tmp_path, ["a", "b", "c"], problem_type="multi_label_classification")
    assert loaded(folder, ["a", "b", "c"])[0].config.problem_type == "single_label_classification"


def test_images(tmp_path):
    sizes = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
    names = {"id2label": dict(enumerate(["cat", "dog", "bird"]))}
    ResNetForImageClassification(ResNetConfig(**sizes, **names)).save_pretrained(tmp_path)
    assert "new one for the 2 classes" in loaded(tmp_path, ["x", "y"], AutoModelForImageClassification)[2]
