import os
import subprocess
import sys

import numpy as np
import pytest

from hf_noisy import metrics

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
LABELS = np.array([0, 0, 1])


@pytest.fixture
def load(tmp_path):
    return lambda name, **settings: metrics.load(name, cache_dir=str(tmp_path), **settings)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    import socket

    def refuse(*given, **more):
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_calibration(load):
    module = load("calibration", num_bins=4)
    expected = metrics.calibration_scores(LABELS, PROBABILITIES, 4)
    assert module.compute(predictions=PROBABILITIES, references=LABELS) == expected
    assert module.compute(predictions=PROBABILITIES.tolist(), references=LABELS.tolist()) == expected
    by_mass = metrics.calibration_scores(LABELS, PROBABILITIES, 2, "mass")
    assert module.compute(predictions=PROBABILITIES, references=LABELS, num_bins=2, binning="mass") == by_mass
    assert by_mass != expected


def test_batches_add_up(load):
    module = load("calibration")
    for i in range(3):
        module.add_batch(predictions=PROBABILITIES[i : i + 1], references=LABELS[i : i + 1])
    assert module.compute() == metrics.calibration_scores(LABELS, PROBABILITIES)


def test_detection(load):
    scores, wrong = np.array([0.7, 0.1, 0.4], dtype=np.float32), np.array([1, 0, 0])
    result = load("detection", k=2).compute(predictions=scores, references=wrong)
    assert result == metrics.detection_scores(scores.astype(np.float64), wrong == 1, k=2)


def test_labels_and_combine(load):
    import evaluate

    new, given, clean = np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0, 1, 0])
    columns = {"predictions": new, "references": clean, "given_labels": given}
    by_noise, relabelling = metrics.accuracy_by_noise(new, given, clean), metrics.relabelling_scores(new, given, clean)
    assert load("accuracy_by_noise").compute(**columns) == by_noise
    both = evaluate.combine([load("accuracy_by_noise"), load("label_quality")])
    assert both.compute(**columns) == by_noise | relabelling
    named = evaluate.combine([load("accuracy_by_noise"), load("label_quality")], force_prefix=True)
    assert named.compute(**columns)["label_quality_corrected"] == relabelling["corrected"]


def test_modules_describe_themselves(load):
    module = load("calibration")
    assert (module.name, set(module.features)) == ("calibration", {"predictions", "references"})
    assert "Guo" in module.citation
    assert "probabilities" in module.inputs_description


def test_what_is_not_known_is_refused(load):
    with pytest.raises(ValueError, match=r"metric must be one of accuracy_by_noise, calibration, .* got 'ece'"):
        load("ece")
    with pytest.raises(ValueError, match="detection has no setting 'num_bins'; it takes k, threshold"):
        load("detection", num_bins=3)
    with pytest.raises(ValueError, match="accuracy_by_noise has no setting 'k'; it takes none"):
        load("accuracy_by_noise", k=3)
    with pytest.raises(ValueError, match="calibration has no setting 'bins'; it takes num_bins, binning"):
        load("calibration").compute(predictions=PROBABILITIES, references=LABELS, bins=3)
    with pytest.raises(ValueError, match="same number of classes in each row"):
        load("calibration").compute(predictions=[[0.5, 0.5], [1.0]], references=[0, 0])
    with pytest.raises(ValueError, match="references must have a value in each row, got None; leave those rows out"):
        load("label_quality").compute(predictions=[0, 1], references=[0, None], given_labels=[0, 0])


SCRIPT = """
import socket
def refuse(*given, **more): raise AssertionError("network")
socket.socket.connect = refuse
import evaluate
from hf_noisy import metrics
module = evaluate.load(metrics.SCRIPT, "calibration", num_bins=3)
scores = module.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[0, 0])
assert round(scores["brier"], 6) == 0.65, scores
"""


@pytest.mark.slow
def test_evaluate_loads_the_script_of_the_package(tmp_path):
    offline = {"HF_HOME": str(tmp_path), "HF_EVALUATE_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=os.environ | offline)
