import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_noisy.data.weak import rule_table
from hf_noisy.data.weak.rules import _known

VOTES = np.array([[0, 0, -1], [0, 1, -1], [-1, 1, -1], [0, -1, -1]])


def test_a_table_by_hand():
    first, second, third = rule_table(VOTES, num_classes=2, reference=np.array([0, 1, 1, -1]))
    assert first == {
        "rule": 0,
        "classes": [0],
        "votes": 3,
        "coverage": 0.75,
        "overlap": 0.5,
        "conflict": 0.25,
        "accuracy": 0.5,  # the last row has no reference
    }
    assert (second["classes"], second["overlap"], second["conflict"], second["accuracy"]) == ([0, 1], 0.5, 0.25, 1.0)
    assert (third["votes"], third["classes"], third["coverage"], third["accuracy"]) == (0, [], 0.0, None)


def test_without_a_reference_nothing_is_said_of_accuracy():
    table = rule_table(VOTES, num_classes=2, names=["a", "b", "c"])
    assert [row["rule"] for row in table] == ["a", "b", "c"]
    assert {row["accuracy"] for row in table} == {None}
    assert str(table).splitlines()[2] == "| a | 0 | 3 | 0.750 | 0.500 | 0.250 | - |"


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 6), st.integers(2, 4))
def test_equals_a_loop(seed, num_rows, num_rules, num_classes):
    rng = np.random.default_rng(seed)
    votes, true = rng.integers(-1, num_classes, (num_rows, num_rules)), rng.integers(0, num_classes, num_rows)
    for j, row in enumerate(rule_table(votes, num_classes, true)):
        mine = [i for i in range(num_rows) if votes[i, j] >= 0]
        others = {i: [v for k, v in enumerate(votes[i]) if k != j and v >= 0] for i in mine}
        assert row["coverage"] == len(mine) / num_rows
        assert row["overlap"] == sum(bool(others[i]) for i in mine) / num_rows
        assert row["conflict"] == sum(any(v != votes[i, j] for v in others[i]) for i in mine) / num_rows
        assert row["conflict"] <= row["overlap"] <= row["coverage"]
        assert row["accuracy"] == (np.mean([votes[i, j] == true[i] for i in mine]) if mine else None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": np.array([0, 1])}, r"one label for each of the 4 rows, got shape \(2,\)"),
        ({"reference": np.array([0, 1, 2, 0])}, "reference must be classes 0 to 1, or -1 for none, got 2"),
        ({"names": ["a"]}, "names must be one for each of the 3 rules, got 1"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rule_table(VOTES, num_classes=2, **options)


def test_a_reference_of_another_type_is_refused():
    with pytest.raises(ValueError, match="reference has a missing value in row 1"):
        _known(np.array([0.0, np.nan]), 2, 2, -1)
