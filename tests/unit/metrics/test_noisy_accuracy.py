import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.metrics import accuracy_by_noise, relabelling_scores


def columns(seed, num_rows, num_classes=3):
    return np.random.default_rng(seed).integers(0, num_classes, (3, num_rows))


def test_accuracy_by_hand():
    predicted, given_labels, clean = np.array([0, 1, 2, 0, 1]), np.array([0, 1, 1, 0, 2]), np.array([0, 2, 2, 1, 2])
    assert accuracy_by_noise(predicted, given_labels, clean) == {
        "accuracy": 2 / 5,
        "accuracy_right_label": 1 / 2,
        "accuracy_wrong_label": 1 / 3,
        "memorised": 2 / 3,
        "noise_rate": 3 / 5,
    }


def test_a_clean_data_set_has_no_wrong_rows():
    labels = np.array([0, 1, 1])
    scores = accuracy_by_noise(np.array([0, 1, 0]), labels, labels)
    assert scores["accuracy"] == scores["accuracy_right_label"] == 2 / 3
    assert scores["noise_rate"] == 0
    assert np.isnan([scores["accuracy_wrong_label"], scores["memorised"]]).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_parts_make_the_whole(seed, num_rows):
    predicted, given_labels, clean = columns(seed, num_rows)
    scores = accuracy_by_noise(predicted, given_labels, clean)
    rate = scores["noise_rate"]
    parts = np.nan_to_num([scores["accuracy_right_label"], scores["accuracy_wrong_label"]])
    assert scores["accuracy"] == pytest.approx((1 - rate) * parts[0] + rate * parts[1])
    if rate:
        assert scores["memorised"] + scores["accuracy_wrong_label"] <= 1 + 1e-12
        assert accuracy_by_noise(given_labels, given_labels, clean)["memorised"] == 1


def test_relabelling_by_hand():
    new, given_labels, clean = np.array([0, 2, 2, 1, 1]), np.array([0, 1, 2, 0, 2]), np.array([0, 2, 1, 0, 0])
    assert relabelling_scores(new, given_labels, clean) == {
        "label_accuracy_before": 2 / 5,
        "label_accuracy_after": 2 / 5,
        "changed": 3,
        "corrected": 1,
        "broken": 1,
        "still_wrong": 2,
    }


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_gain_is_corrected_less_broken(seed, num_rows):
    new, given_labels, clean = columns(seed, num_rows)
    scores = relabelling_scores(new, given_labels, clean)
    gain = scores["label_accuracy_after"] - scores["label_accuracy_before"]
    assert gain == pytest.approx((scores["corrected"] - scores["broken"]) / num_rows)
    assert scores["corrected"] + scores["still_wrong"] == (given_labels != clean).sum()
    assert scores["corrected"] + scores["broken"] <= scores["changed"]
    untouched = relabelling_scores(given_labels, given_labels, clean)
    assert untouched["changed"] == untouched["corrected"] == untouched["broken"] == 0


@pytest.mark.parametrize("position", [0, 1, 2])
def test_bad_columns_are_refused(position):
    good = [np.array([0, 1]), np.array([0, 1]), np.array([0, 1])]
    for bad, message in [
        (np.array([0, -1]), "must be classes from 0, got -1 in row 1; drop rows without a label"),
        (np.array([], dtype=int), "must have at least one row, got none"),
        (np.array([0, 1, 1]), "all label columns must have the same rows, got .* 3"),
    ]:
        given_columns = [*good]
        given_columns[position] = bad
        for function in (accuracy_by_noise, relabelling_scores):
            with pytest.raises(ValueError, match=message):
                function(*given_columns)
