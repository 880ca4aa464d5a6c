import json
from pathlib import Path

import numpy as np
import pytest

from hf_noisy.data import noise
from hf_noisy.data.noise import feature_noise
from hf_noisy.data.noise.feature_noise import check_features, normal_weight, standardise, truncated_normal
from hf_noisy.data.noise.part import part_matrices, part_shares

FIXTURE = Path(__file__).parents[3] / "reference" / "fixtures" / "noise_instance_dependent.json"
RATE, ROWS, CLASSES = 0.4, 5000, 4
LABELS = np.arange(ROWS) % CLASSES
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 6))
ZEROS = np.zeros(ROWS, dtype=np.int64)


def test_probabilities_equal_those_of_the_published_code():
    reference = json.loads(FIXTURE.read_text())
    probabilities = noise.flip_probabilities(
        *(np.array(reference[key]) for key in ("features", "labels", "weight", "flip_rates"))
    )
    np.testing.assert_allclose(probabilities, np.array(reference["vectorised"]), atol=1e-12)
    # The published code multiplies in float32.
    np.testing.assert_allclose(probabilities, np.array(reference["official"]), atol=1e-6)


def test_targets_depend_on_the_features():
    noisy = noise.instance_dependent(RATE, std=0.0).apply(ZEROS, CLASSES, 0, FEATURES)
    flipped = noisy != 0
    weight = normal_weight(0, CLASSES, 6, CLASSES)
    expected = noise.flip_probabilities(standardise(FEATURES), ZEROS, weight, np.ones(ROWS))
    likely = expected[flipped].argmax(axis=1)
    # Were the target independent of the row, the row's likeliest class would be hit in a third of the flips.
    assert (noisy[flipped] == likely).mean() > 0.5
    # Targets follow the probabilities, not only their order.
    for label in range(1, CLASSES):
        assert abs((noisy[flipped] == label).mean() - expected[flipped, label].mean()) < 0.03


def test_a_sharp_softmax_leaves_one_target_a_row():
    sharp = noise.instance_dependent(RATE, sharpness=1000.0).apply(ZEROS, CLASSES, 0, FEATURES)
    weight = normal_weight(0, CLASSES, 6, CLASSES)
    target = noise.flip_probabilities(standardise(FEATURES), ZEROS, weight, np.ones(ROWS)).argmax(axis=1)
    flipped = sharp != 0
    assert (sharp[flipped] == target[flipped]).mean() > 0.99


def test_with_a_shared_matrix_the_true_class_does_not_choose_the_target():
    kind = noise.instance_dependent(0.9, exact=False, sharpness=1000.0, shared_weight=True)
    from_first = kind.apply(ZEROS, CLASSES, 0, FEATURES)
    from_second = kind.apply(ZEROS + 1, CLASSES, 0, FEATURES)
    elsewhere = (from_first > 1) & (from_second > 1)
    assert elsewhere.sum() > 500
    assert (from_first == from_second)[elsewhere].mean() > 0.99
    own = noise.instance_dependent(0.9, exact=False, sharpness=1000.0)
    first, second = (own.apply(ZEROS + label, CLASSES, 0, FEATURES) for label in (0, 1))
    both = (first > 1) & (second > 1)
    assert (first == second)[both].mean() < 0.9


def test_scaled_features_leave_more_than_one_target_a_row():
    weight = normal_weight(0, CLASSES, 400, CLASSES)
    wide = np.random.default_rng(1).normal(size=(500, 400)) * 100
    probabilities = noise.flip_probabilities(standardise(wide), LABELS[:500], weight, np.ones(500))
    assert (probabilities.max(axis=1) > 0.999).mean() == 0
    raw = noise.flip_probabilities(wide, LABELS[:500], weight, np.ones(500))
    assert (raw.max(axis=1) > 0.999).mean() > 0.9


@pytest.mark.parametrize("kind", [noise.instance_dependent(RATE), noise.part_dependent(RATE)])
def test_units_of_the_features_do_not_matter(kind):
    expected = kind.apply(LABELS, CLASSES, 0, FEATURES)
    found = kind.apply(LABELS, CLASSES, 0, FEATURES * [1, 255, 1e-3, 7, 2, 1] + 40)
    assert (found == expected).mean() > 0.999


def test_the_truncated_normal_stays_in_range_and_keeps_its_mean():
    draws = (np.arange(20000) + 0.5) / 20000
    values = truncated_normal(draws, 0.3, 0.1)
    assert values.min() >= 0
    assert values.max() <= 1
    assert abs(values.mean() - 0.3) < 0.001
    assert abs(values.std() - 0.1) < 0.002


def test_parts_are_shares_of_the_row():
    shares = part_shares(standardise(FEATURES), 3, seed=0)
    assert shares.shape == (ROWS, 3)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert part_shares(standardise(FEATURES), 50, seed=0).shape == (ROWS, 6)


def test_matrices_of_parts_are_row_stochastic_with_about_the_rate():
    matrices = part_matrices(0, 200, CLASSES, RATE, 0.1)
    np.testing.assert_allclose(matrices.sum(axis=2), 1)
    assert matrices.min() >= 0
    stay = matrices.diagonal(axis1=1, axis2=2)
    assert abs(stay.mean() - (1 - RATE)) < 0.01
    assert abs(stay.std() - 0.1) < 0.02


def test_part_dependent_noise_follows_the_mixture_of_its_parts():
    matrices, shares = part_matrices(3, 5, CLASSES, RATE, 0.3), part_shares(standardise(FEATURES), 5, 3)
    expected = np.einsum("np,pc->nc", shares, matrices[:, 1])
    kind = noise.part_dependent(RATE, std=0.3, exact=False)
    found = kind.apply(ZEROS + 1, CLASSES, 3, FEATURES)
    np.testing.assert_allclose(np.bincount(found, minlength=CLASSES) / ROWS, expected.mean(axis=0), atol=0.02)
    # Rows that are said to flip more often do so.
    risky = expected[:, 1] < np.median(expected[:, 1])
    gap = (found != 1)[risky].mean() - (found != 1)[~risky].mean()
    assert gap == pytest.approx(expected[~risky, 1].mean() - expected[risky, 1].mean(), abs=0.03)
    assert gap > 0.1


def test_parts_that_never_flip_a_class_still_give_the_rate_asked_for():
    kind = noise.part_dependent(0.5, std=0.0)
    shut = part_matrices(0, 2, 3, 0.0, 0.0)
    assert (shut == np.eye(3)).all()
    noisy = noise.part_dependent(0.02, std=5.0, num_parts=2).apply(LABELS, CLASSES, 0, FEATURES)
    assert (noisy != LABELS).sum() == round(0.02 * ROWS)
    assert (kind.apply(LABELS, CLASSES, 0, np.ones((ROWS, 2))) != LABELS).sum() == ROWS // 2


@pytest.mark.parametrize("kind", [noise.instance_dependent, noise.part_dependent])
def test_unsuitable_features_and_settings_are_refused(kind):
    with pytest.raises(ValueError, match=r"features must be an array of shape \(5000, features\), .* got None"):
        kind(0.3).apply(LABELS, CLASSES)
    with pytest.raises(ValueError, match=r"got shape \(3, 2\)"):
        check_features(np.ones((3, 2)), 4)
    with pytest.raises(ValueError, match="one row per label, got list"):
        check_features([[1.0], [2.0]], 2)
    with pytest.raises(ValueError, match=r"one row per label, got shape \(4, 0\)"):
        check_features(np.ones((4, 0)), 4)
    with pytest.raises(ValueError, match="must be finite"):
        kind(0.3).apply(LABELS, CLASSES, 0, FEATURES * np.nan)
    with pytest.raises(ValueError, match=r"must be real numbers, got int64; pass embeddings, .* never token ids"):
        kind(0.3).apply(LABELS, CLASSES, 0, np.ones((ROWS, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="std must be at least 0"):
        kind(0.3, std=-1.0)


def test_settings_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="sharpness must be above 0 and finite, got 0"):
        noise.instance_dependent(0.3, sharpness=0.0)
    with pytest.raises(ValueError, match="num_parts must be at least 2, got 1"):
        noise.part_dependent(0.3, num_parts=1)


def test_chunks_change_nothing(monkeypatch):
    expected = [kind.apply(LABELS, CLASSES, 0, FEATURES) for kind in (noise.part_dependent(RATE),)]
    monkeypatch.setattr(feature_noise, "_CHUNK", 7)
    found = [kind.apply(LABELS, CLASSES, 0, FEATURES) for kind in (noise.part_dependent(RATE),)]
    assert (found[0] == expected[0]).all()
