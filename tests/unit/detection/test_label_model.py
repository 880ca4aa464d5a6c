import numpy as np
import pytest

from hf_noisy.detection import label_model
from hf_noisy.detection.label_model import fit_label_model, mean_probabilities


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def rows(transition, rows=6000, sure=6.0, seed=0, dtype=np.float32):
    """A classifier that knows the true class well, and labels changed by a transition matrix."""
    rng = np.random.default_rng(seed)
    classes = len(transition)
    true = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), true] += sure
    given = (np.cumsum(transition[true], axis=1) > rng.random((rows, 1))).argmax(axis=1)
    return softmax(logits).astype(dtype), given, true


SPREAD = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.05, 0.15, 0.8]])


def test_transition_matrix_of_a_sure_classifier():
    probabilities, given, _ = rows(SPREAD, rows=30_000)
    np.testing.assert_allclose(fit_label_model(given, probabilities).transition, SPREAD, atol=0.015)


def test_noise_by_class_is_told_from_noise_by_row():
    probabilities, given, _ = rows(SPREAD)
    assert fit_label_model(given, probabilities).ambiguous < 0.2
    # Labels drawn from the probabilities themselves: where the row is ambiguous, so is the label.
    vague, _, _ = rows(np.eye(3), sure=2.0)
    drawn = (np.cumsum(vague, axis=1) > np.random.default_rng(1).random((len(vague), 1))).argmax(axis=1)
    assert fit_label_model(drawn, vague).ambiguous > 0.8


def test_belief_is_bayes_rule_written_out():
    probabilities, given, _ = rows(SPREAD, sure=2.0, dtype=np.float64)
    model = fit_label_model(given, probabilities)
    posterior = model.predict(given, probabilities)
    for row in (0, 17, 400):
        prior = softmax(np.log(probabilities[row]) / model.temperature + model.bias)
        by_class = prior * model.transition[:, given[row]]
        by_class /= by_class.sum()
        by_row = softmax(np.log(probabilities[row]) / model.row_temperature)
        both = model.ambiguous * by_row + (1 - model.ambiguous) * by_class
        assert posterior.wrong[row] == pytest.approx(1 - both[given[row]], abs=1e-5)
        assert posterior.wrong_by_class[row] == pytest.approx(1 - by_class[given[row]], abs=1e-5)
        both[given[row]] = -1
        assert posterior.suggested[row] == both.argmax()
        assert posterior.disagrees[row] == (probabilities[row].argmax() != given[row])


def test_a_temperature_undoes_a_classifier_that_is_too_sure():
    probabilities, given, _ = rows(SPREAD, sure=2.5, dtype=np.float64)
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    one, three = fit_label_model(given, probabilities), fit_label_model(given, sharper)
    assert three.row_temperature / one.row_temperature == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_and_memory_maps_agree(dtype, tmp_path):
    probabilities, given, _ = rows(SPREAD)
    np.save(tmp_path / "rows.npy", probabilities.astype(dtype))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = fit_label_model(given, probabilities).predict(given, probabilities)
    small = given.astype(np.uint8)
    posterior = fit_label_model(small, mapped).predict(small, mapped)
    np.testing.assert_allclose(posterior.wrong, expected.wrong, atol=0.02)


def test_probabilities_of_exactly_zero_and_one():
    probabilities, given, _ = rows(SPREAD)
    hard = np.eye(3, dtype=np.float32)[probabilities.argmax(axis=1)]
    posterior = fit_label_model(given, hard).predict(given, hard)
    assert np.isfinite(posterior.wrong).all()
    assert posterior.wrong[posterior.disagrees].min() > posterior.wrong[~posterior.disagrees].max()


def test_more_rows_than_are_fitted_are_represented_evenly(monkeypatch):
    probabilities, given, _ = rows(SPREAD, sure=2.0)
    order = np.argsort(given, kind="stable")  # sorted by class, as many files are
    whole = fit_label_model(given[order], probabilities[order])
    monkeypatch.setattr(label_model, "_MAX_FITTED", 2000)
    part = fit_label_model(given[order], probabilities[order])
    assert part.temperature == pytest.approx(whole.temperature, rel=0.1)
    assert part.ambiguous == pytest.approx(whole.ambiguous, abs=0.1)


def test_other_classes_are_refused():
    probabilities, given, _ = rows(SPREAD)
    with pytest.raises(ValueError, match="probabilities must have 3 classes, got 4"):
        fit_label_model(given, probabilities).predict(np.array([0, 3]), np.full((2, 4), 0.25))


def test_an_empty_class_is_refused():
    probabilities, given, _ = rows(SPREAD)
    keep = given != 1
    with pytest.raises(ValueError, match="labels must hold every class, but no row has class 1"):
        fit_label_model(given[keep], probabilities[keep])


def test_mean_probabilities_over_epochs():
    logits = np.random.default_rng(0).normal(size=(4, 30, 5)).astype(np.float32) * 20
    labels = np.zeros(30, dtype=np.int64)
    np.testing.assert_allclose(mean_probabilities(labels, logits), softmax(logits).mean(0), atol=1e-6)
    np.testing.assert_allclose(mean_probabilities(labels, list(logits)), softmax(logits).mean(0), atol=1e-6)


def test_dynamics_that_do_not_fit_are_refused():
    labels = np.zeros(3, dtype=np.int64)
    with pytest.raises(ValueError, match="dynamics must hold at least one epoch, got none"):
        mean_probabilities(labels, [])
    with pytest.raises(ValueError, match=r"dynamics must have one shape in all epochs, got \(3, 3\) in epoch 1"):
        mean_probabilities(labels, [np.zeros((3, 2)), np.zeros((3, 3))])
    with pytest.raises(ValueError, match="dynamics of epoch 0 must be a numpy array of floats"):
        mean_probabilities(labels, [np.zeros((3, 2), dtype=int)])
