import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import ViTConfig, ViTForImageClassification

from hf_noisy.training.auto_measure import measure, noise_of
from tests.contract.runs import bert, make_rows

CLASSES = 5


def blobs(rows: int = 800, classes: int = CLASSES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of classes that a linear classifier separates almost without error."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    centres = draw.normal(size=(classes, 16))
    return (centres[labels] + 0.8 * draw.normal(size=(rows, 16))).astype(np.float32), labels


def flipped(labels: np.ndarray, rate: float, kind: str = "symmetric", seed: int = 1) -> np.ndarray:
    draw, classes = np.random.default_rng(seed), int(labels.max()) + 1
    wrong = draw.random(len(labels)) < rate
    shift = 1 if kind == "pair" else draw.integers(1, classes, len(labels))
    return np.where(wrong, (labels + shift) % classes, labels)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_the_rate_is_found(rate):
    features, labels = blobs()
    noise = noise_of(features, flipped(labels, rate))
    assert abs(noise.rate.rate - rate) < 0.06
    assert noise.rate.low <= noise.rate.rate <= noise.rate.high
    assert abs(noise.agreement - (1 - rate)) < 0.1
    assert noise.sample == 800


def test_features_are_known_to_be_informative_or_not():
    features, labels = blobs()
    given = flipped(labels, 0.3)
    assert noise_of(features, given).beyond_chance > 0.4
    random = np.random.default_rng(3).normal(size=features.shape).astype(np.float32)
    assert abs(noise_of(random, given).beyond_chance) < 0.05


def test_class_frequencies_are_weighed():
    features, labels = blobs()
    for given in (labels, flipped(labels, 0.3)):
        weights = noise_of(features, given).class_prior
        assert weights.keys() == {"uniform", "between", "given"}
        assert sum(weights.values()) == pytest.approx(1)


def test_a_class_of_one_row_is_left_out():
    features, labels = blobs()
    alone = labels.copy()
    alone[0] = CLASSES + 3
    found = noise_of(features, alone)
    assert found.sample == 799
    assert found == noise_of(features[1:], labels[1:])


def test_too_little_to_look_at():
    features, labels = blobs(40)
    assert noise_of(features, labels) is None
    assert noise_of(features.repeat(5, 0), np.zeros(200, np.int64)) is None


def rows_with_features(rate: float = 0.3, rows: int = 800) -> Dataset:
    features, labels = blobs(rows)
    given = flipped(labels, rate)
    # The true labels lie beside the given ones, as in data sets with injected noise: to look at them is to fail.
    return Dataset.from_dict({"features": features, "label": given, "clean_label": given})


def test_a_column_of_features_is_taken():
    rows = rows_with_features()
    found = measure(bert(), rows)
    assert found.noise == noise_of(np.array(rows["features"], np.float32), np.array(rows["label"]))
    assert found == measure(bert(), rows.remove_columns("clean_label"))
    assert (found.rows, found.classes, found.reason) == (800, 3, "")


def test_the_sample_is_drawn_by_seed():
    rows = rows_with_features()
    first, again, other = (measure(None, rows, max_rows=300, seed=seed).noise for seed in (0, 0, 1))
    assert first == again != other
    assert first.sample == 300


def test_random_numbers_and_the_model_are_as_before():
    model = bert()
    model.config._name_or_path = model.name_or_path = "loaded"
    rows, state = make_rows(count=90), torch.get_rng_state()
    model.train()
    found = measure(model, rows, show_progress=False)
    assert found.noise is not None
    assert (found.modality, found.views, found.branches) == ("text", True, True)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_features_of_an_untrained_network_say_nothing():
    image = ViTForImageClassification(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8)
    )
    found = measure(image, make_rows("vit"))
    assert found.noise is None
    assert found.modality == "image"
    assert "random weights" in found.reason


class Vectors(torch.utils.data.Dataset):
    """Rows without columns, for a model whose encoder has run already."""

    def __init__(self, rate: float) -> None:
        features, labels = blobs()
        self.features, self.labels = torch.from_numpy(features)[:, :, None, None], flipped(labels, rate)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.features[index], "labels": torch.tensor(self.labels[index])}


class Passes(torch.nn.Module):
    def forward(self, pixel_values):
        return type("Output", (), {"last_hidden_state": pixel_values})()


class Head(torch.nn.Module):
    main_input_name = "pixel_values"

    def __init__(self) -> None:
        super().__init__()
        self.base_model, self.classifier = Passes(), torch.nn.Linear(16, CLASSES)

    def forward(self, pixel_values, labels=None):
        return self.classifier(pixel_values.flatten(1))


def test_vectors_that_the_model_is_fed_with_are_features():
    found = measure(Head(), Vectors(0.3))
    assert found.modality == "features"
    assert not found.views
    features, labels = blobs()
    assert found.noise == noise_of(features, flipped(labels, 0.3))


def test_vectors_have_two_views_where_they_bring_them():
    class Two(Vectors):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            row = super().__getitem__(index)
            return {**row, "second_view_pixel_values": row["pixel_values"]}

    assert measure(Head(), Two(0.3)).views


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (None, "no training rows"),
        ((row for row in ()), "no training rows"),
        (Dataset.from_dict({"features": [[0.1, 0.2]] * 60, "label": [[0.5, 0.5]] * 60}), "not class ids"),
        (Dataset.from_dict({"features": [[0.1, 0.2]] * 9, "label": [0, 1, 0] * 3}), "fewer than 50 rows"),
    ],
)
def test_what_cannot_be_measured_is_said(rows, reason):
    found = measure(None, rows)
    assert found.noise is None
    assert reason in found.reason
