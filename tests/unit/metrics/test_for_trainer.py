import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import EvalPrediction, Trainer

from hf_noisy import metrics
from hf_noisy.metrics import compute_metrics
from tests.contract.runs import bert, make_args, make_model, make_rows, make_trainer

LOGITS = np.array([[2.0, 0.0], [1.0, 0.5], [0.0, 3.0], [0.3, 0.0]])
PROBABILITIES = softmax(LOGITS, axis=1)
GIVEN, CLEAN = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])


def noisy_rows() -> Dataset:
    """The rows of the contract tests with the next class as the true one of each third row."""
    rows = make_rows()
    clean = [(label + (i % 3 == 0)) % 3 for i, label in enumerate(rows["label"])]
    return rows.add_column("clean_label", clean)


def test_without_columns_labels_are_those_of_the_evaluation_set():
    scores = compute_metrics("accuracy", "calibration", num_bins=3)(EvalPrediction(LOGITS, CLEAN))
    expected = metrics.calibration_scores(CLEAN, PROBABILITIES, 3)
    assert scores == {"accuracy": 0.5, **expected}


@pytest.mark.parametrize("label_ids", [GIVEN, CLEAN])
def test_with_columns_predictions_are_compared_with_the_true_labels(label_ids):
    names = ("accuracy", "accuracy_by_noise", "calibration", "detection", "label_quality")
    score = compute_metrics(*names, given_labels=GIVEN.tolist(), clean_labels=CLEAN, k=1, binning="mass")
    predicted = PROBABILITIES.argmax(axis=1)
    suspicion = 1 - PROBABILITIES[np.arange(4), GIVEN]
    assert score(EvalPrediction(LOGITS, label_ids)) == {
        **metrics.accuracy_by_noise(predicted, GIVEN, CLEAN),
        **metrics.calibration_scores(CLEAN, PROBABILITIES, binning="mass"),
        **metrics.detection_scores(suspicion, GIVEN != CLEAN, k=1),
        **metrics.relabelling_scores(predicted, GIVEN, CLEAN),
    }


def test_further_outputs_of_a_model_are_left_aside():
    score = compute_metrics("accuracy")
    assert score(EvalPrediction((LOGITS, np.zeros((4, 7))), CLEAN)) == score(EvalPrediction(LOGITS, CLEAN))


@pytest.mark.parametrize("kind", ["plain", "branches"])
def test_one_line_in_a_noisy_trainer(tmp_path, kind):
    rows = noisy_rows()
    trainer = make_trainer(
        tmp_path,
        "cross_entropy",
        make_model(kind),
        rows=rows,
        trainer={
            "eval_dataset": rows,
            "compute_metrics": compute_metrics(
                "accuracy_by_noise", "calibration", given_labels=rows["label"], clean_labels=rows["clean_label"]
            ),
        },
        eval_strategy="epoch",
        metric_for_best_model="eval_ece",
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_ece" in entry]
    assert len(logged) == 2
    output = trainer.predict(rows)
    predicted, clean = output.predictions.argmax(axis=1), np.array(rows["clean_label"])
    assert logged[-1]["eval_accuracy"] == np.mean(predicted == clean)
    assert logged[-1]["eval_noise_rate"] == pytest.approx(1 / 3)
    assert output.metrics["test_ece"] == logged[-1]["eval_ece"]


def test_one_line_in_a_stock_trainer(tmp_path):
    rows = noisy_rows()
    score = compute_metrics("accuracy", "detection", given_labels=rows["label"], clean_labels=rows["clean_label"])
    trainer = Trainer(bert(), make_args(tmp_path), eval_dataset=rows, compute_metrics=score)
    scores = trainer.evaluate()
    model = bert().eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(rows["input_ids"])).logits.numpy()
    assert scores["eval_accuracy"] == np.mean(logits.argmax(axis=1) == np.array(rows["clean_label"]))
    given = np.array(rows["label"])
    suspicion = 1 - softmax(logits.astype(np.float64), axis=1)[np.arange(len(given)), given]
    wrong = given != np.array(rows["clean_label"])
    assert scores["eval_auroc"] == pytest.approx(metrics.detection_scores(suspicion, wrong)["auroc"])


def test_rows_in_another_order_are_refused(tmp_path):
    rows = noisy_rows()
    score = compute_metrics("accuracy", given_labels=rows["label"], clean_labels=rows["clean_label"])
    trainer = Trainer(bert(), make_args(tmp_path), eval_dataset=rows.select(range(9)), compute_metrics=score)
    with pytest.raises(ValueError, match="the 9 labels of the evaluation set are neither the 21 given_labels nor"):
        trainer.evaluate()


def test_scores_of_single_batches_are_refused(tmp_path):
    arguments = make_args(tmp_path, batch_eval_metrics=True)
    trainer = Trainer(bert(), arguments, eval_dataset=make_rows(), compute_metrics=compute_metrics("accuracy"))
    with pytest.raises(ValueError, match="need all rows at once; set batch_eval_metrics=False"):
        trainer.evaluate()


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ((), {}, "metrics must be some of accuracy, accuracy_by_noise, .* got none"),
        (("ece",), {}, "metrics must be some of .* got ece"),
        (("accuracy",), {"num_bins": 3}, "settings of accuracy are none, got num_bins"),
        (("calibration", "detection"), {"bins": 3}, "are num_bins, binning, k, threshold, got bins"),
        (("detection",), {}, "detection compares given with true labels; pass given_labels and clean_labels"),
        (("label_quality",), {"clean_labels": CLEAN}, "label_quality compares given with true labels"),
        (("accuracy",), {"clean_labels": CLEAN}, "given_labels and clean_labels go together, got only one"),
        (
            ("detection",),
            {"given_labels": [0], "clean_labels": [0, 1]},
            "all label columns must have the same rows, got",
        ),
    ],
)
def test_bad_requests_are_refused(names, options, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(*names, **options)


@pytest.mark.parametrize(
    ("predictions", "label_ids", "message"),
    [
        (LOGITS, np.eye(2)[CLEAN], r"labels must be one integer per row, got float64 of shape \(4, 2\)"),
        (LOGITS, None, "labels must be a numpy array of integers, got NoneType"),
        (np.zeros((4, 5, 2)), CLEAN, r"predictions must be logits \[rows, classes\] of the 4 rows, got \(4, 5, 2\)"),
    ],
)
def test_bad_predictions_are_refused(predictions, label_ids, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics("accuracy")(EvalPrediction(predictions, label_ids))
