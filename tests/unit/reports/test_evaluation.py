import json

import numpy as np
import pytest

from hf_noisy.metrics import expected_calibration_error
from hf_noisy.reports import score_epochs

LABELS = np.array([0, 1, 1, 0])


def predictions(*right: tuple[bool, ...], confidence: float = 0.8) -> np.ndarray:
    """`[rows, classes]` for each tuple: the label's class where right, else the other."""
    return np.array(
        [
            [np.eye(2)[label if hit else 1 - label] * (2 * confidence - 1) + 1 - confidence for label, hit in rows]
            for rows in (zip(LABELS, hits, strict=True) for hits in right)
        ]
    )


def test_the_last_epoch_is_scored_and_the_best_is_told():
    yes, no = True, False
    epochs = predictions((yes, yes, yes, no), (yes, yes, yes, yes), (yes, no, no, no))[:, None]
    scores = score_epochs(LABELS, epochs)
    assert scores["test_accuracy_by_epoch"] == [0.75, 1.0, 0.25]
    assert (scores["test_accuracy_last"], scores["test_accuracy_best"]) == (0.25, 1.0)
    assert scores["test_accuracy_of_branches"] == [0.25]
    assert scores["test_ece_last"] == pytest.approx(0.55)  # says 0.8, is right in 0.25


def test_branches_are_averaged_as_probabilities():
    sure, unsure = np.array([[0.99, 0.01]] * 4), np.array([[0.4, 0.6]] * 4)
    scores = score_epochs(np.zeros(4, int), np.stack([sure, unsure])[None])
    assert scores["test_accuracy_of_branches"] == [1.0, 0.0]
    assert scores["test_accuracy_last"] == 1.0
    assert scores["test_ece_last"] == expected_calibration_error(np.zeros(4, int), (sure + unsure) / 2)


def test_without_true_labels_nothing_is_scored():
    known = score_epochs(LABELS, predictions((True,) * 4)[:, None])
    unknown = score_epochs(None, predictions((True,) * 4)[:, None])
    assert unknown.keys() == known.keys()
    assert set(unknown.values()) == {None}
    json.dumps(known, allow_nan=False)
