import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hf_noisy.core import blocks
from hf_noisy.detection.label_quality import (
    confidence_weighted_entropy,
    confident_classes,
    confident_learning,
    normalized_margin,
    self_confidence,
    suggested_labels,
)

QUALITIES = [self_confidence, normalized_margin, confidence_weighted_entropy]
EVERY = [*QUALITIES, confident_classes, confident_learning, suggested_labels]


def draw(seed, num_rows, num_classes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(num_classes, 0.3), num_rows).astype(dtype)
    return rng.integers(0, num_classes, num_rows), probabilities


inputs = st.builds(
    draw,
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(2, 7),
    st.sampled_from([np.float16, np.float32, np.float64]),
)


def test_by_hand():
    probabilities, labels = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([1, 2])
    assert_allclose(self_confidence(labels, probabilities), [0.3, 0.8])
    assert_allclose(normalized_margin(labels, probabilities), [(0.3 - 0.5 + 1) / 2, (0.8 - 0.1 + 1) / 2])
    entropy = -(probabilities * np.log(probabilities)).sum(1) / np.log(3)
    ratio = entropy / np.array([0.3, 0.8])
    assert_allclose(confidence_weighted_entropy(labels, probabilities), np.log1p(ratio) / ratio)
    assert_array_equal(suggested_labels(labels, probabilities), [0, 2])


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_certain_rows_are_the_ends_of_the_scale(quality, dtype):
    assert_array_equal(quality(np.array([0, 1, 0]), np.eye(3, dtype=dtype)), [1, 1, 0])


@pytest.mark.parametrize("quality", QUALITIES)
def test_quality_rises_with_the_probability_of_the_label(quality):
    own = np.linspace(0, 1, 101)
    probabilities = np.stack([own, (1 - own) / 2, (1 - own) / 2], axis=1)
    assert (np.diff(quality(np.zeros(101, dtype=np.int64), probabilities)) > 0).all()


def test_confident_classes_against_a_loop():
    labels, probabilities = draw(0, 500, 4)
    thresholds = [probabilities[labels == k, k].mean() for k in range(4)]
    for row, label in zip(probabilities, confident_classes(labels, probabilities), strict=True):
        passed = [k for k in range(4) if row[k] >= thresholds[k]]
        expected = -1 if not passed else passed[0] if len(passed) == 1 else int(row.argmax())
        assert label == expected


def test_a_class_that_no_row_is_given_is_never_counted_for():
    probabilities = np.array([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.1, 0.7]])
    found = confident_classes(np.array([0, 1, 0, 1]), probabilities)
    assert 2 not in found


def test_rows_of_another_class_are_flagged():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 1000)
    given_labels = np.where(rng.random(1000) < 0.2, (true + 1) % 5, true)
    probabilities = 0.8 * np.eye(5)[true] + 0.2 * rng.dirichlet(np.ones(5), 1000)
    assert_array_equal(confident_learning(given_labels, probabilities), given_labels != true)
    assert_array_equal(suggested_labels(given_labels, probabilities), true)


def test_a_given_label_that_shares_the_highest_probability_is_kept():
    probabilities = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    assert_array_equal(suggested_labels(np.array([0, 1, 2]), probabilities), [0, 1, 0])


@given(inputs)
def test_ranges(data):
    labels, probabilities = data
    for quality in QUALITIES:
        found = quality(labels, probabilities)
        assert found.dtype == np.float64
        assert found.min() >= 0
        assert found.max() <= 1
    flags = confident_learning(labels, probabilities)
    assert_array_equal(
        flags,
        ~np.isin(confident_classes(labels, probabilities) - labels, [0])
        & (confident_classes(labels, probabilities) >= 0),
    )


@given(inputs, st.integers(0, 1000))
def test_order_of_rows_does_not_matter(data, seed):
    labels, probabilities = data
    order = np.random.default_rng(seed).permutation(len(labels))
    for function in (*QUALITIES, suggested_labels):
        assert_array_equal(function(labels[order], probabilities[order]), function(labels, probabilities)[order])


def test_order_of_rows_does_not_matter_to_thresholds():
    labels, probabilities = draw(1, 400, 5)
    order = np.random.default_rng(2).permutation(400)
    found = confident_classes(labels[order], probabilities[order])
    assert_array_equal(found, confident_classes(labels, probabilities)[order])


@given(inputs, st.integers(1, 50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_size_of_a_block_does_not_matter(monkeypatch, data, elements):
    whole = [function(*data) for function in EVERY]
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "ELEMENTS_A_BLOCK", elements)
        for function, expected in zip(EVERY, whole, strict=True):
            # Sums over classes may be grouped otherwise, which moves the last digit of an entropy.
            assert_allclose(function(*data), expected, rtol=1e-5, atol=1e-7)


def test_memory_mapped_and_transposed_arrays_give_the_same(tmp_path):
    labels, probabilities = draw(3, 300, 6, np.float32)
    np.save(tmp_path / "p.npy", probabilities)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    for function in EVERY:
        expected = function(labels, probabilities)
        assert_array_equal(function(labels, mapped), expected)
        assert_allclose(function(labels.astype(np.uint8), np.asfortranarray(probabilities)), expected, rtol=1e-5)


@pytest.mark.parametrize("function", EVERY)
def test_bad_input_is_refused(function):
    good = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(ValueError, match=r"probabilities must sum to 1 in each row, got 1\.1 in row 1"):
        function(np.array([0, 1]), good + np.array([[0.0], [0.05]]))
    with pytest.raises(ValueError, match="probabilities must be finite, got NaN or infinity in row 0"):
        function(np.array([0, 1]), np.where(good == 0.9, np.nan, good))
    with pytest.raises(ValueError, match="labels must be classes 0 to 1, got 2"):
        function(np.array([0, 2]), good)
