import json
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.data import inject_noise, noise, noise_record
from hf_noisy.data.records import measured_transition_matrix

FIXTURES = Path(__file__).parents[2] / "reference" / "fixtures"
RATE, ROWS, CLASSES = 0.4, 5000, 4
LABELS = np.arange(ROWS) % CLASSES
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 6))
KINDS = {
    "symmetric": noise.symmetric(RATE),
    "pair": noise.pair(RATE),
    "instance_dependent": noise.instance_dependent(RATE),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def dataset(labels=LABELS, **columns):
    names = [f"class {k}" for k in range(CLASSES)]
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=names), **{key: datasets.Value("string") for key in columns}}
    )
    return datasets.Dataset.from_dict({"label": labels, **columns}, features=features)


@pytest.mark.parametrize("num_classes", [4, 10])
def test_transition_matrices_equal_those_of_the_published_code(num_classes):
    reference = json.loads((FIXTURES / "noise_transition_matrices.json").read_text())
    rate, matrices = reference["rate"], reference["matrices"]
    for name, kind in {
        "symmetric_excl_self": noise.symmetric(rate),
        "symmetric_incl_self": noise.symmetric(rate, include_self=True),
        "pairflip": noise.pair(rate),
    }.items():
        expected = np.array(matrices[f"{name} C={num_classes} r={rate}"])
        np.testing.assert_allclose(kind.transition_matrix(num_classes), expected, atol=1e-12)


def test_instance_dependent_probabilities_equal_those_of_the_published_code():
    reference = json.loads((FIXTURES / "noise_instance_dependent.json").read_text())
    probabilities = noise.flip_probabilities(
        *(np.array(reference[key]) for key in ("features", "labels", "weight", "flip_rates"))
    )
    np.testing.assert_allclose(probabilities, np.array(reference["vectorised"]), atol=1e-12)
    # The published code multiplies in float32.
    np.testing.assert_allclose(probabilities, np.array(reference["official"]), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    rate=st.floats(0, 0.99),
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from([noise.symmetric, noise.pair, noise.instance_dependent]),
)
def test_exactly_the_rounded_share_flips_and_never_to_itself(rate, labels, seed, kind):
    true = np.array(labels)
    features = np.random.default_rng(seed).normal(size=(len(true), 2))
    given_labels = kind(rate).apply(true, 5, seed, features)
    assert (given_labels != true).sum() == round(rate * len(true))
    assert ((given_labels >= 0) & (given_labels < 5)).all()


@every_kind
def test_noise_is_a_function_of_seed_and_stream(kind):
    first = kind.apply(LABELS, CLASSES, 1, FEATURES)
    assert (first == kind.apply(LABELS, CLASSES, 1, FEATURES)).all()
    assert (first != kind.apply(LABELS, CLASSES, 2, FEATURES)).mean() > 0.1
    assert (first != kind.apply(LABELS, CLASSES, 1, FEATURES, "validation")).mean() > 0.1


@pytest.mark.parametrize("kind", [noise.symmetric(RATE, exact=False), noise.pair(RATE, exact=False)])
def test_an_independent_draw_does_not_depend_on_the_other_rows(kind):
    whole = kind.apply(LABELS, CLASSES, 0)
    assert (kind.apply(LABELS[:100], CLASSES, 0) == whole[:100]).all()
    assert (whole != LABELS).sum() != round(RATE * ROWS)
    assert abs((whole != LABELS).mean() - RATE) < 0.03


def test_independent_instance_dependent_noise_has_about_its_rate():
    noisy = noise.instance_dependent(RATE, exact=False).apply(LABELS, CLASSES, 0, FEATURES)
    assert abs((noisy != LABELS).mean() - RATE) < 0.03


@pytest.mark.parametrize("kind", [noise.symmetric(RATE), noise.symmetric(RATE, include_self=True), noise.pair(RATE)])
def test_the_measured_matrix_approaches_the_expected_one(kind):
    measured = measured_transition_matrix(LABELS, kind.apply(LABELS, CLASSES, 0), CLASSES)
    np.testing.assert_allclose(measured.sum(axis=1), 1)
    np.testing.assert_allclose(measured, kind.transition_matrix(CLASSES), atol=0.04)


def test_with_self_the_rate_counts_redrawn_rows():
    noisy = noise.symmetric(0.8, include_self=True).apply(LABELS, CLASSES, 0)
    assert abs((noisy != LABELS).mean() - 0.8 * 3 / 4) < 0.02


def test_instance_dependent_noise_depends_on_the_features():
    true = np.zeros(ROWS, dtype=np.int64)
    one_sided = noise.instance_dependent(RATE, std=0.0)
    noisy = one_sided.apply(true, CLASSES, 0, FEATURES)
    flipped = noisy != true
    weight = noise._normal_weight(0, CLASSES, 6)
    expected = noise.flip_probabilities(noise._standardise(FEATURES), true, weight, np.ones(ROWS))
    likely = expected[flipped].argmax(axis=1)
    # Were the target independent of the row, the row's likeliest class would be hit in a third of the flips.
    assert (noisy[flipped] == likely).mean() > 0.5
    # Targets follow the probabilities, not only their order.
    for label in range(1, CLASSES):
        assert abs((noisy[flipped] == label).mean() - expected[flipped, label].mean()) < 0.03


def test_scaled_features_leave_more_than_one_target_a_row():
    weight = noise._normal_weight(0, CLASSES, 400)
    wide = np.random.default_rng(1).normal(size=(500, 400)) * 100
    probabilities = noise.flip_probabilities(noise._standardise(wide), LABELS[:500], weight, np.ones(500))
    assert (probabilities.max(axis=1) > 0.999).mean() == 0
    raw = noise.flip_probabilities(wide, LABELS[:500], weight, np.ones(500))
    assert (raw.max(axis=1) > 0.999).mean() > 0.9


def test_the_truncated_normal_stays_in_range_and_keeps_its_mean():
    draws = (np.arange(20000) + 0.5) / 20000
    values = noise._truncated_normal(draws, 0.3, 0.1)
    assert values.min() >= 0
    assert values.max() <= 1
    assert abs(values.mean() - 0.3) < 0.001
    assert abs(values.std() - 0.1) < 0.002


@every_kind
def test_a_dataset_keeps_its_true_labels_and_a_record(kind, tmp_path):
    clean = dataset(text=[f"word{i % 7} word{i % 5} word{i % 3}" for i in range(ROWS)])
    noisy = inject_noise(clean, kind, seed=3)
    assert noisy["clean_label"][:] == LABELS.tolist()
    assert noisy.features["label"] == noisy.features["clean_label"] == clean.features["label"]
    assert noisy["text"][:5] == clean["text"][:5]
    record = noise_record(noisy)
    assert record["kind"] == kind.kind
    assert (record["rate_asked"], record["rate_measured"], record["seed"]) == (RATE, RATE, 3)
    np.testing.assert_allclose(
        record["transition_matrix"], measured_transition_matrix(LABELS, np.array(noisy["label"][:]), CLASSES)
    )
    noisy.save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(tmp_path / "saved")
    assert noise_record(saved) == record
    assert saved["label"][:] == noisy["label"][:]
    assert noise_record(noisy.map(lambda row: {"length": len(row["text"])}, num_proc=None)) == record
    assert noise_record(clean) is None


def test_a_record_keeps_the_description():
    clean = dataset()
    clean.info.description = "What it is."
    noisy = inject_noise(clean, noise.pair(0.25))
    assert noisy.info.description.startswith("What it is.\n")
    assert noise_record(noisy)["rate_measured"] == 0.25
    assert clean.info.description == "What it is."


def test_selected_rows_and_lazy_transforms_are_read_as_stored():
    selected = dataset().with_transform(lambda rows: {"other": rows["label"]}).select(range(ROWS - 1, -1, -1))
    noisy = inject_noise(selected, noise.pair(RATE))
    assert noisy[0] == {"other": noisy.with_format(None)[0]["label"]}
    assert noisy.with_format(None)["clean_label"][:] == LABELS[::-1].tolist()


def test_a_tensor_format_is_kept():
    noisy = inject_noise(dataset().with_format("numpy"), noise.pair(RATE))
    assert noisy.format["type"] == "numpy"
    assert set(noisy[:2]) == {"label", "clean_label"}


def test_whole_numbers_serve_as_classes():
    noisy = inject_noise(datasets.Dataset.from_dict({"y": [0, 1, 2, 0]}), noise.pair(0.5), label_column="y")
    assert noisy["clean_label"][:] == [0, 1, 2, 0]
    assert sum(a != b for a, b in zip(noisy["y"], noisy["clean_label"], strict=True)) == 2


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.2, float("nan")])
@pytest.mark.parametrize("kind", [noise.symmetric, noise.pair, noise.instance_dependent])
def test_a_rate_outside_is_refused(kind, rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), got"):
        kind(rate)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dataset([0, 1]).add_column("clean_label", [0, 1]), "already has a column 'clean_label'"),
        (lambda: dataset([0, None]), "lacks 1 labels"),
        (lambda: dataset([0, -1]), "labels must be in 0 to 3, got -1"),
        (lambda: datasets.Dataset.from_dict({"label": [0, 1, -100]}), "labels must be in 0 to 1, got -100"),
        (lambda: datasets.Dataset.from_dict({"label": [0, 0]}), "num_classes must be at least 2"),
        (lambda: datasets.Dataset.from_dict({"label": ["a", "b"]}), "class_encode_column"),
        (lambda: datasets.Dataset.from_dict({"other": [0, 1]}), "label_column must be one of"),
    ],
)
def test_labels_that_cannot_be_made_noisy_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        inject_noise(build(), noise.symmetric(0.5))


@pytest.mark.parametrize("kind", [noise.symmetric(0.5), noise.pair(0.5)])
def test_labels_out_of_range_are_refused_in_arrays(kind):
    with pytest.raises(ValueError, match="labels must be in 0 to 2, got 3"):
        kind.apply(np.array([0, 3]), 3)


def test_instance_dependent_noise_asks_for_features():
    with pytest.raises(ValueError, match="pass features="):
        inject_noise(dataset(), noise.instance_dependent(0.3))
    with pytest.raises(ValueError, match="features must be an array"):
        noise.instance_dependent(0.3).apply(LABELS, CLASSES)
    with pytest.raises(ValueError, match="must be finite"):
        noise.instance_dependent(0.3).apply(LABELS, CLASSES, 0, FEATURES * np.nan)
    with pytest.raises(ValueError, match="std must be at least 0"):
        noise.instance_dependent(0.3, std=-1.0)


@pytest.mark.parametrize("kind", [noise.symmetric(RATE), noise.pair(RATE)])
def test_a_million_labels_take_less_than_a_second_of_computing(kind):
    labels = np.arange(1_000_000) % 10
    start = time.process_time()
    noisy = kind.apply(labels, 10)
    assert time.process_time() - start < 1
    assert (noisy != labels).sum() == 400_000
