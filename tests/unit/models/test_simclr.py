import copy
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.utils import parameters_to_vector
from transformers import (
    AutoImageProcessor,
    AutoModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTModel,
)

from hf_noisy.data.images import ImageViews
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.models import moco
from hf_noisy.models.embed import embed
from hf_noisy.models.moco import train_moco
from hf_noisy.models.simclr import simclr_transform, train_simclr

SMALL = ResNetConfig(layer_type="basic", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1])
DIGITS = simclr_transform(16, min_scale=0.3, flip=0.0)
needs_lightly = pytest.mark.usefixtures("lightly")


@pytest.fixture
def lightly():
    pytest.importorskip("lightly", reason="needs the extra vision")


@pytest.fixture(scope="module")
def digits():
    return load_noisy_dataset("digits")


@pytest.fixture
def some(digits):
    return digits["train"].select(range(96))


class Losses(TrainerCallback):
    def __init__(self):
        self.values = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.values += [logs["loss"]] if "loss" in logs else []


def arguments(folder, epochs=2, **others):
    settings = {"per_device_train_batch_size": 32, "learning_rate": 2e-3, "logging_strategy": "epoch", "use_cpu": True}
    settings |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": 3}
    return TrainingArguments(folder, num_train_epochs=epochs, **(settings | others))


def resnet(kind=ResNetModel, seed=0):
    torch.manual_seed(seed)
    return kind(SMALL)


def weights(model):
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def column(dataset):
    return np.asarray(dataset.with_format("numpy")["features"][:])


@needs_lightly
def test_the_loss_falls_and_a_seed_gives_one_result(some, tmp_path):
    losses = [Losses(), Losses()]
    models = [
        train_simclr(some, resnet(), arguments(tmp_path), image_size=16, transform=DIGITS, callbacks=[seen]).model
        for seen in losses
    ]
    assert losses[0].values == losses[1].values
    assert losses[0].values[1] < losses[0].values[0]
    assert torch.equal(*map(weights, models))
    other = train_simclr(some, resnet(), arguments(tmp_path, seed=4), image_size=16, transform=DIGITS).model
    assert not torch.equal(weights(other), weights(models[0]))


@needs_lightly
def test_labels_are_neither_needed_nor_read(some, tmp_path, monkeypatch):
    read = []
    views = ImageViews.__init__
    monkeypatch.setattr(
        ImageViews,
        "__init__",
        lambda self, dataset, *args, **kwargs: (
            read.append(dataset.column_names) or views(self, dataset, *args, **kwargs)
        ),
    )
    without = some.remove_columns(["label", "clean_label"])
    found = [train_simclr(rows, resnet(), arguments(tmp_path, 1), image_size=16).model for rows in (some, without)]
    assert torch.equal(*map(weights, found))
    assert all("label" not in names for names in read)
    assert "label" in some.column_names


@needs_lightly
def test_a_new_model_comes_from_the_seed_alone(some, tmp_path):
    found = []
    for state in (0, 1):
        torch.manual_seed(state)
        found.append(train_simclr(some.select(range(8)), None, arguments(tmp_path, max_steps=1), image_size=8).model)
    assert torch.equal(*map(weights, found))
    assert not found[0].training


@needs_lightly
def test_the_result_goes_into_embed_and_through_a_folder(some, tmp_path):
    result = train_simclr(some, resnet(), arguments(tmp_path, 1), image_size=16)
    features = column(embed(some, *result, cache_dir=tmp_path))
    assert features.shape == (96, 32)
    for part in result:
        part.save_pretrained(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved"), AutoImageProcessor.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(column(embed(some, *loaded, cache_dir=tmp_path / "again")), features, atol=1e-6)
    pixels = result.image_processor(images=[some[0]["image"].convert("RGB")], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 16, 16)
    assert -1 <= pixels.min() < -0.9
    assert 0.5 < pixels.max() <= 1


@needs_lightly
def test_of_a_classifier_the_encoder_is_trained(some, tmp_path):
    classifier = resnet(ResNetForImageClassification)
    encoder, head = weights(classifier.resnet), weights(classifier.classifier)
    assert train_simclr(some, classifier, arguments(tmp_path, 1), image_size=16).model is classifier
    assert torch.equal(weights(classifier.classifier), head)
    assert not torch.equal(weights(classifier.resnet), encoder)


@needs_lightly
def test_a_transformer_is_trained_by_its_first_token(some, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8), add_pooling_layer=False)
    before = weights(vit)
    train_simclr(some, vit, arguments(tmp_path, 1, per_device_train_batch_size=19), image_size=16)  # the last of one
    after = weights(vit)
    assert after.isfinite().all()
    assert not torch.equal(before, after)


@needs_lightly
def test_views_are_new_in_every_epoch(some, tmp_path, monkeypatch):
    epochs = []
    told = ImageViews.set_epoch
    monkeypatch.setattr(ImageViews, "set_epoch", lambda self, epoch: epochs.append(epoch) or told(self, epoch))
    train_simclr(some, resnet(), arguments(tmp_path, 3), image_size=8)
    assert sorted(set(epochs)) == [0, 1, 2]


def test_without_lightly_one_sentence_says_what_to_install(some, tmp_path, monkeypatch):
    for name in ("lightly", "lightly.loss", "lightly.models", "lightly.models.modules"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs the package lightly.* pip install hf-noisy\[vision\]"):
        train_simclr(some, resnet(), arguments(tmp_path))


@needs_lightly
def test_bad_input_is_refused(some, tmp_path):
    for name, value in (("image_size", 0), ("projection_dim", 0), ("temperature", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            train_simclr(some, resnet(), arguments(tmp_path), **{name: value})
    with pytest.raises(ValueError, match="image_column must be one of the columns with images"):
        train_simclr(Dataset.from_dict({"text": ["a"]}), resnet(), arguments(tmp_path))
    with pytest.raises(ValueError, match="at least 2 rows to contrast, got 1"):
        train_simclr(some.select([0]), resnet(), arguments(tmp_path))
    with pytest.raises(ValueError, match="96 rows, fewer than one batch of 128 with"):
        train_simclr(some, resnet(), arguments(tmp_path, per_device_train_batch_size=128, dataloader_drop_last=True))


@needs_lightly
@pytest.mark.slow
def test_the_loss_of_moco_falls_and_a_seed_gives_one_result(some, tmp_path):
    losses, settings = [Losses(), Losses()], {"image_size": 16, "transform": DIGITS, "queue_size": 64, "decay": 0.9}
    models = [
        train_moco(some, resnet(), arguments(tmp_path, 3), callbacks=[seen], **settings).model for seen in losses
    ]
    assert losses[0].values == losses[1].values
    assert losses[0].values[-1] < losses[0].values[1]  # in the first epoch the queue is noise
    assert torch.equal(*map(weights, models))
    assert not torch.equal(weights(models[0]), weights(resnet()))


@needs_lightly
def test_keys_come_from_the_averaged_network_and_fill_the_queue(some, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(moco, "_MoCo", lambda *of, build=moco._MoCo: made.append(build(*of)) or made[-1])
    before = parameters_to_vector(resnet().parameters())
    train_moco(some, resnet(), arguments(tmp_path, max_steps=1), image_size=16, queue_size=64, decay=0.0)
    (network,) = made
    # With decay 0 the copy holds the weights before the only step.
    assert torch.equal(parameters_to_vector(network.averaged[0].parameters()), before)
    assert not torch.equal(parameters_to_vector(network.encoder.parameters()), before)
    queue = network.loss.memory_bank.bank
    assert queue.shape == (64, 128)
    torch.testing.assert_close(queue.norm(dim=1), torch.ones(64))


@needs_lightly
def test_bad_input_of_moco_is_refused(some, tmp_path):
    for name, value in (("queue_size", 0), ("decay", 1.0), ("temperature", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            train_moco(some, resnet(), arguments(tmp_path), **{name: value})


@needs_lightly
@pytest.mark.slow
@pytest.mark.parametrize(("learn", "gain"), [(train_simclr, 0.02), (train_moco, 0.01)])
def test_features_are_better_than_those_of_the_untrained_network(learn, gain, digits, tmp_path):
    train, test = digits["train"], digits["test"]
    model = resnet()
    settings = arguments(tmp_path, 8, per_device_train_batch_size=128, lr_scheduler_type="cosine")
    trained = learn(train, copy.deepcopy(model), settings, image_size=16, transform=DIGITS)
    accuracy = []
    for network in (model, trained.model):
        parts = [column(embed(split, network, trained.image_processor, cache_dir=tmp_path)) for split in (train, test)]
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(parts[0], train["label"][:])
        accuracy.append(probe.score(parts[1], test["label"][:]))
    assert accuracy[1] > accuracy[0] + gain, accuracy
