"""F1 of entities and of several labels, alone and in a trainer."""

import numpy as np
import pytest
from sklearn.metrics import f1_score
from transformers import EvalPrediction

from hf_noisy.core.task import LABEL_SETS, TOKENS
from hf_noisy.metrics import best_threshold, compute_metrics, entity_scores, multi_label_scores


def test_an_entity_counts_only_whole():
    given = [["B-PER", "I-PER", "O", "B-LOC"]]
    assert entity_scores(given, [["B-PER", "O", "O", "B-LOC"]])["entity_f1"] == 0.5
    assert entity_scores(given, [["O", "O", "O", "O"]])["entity_f1"] == 0.0


def test_entities_of_a_trainer_leave_out_tokens_without_label():
    labels = np.array([[-100, 1, 2, 0], [0, -100, -100, -100]])
    logits = np.eye(3)[np.array([[1, 1, 2, 0], [0, 1, 1, 1]])]
    score = compute_metrics("accuracy", "entities", task=TOKENS, names=["O", "B-X", "I-X"])
    found = score(EvalPrediction(predictions=logits, label_ids=labels))
    assert found["entity_f1"] == found["accuracy"] == 1.0
    with pytest.raises(ValueError, match="entities needs names="):
        compute_metrics("entities", task=TOKENS)
    with pytest.raises(ValueError, match="metrics must be some of"):
        compute_metrics("entities")


def test_micro_and_macro_f1_are_those_of_sklearn():
    draw = np.random.default_rng(0)
    labels, probabilities = draw.integers(0, 2, (50, 4)), draw.random((50, 4))
    found = multi_label_scores(labels, probabilities, 0.3)
    for kind in ("micro", "macro"):
        assert found[f"{kind}_f1"] == pytest.approx(f1_score(labels, probabilities > 0.3, average=kind))
    logits = np.log(probabilities / (1 - probabilities))
    score = compute_metrics("multi_label", task=LABEL_SETS, threshold=0.3)
    assert score(EvalPrediction(predictions=logits, label_ids=labels.astype(float))) == pytest.approx(found)


def test_no_threshold_is_better_than_the_best():
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, (60, 3))
    probabilities = np.round(0.3 * labels + 0.7 * draw.random((60, 3)), 1)  # with ties
    best = multi_label_scores(labels, probabilities, best_threshold(labels, probabilities))["micro_f1"]
    others = [multi_label_scores(labels, probabilities, one)["micro_f1"] for one in np.linspace(0, 1, 101)]
    assert best >= max(others) - 1e-12
    assert best_threshold(np.zeros((2, 2)), np.ones((2, 2))) == 0.5


def test_with_the_missing_rate_the_threshold_is_that_of_the_true_labels():
    rng = np.random.default_rng(0)
    true = rng.random((20_000, 2)) < 0.2
    probabilities = 1 / (1 + np.exp(-(2 * true - 1 + rng.normal(0, 1, true.shape))))
    given = true & (rng.random(true.shape) < 0.3)
    goal = multi_label_scores(true, probabilities, best_threshold(true, probabilities))["micro_f1"]
    plain, corrected = (
        multi_label_scores(true, probabilities, best_threshold(given, probabilities, rate))["micro_f1"]
        for rate in (0.0, 0.7)
    )
    assert plain < goal - 0.03 < goal - 0.005 < corrected
    with pytest.raises(ValueError, match=r"missing_rate must be a number in \[0, 1\)"):
        best_threshold(given, probabilities, 1.0)


def test_tables_of_other_shapes_are_refused():
    for given in (np.zeros(3), np.full((3, 2), 2)):
        with pytest.raises(ValueError, match="of zeros and ones"):
            multi_label_scores(given, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="probabilities must be finite"):
        best_threshold(np.ones((3, 2)), np.full((3, 2), np.nan))
