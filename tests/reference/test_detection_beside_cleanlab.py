"""The default detector and noise rate beside cleanlab's on the same arrays.

True labels are for the comparison only.
"""

import numpy as np
import pytest

from hf_noisy.detection.find import find_wrong_labels
from hf_noisy.detection.noise_rate import estimate_noise_rate

pytest.importorskip("cleanlab", reason="needs cleanlab: pip install 'hf-noisy[test]'")

from cleanlab.count import estimate_joint
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

FILES = ["cifar10n_aggregate_efficientnet_b1", "cifar10n_worst_resnet50d", "cifar10s_resnet18"]


def f1(found, wrong):
    return 2 * (found & wrong).sum() / (found.sum() + wrong.sum())


def load(folder, name):
    with np.load(folder / "noise_detection" / f"{name}.npz") as arrays:
        probabilities = arrays["pred_probs"].astype(np.float32)
        given, true = (arrays[key].astype(np.int64) for key in ("noisy_labels", "true_labels"))
    return probabilities / probabilities.sum(axis=1, keepdims=True), given, true


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_images_with_human_and_synthetic_noise(data_dir, name):
    probabilities, given, true = load(data_dir, name)
    wrong, differs = given != true, probabilities.argmax(1) != given
    issues = find_wrong_labels(given, probabilities)
    reached = f1(issues.is_wrong, wrong)
    assert reached > f1(find_label_issues(given, probabilities, n_jobs=1), wrong)
    assert reached > f1(differs, wrong)
    theirs = average_precision_score(wrong, -get_label_quality_scores(given, probabilities))
    assert average_precision_score(wrong, -issues.quality) >= theirs
    assert issues.noise_rate.low <= wrong.mean() <= issues.noise_rate.high


@pytest.mark.slow
def test_noise_rate_errs_less_than_the_joint_and_than_plain_disagreement(data_dir):
    errors = []
    for name in FILES:
        probabilities, given, true = load(data_dir, name)
        rate = (given != true).mean()
        estimates = (
            estimate_noise_rate(given, probabilities).rate,
            1 - np.trace(estimate_joint(given, probabilities)),
            (probabilities.argmax(1) != given).mean(),
        )
        errors.append([abs(estimate - rate) for estimate in estimates])
    ours, joint, plain = np.mean(errors, axis=0)
    assert ours < min(joint, plain)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_noise_by_class_of_a_classifier_that_errs(rate):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 6, 6000)
    logits = rng.normal(size=(6000, 6))
    logits[np.arange(6000), true] += 2.0
    transition = (1 - rate) * np.eye(6) + rate * np.roll(np.eye(6), 1, axis=1)
    given = (np.cumsum(transition[true], axis=1) > rng.random((6000, 1))).argmax(axis=1)
    powers = np.exp(2.0 * logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    wrong, differs = given != true, probabilities.argmax(1) != given
    issues = find_wrong_labels(given, probabilities)
    assert f1(issues.is_wrong, wrong) > f1(differs, wrong)
    theirs = average_precision_score(wrong, -get_label_quality_scores(given, probabilities))
    assert average_precision_score(wrong, -issues.quality) >= theirs
    assert abs(issues.noise_rate.rate - wrong.mean()) < abs(differs.mean() - wrong.mean())


def test_probabilities_of_the_given_label_leave_plain_disagreement():
    # They explain the labels without any transition matrix: the account by row takes all, see docs/detection.md.
    rng = np.random.default_rng(0)
    true = rng.integers(0, 6, 6000)
    logits = rng.normal(size=(6000, 6))
    logits[np.arange(6000), true] += 2.0
    transition = 0.7 * np.eye(6) + 0.3 * np.roll(np.eye(6), 1, axis=1)
    given = (np.cumsum(transition[true], axis=1) > rng.random((6000, 1))).argmax(axis=1)
    powers = np.exp(2.0 * logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True) @ transition
    issues = find_wrong_labels(given, probabilities)
    differs = probabilities.argmax(1) != given
    assert (issues.is_wrong == differs).mean() > 0.99
    assert issues.noise_rate.rate == pytest.approx(differs.mean(), abs=0.01)
