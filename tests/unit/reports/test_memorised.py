import json

import numpy as np
import pytest

from hf_noisy.reports.memorised import memorisation


def random_case(epochs=3, rows=40, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), (epochs, rows)).astype(np.float32)
    true = rng.integers(0, classes, rows)
    given = np.where(rng.random(rows) < 0.4, rng.integers(0, classes, rows), true)
    return probabilities, given, true


def test_against_a_loop_over_rows():
    probabilities, given, true = random_case()
    result = memorisation(probabilities, given, true)
    for epoch, rows in enumerate(probabilities):
        wrong = [i for i in range(len(rows)) if given[i] != true[i]]
        right = [i for i in range(len(rows)) if given[i] == true[i]]
        predicted = rows.argmax(1)
        expected = {
            "memorised": np.mean([predicted[i] == given[i] for i in wrong]),
            "corrected": np.mean([predicted[i] == true[i] for i in wrong]),
            "learned": np.mean([predicted[i] == true[i] for i in right]),
            "loss_wrong": np.mean([-np.log(float(rows[i, given[i]])) for i in wrong]),
            "loss_right": np.mean([-np.log(float(rows[i, given[i]])) for i in right]),
        }
        for name, value in expected.items():
            assert getattr(result, name)[epoch] == pytest.approx(value, abs=1e-12)


def test_without_wrong_labels_there_is_nothing_to_memorise():
    probabilities, given, _ = random_case()
    result = memorisation(probabilities, given, given)
    assert np.isnan(result.memorised).all()
    assert np.isfinite(result.learned).all()
    lists = json.loads(json.dumps(result.as_lists(), allow_nan=False))
    assert lists["corrected"] == [None, None, None]
    assert lists["learned"] == result.learned.tolist()


def test_a_probability_of_zero_has_a_finite_loss():
    probabilities = np.array([[[1.0, 0.0]]], dtype=np.float32)
    assert 80 < memorisation(probabilities, np.array([1]), np.array([0])).loss_wrong[0] < 100


@pytest.mark.parametrize(
    ("given", "true", "message"),
    [
        (np.zeros(3, int), np.zeros(4, int), "given must be one label for each of the 4 rows, got 3"),
        (np.zeros(4, int), np.zeros(5, int), "true must be one label for each of the 4 rows, got 5"),
        (np.array([0, 1, 2, 5]), np.zeros(4, int), "given must be classes 0 to 4, got 0 to 5"),
        (np.zeros(4, int), np.array([0, -1, 0, 0]), "true must be classes 0 to 4, got -1 to 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given, true, message):
    with pytest.raises(ValueError, match=message):
        memorisation(np.full((1, 4, 5), 0.2), given, true)
