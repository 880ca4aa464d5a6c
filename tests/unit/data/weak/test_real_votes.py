"""The votes of real rules: the errors are those that the data's own description states."""

import gzip
import json

import numpy as np
import pytest

from hf_noisy.data.weak import dawid_skene, majority_vote, rule_table, weighted_vote

CLASSES = {"trec": 6, "semeval": 9}


def read(folder, name, split="train"):
    with gzip.open(folder / name / f"{split}.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    return np.array([row["weak_votes"] for row in rows]), np.array([row["label"] for row in rows])


def error(labels, true):
    """Share of wrong labels among the rows that have one, in percent."""
    kept = labels >= 0
    return 100 * (labels != true)[kept].mean()


@pytest.mark.parametrize(
    ("name", "ties", "uncovered", "stated", "tolerance"),
    [
        ("trec", "lowest", "abstain", 51.05, 0.005),
        ("trec", "highest", "abstain", 42.56, 0.005),
        ("trec", "abstain", "abstain", 43.37, 0.005),
        ("trec", "lowest", 0, 51.50, 0.005),
        ("trec", "random", "abstain", 46.65, 0.5),  # ties are drawn by other random numbers
        ("trec", "random", "random", 48.44, 0.5),
        ("semeval", "lowest", "random", 14.98, 0.005),
        ("semeval", "highest", "random", 25.21, 0.005),
        ("semeval", "abstain", "random", 16.00, 0.005),
        ("semeval", "random", "random", 20.10, 0.7),
    ],
)
def test_majority_votes_err_as_stated(data_dir, name, ties, uncovered, stated, tolerance):
    votes, true = read(data_dir, name)
    labels, covered = majority_vote(votes, CLASSES[name], ties=ties, uncovered=uncovered)
    assert error(labels, true) == pytest.approx(stated, abs=tolerance)
    assert covered.mean() == pytest.approx({"trec": 0.9513, "semeval": 1.0}[name], abs=5e-5)


@pytest.mark.parametrize(("name", "micro", "macro"), [("trec", 40.03, 24.08), ("semeval", 21.50, 2.31)])
def test_rules_err_as_stated(data_dir, name, micro, macro):
    votes, true = read(data_dir, name)
    table = [row for row in rule_table(votes, CLASSES[name], true) if row["votes"]]
    wrong = sum(row["votes"] * (1 - row["accuracy"]) for row in table)
    assert 100 * wrong / sum(row["votes"] for row in table) == pytest.approx(micro, abs=0.005)
    assert 100 * (1 - np.mean([row["accuracy"] for row in table])) == pytest.approx(macro, abs=0.005)
    assert {len(row["classes"]) for row in table} == {1}


@pytest.mark.parametrize(("name", "measured"), [("trec", 41.50), ("semeval", 15.95)])
def test_votes_weighed_by_accuracy_on_validation_rows(data_dir, name, measured):
    votes, true = read(data_dir, name)
    checked, checked_true = read(data_dir, name, "validation")
    table = rule_table(checked, CLASSES[name], checked_true)
    hits = np.array([row["votes"] * (row["accuracy"] or 0) for row in table])
    weights = (hits + 1) / (np.array([row["votes"] for row in table]) + 2)
    labels, _ = weighted_vote(votes, weights, CLASSES[name], uncovered="abstain")
    assert error(labels, true) == pytest.approx(measured, abs=0.3)


@pytest.mark.parametrize(("name", "measured"), [("trec", 52.93), ("semeval", 50.83)])
def test_dawid_skene_is_no_help_with_so_few_votes_a_row(data_dir, name, measured):
    votes, true = read(data_dir, name)
    result = dawid_skene(votes, CLASSES[name])
    assert error(result.labels[result.covered], true[result.covered]) == pytest.approx(measured, abs=0.5)
    assert result.converged
