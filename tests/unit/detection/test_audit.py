import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from hf_noisy.data.checked import checked_rows
from hf_noisy.detection.audit import audit
from hf_noisy.detection.probe import probe_logits
from hf_noisy.detection.rows_to_check import rows_to_check

CLASSES = ["cat", "dog", "bird"]


def noisy_rows(count: int = 600, rate: float = 0.2) -> tuple[Dataset, np.ndarray]:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, count)
    features = np.eye(3)[true] * 4 + draw.normal(size=(count, 3))
    given = np.where(draw.random(count) < rate, (true + 1) % 3, true)
    rows = Dataset.from_dict({"features": features.astype(np.float32), "label": given})
    return rows.cast_column("label", ClassLabel(names=CLASSES)), true


def test_it_finds_what_is_wrong():
    rows, true = noisy_rows()
    found = audit(rows)
    wrong = found.labels != true
    assert found.class_names == CLASSES
    assert found.probabilities.shape == (600, 3)
    assert (found.issues.is_wrong == wrong).mean() > 0.95
    assert found.issues.noise_rate.low <= wrong.mean() <= found.issues.noise_rate.high
    assert found.dynamics.confidence[~wrong].mean() > found.dynamics.confidence[wrong].mean() + 0.3
    np.testing.assert_allclose(found.transition_matrix.sum(axis=1), 1)
    assert found.transition_matrix[0].argmax() == 0
    assert found.transition_matrix[0, 1] > found.transition_matrix[0, 2]


def test_duplicates_and_outliers_are_findings_of_their_own():
    rows, true = noisy_rows(rate=0.0)
    features = np.hstack([rows.with_format("numpy")["features"][:], np.random.default_rng(1).normal(size=(600, 12))])
    given = np.array(rows["label"])
    features[[100, 200]], features[300] = features[50], -features.mean(0)
    given[[50, 100]], given[200] = true[50], (true[50] + 1) % 3
    found = audit(Dataset.from_dict({"features": features.astype(np.float32), "label": given}), epochs=1)
    (group,) = (group for group in found.duplicates if group.exact)
    assert group.labels_differ
    assert group.rows.tolist() == [50, 100, 200]
    assert found.outliers.distance.argmax() == 300
    assert found.issues.is_wrong[[50, 100, 200]].tolist() == [False, False, True]
    np.testing.assert_allclose(found.probabilities[50], found.probabilities[200])


def test_true_labels_are_not_read():
    rows, _ = noisy_rows(120)
    nonsense = rows.add_column("clean_label", np.zeros(120, dtype=np.int64))
    np.testing.assert_array_equal(audit(rows).issues.quality, audit(nonsense).issues.quality)


def test_the_seed_decides():
    rows, _ = noisy_rows(120)
    np.testing.assert_array_equal(audit(rows, seed=3).probabilities, audit(rows, seed=3).probabilities)
    assert (audit(rows, seed=3).probabilities != audit(rows, seed=4).probabilities).any()


def test_what_is_missing_is_named():
    rows, _ = noisy_rows(60)
    with pytest.raises(ValueError, match=r"features must be one of .*, got 'features'; add it with embed"):
        audit(rows.remove_columns("features"))
    alone = Dataset.from_dict({"features": np.eye(4), "label": [0] * 4})
    with pytest.raises(ValueError, match="column 'label' must hold at least 2 classes, got 'cat' alone"):
        audit(alone.cast_column("label", ClassLabel(names=["cat"])))
    labels = [3, *rows["label"][1:50], 4, *rows["label"][51:]]
    single = rows.remove_columns("label").add_column("label", labels)
    single = single.cast_column("label", ClassLabel(names=[*CLASSES, "fish", "fox"]))
    with pytest.raises(ValueError, match=r"1 row alone has 'fish' \(row 0\), 'fox' \(row 50\); drop such"):
        audit(single)


def test_classes_without_rows_change_nothing():
    rows, _ = noisy_rows(240)
    names = [CLASSES[0], "fish", *CLASSES[1:], "fox"]
    old = np.array([0, 2, 3])
    more = rows.remove_columns("label").add_column("label", old[rows["label"]])
    found, expected = audit(more.cast_column("label", ClassLabel(names=names))), audit(rows)
    np.testing.assert_array_equal(found.issues.suggested, old[expected.issues.suggested])
    np.testing.assert_allclose(found.probabilities[:, old], expected.probabilities, atol=0.02)
    np.testing.assert_allclose(found.issues.noise_rate, expected.issues.noise_rate, atol=0.02)
    assert found.class_names == names


def test_the_probe_learns_and_starts_equal_for_every_seed():
    rows, true = noisy_rows(rate=0.0)
    features = np.asarray(rows.with_format("numpy")["features"][:])
    epochs = list(probe_logits(features, true, 3, epochs=5, seed=1))
    accuracy = [(logits.argmax(1) == true).mean() for logits in epochs]
    assert accuracy[-1] > 0.95
    again = list(probe_logits(features, true, 3, epochs=5, seed=1))
    np.testing.assert_array_equal(epochs[-1], again[-1])
    constant = list(probe_logits(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, epochs=2))
    assert np.isfinite(constant[-1]).all()


def test_checked_rows_are_known_and_give_a_valid_noise_rate():
    rows, true = noisy_rows(300, 0.3)
    drawn = rows_to_check(rows, 60).index
    checked = np.full(len(rows), -1)
    checked[drawn] = true[drawn]
    found = audit(rows, epochs=1, checked=checked_rows(rows, checked, strategy="random"))
    given = np.array(rows["label"])
    assert found.issues.is_wrong[drawn].tolist() == (given != true)[drawn].tolist()
    assert found.issues.suggested[drawn].tolist() == true[drawn].tolist()
    rate = found.issues.noise_rate
    assert rate.low <= (given != true).mean() <= rate.high
    assert found.estimates.noise_rate().rate == rate.rate
    assert (found.issues.suggested == true).mean() > (given == true).mean()
    unknown = audit(rows.add_column("checked_label", checked), epochs=1)
    assert unknown.estimates is None
    assert unknown.issues.noise_rate == audit(rows, epochs=1).issues.noise_rate
    assert unknown.issues.is_wrong.tolist() == found.issues.is_wrong.tolist()
