import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from hf_noisy.data.weak import dawid_skene, majority_vote

FIXTURE = Path(__file__).parents[3] / "reference" / "fixtures" / "crowd_kit_dawid_skene.json"


def annotators(num_rows=600, num_rules=9, num_classes=3, asked=0.7, seed=0):
    """Votes of annotators, most of them poor and a few good; the true classes; how each one errs."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, num_rows)
    skill = np.where(np.arange(num_rules) < num_rules // 3, 0.9, 0.2)
    confusion = (1 - skill)[:, None, None] / num_classes + skill[:, None, None] * np.eye(num_classes)
    draws = rng.random((num_rows, num_rules, 1))
    votes = (draws > np.cumsum(confusion, axis=2)[np.arange(num_rules), true[:, None]]).sum(axis=2)
    return np.where(rng.random(votes.shape) < asked, votes, -1), true, confusion


def one_class_rules(num_rows=2000, num_rules=30, num_classes=3, seed=0):
    """Rules that know one class each, a third of them good, the others firing almost anywhere."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, num_rows)
    knows = np.arange(num_rules) % num_classes
    elsewhere = np.where(np.arange(num_rules) < num_rules // 3, 0.01, 0.25)
    fires = rng.random((num_rows, num_rules)) < np.where(true[:, None] == knows, 0.3, elsewhere)
    return np.where(fires, knows, -1), true, elsewhere


def loop(votes, num_classes, silence, smoothing, iterations):
    """The formulas, a rule, a class and a row at a time."""
    num_rows, num_rules = votes.shape
    outcomes = [*range(num_classes), *([-1] if silence == "outcome" else [])]
    posterior = np.zeros((num_rows, num_classes))
    for i, row in enumerate(votes):
        cast = [v for v in row if v >= 0]
        posterior[i] = [cast.count(k) / len(cast) if cast else 1 / num_classes for k in range(num_classes)]
    for _ in range(iterations):
        counted = [i for i in range(num_rows) if silence == "outcome" or (votes[i] >= 0).any()]
        prior = np.array([smoothing + sum(posterior[i, c] for i in counted) for c in range(num_classes)])
        prior /= prior.sum()
        theta = np.zeros((num_rules, num_classes, len(outcomes)))
        for j in range(num_rules):
            for c in range(num_classes):
                for k, outcome in enumerate(outcomes):
                    theta[j, c, k] = smoothing + sum(
                        posterior[i, c] for i in range(num_rows) if votes[i, j] == outcome
                    )
                theta[j, c] /= theta[j, c].sum()
        for i, row in enumerate(votes):
            for c in range(num_classes):
                seen = [theta[j, c, outcomes.index(v)] for j, v in enumerate(row) if v in outcomes]
                posterior[i, c] = prior[c] * np.prod(seen)
            posterior[i] /= posterior[i].sum()
    return posterior, theta


def test_equals_crowd_kit_where_silence_is_missing():
    fixture = json.loads(FIXTURE.read_text())
    result = dawid_skene(
        np.array(fixture["votes"]), 3, silence="missing", smoothing=0.0, max_iterations=3, tolerance=-1.0
    )
    assert_allclose(result.posterior, fixture["posterior"], atol=1e-10)


@pytest.mark.parametrize("silence", ["outcome", "missing"])
@pytest.mark.parametrize("smoothing", [0.01, 1.0])
def test_equals_a_loop(silence, smoothing):
    votes, _, _ = annotators(num_rows=25, num_rules=4, asked=0.5)
    assert not (votes >= 0).any(axis=1).all()  # silent rows are part of it
    posterior, theta = loop(votes, 3, silence, smoothing, iterations=4)
    result = dawid_skene(votes, 3, silence=silence, smoothing=smoothing, max_iterations=4, tolerance=-1.0)
    assert_allclose(result.posterior, posterior, atol=1e-10)
    assert_allclose(result.confusion, theta, atol=1e-10)
    assert result.num_iterations == 4
    assert not result.converged


def test_finds_out_who_errs_how():
    votes, true, confusion = annotators()
    result = dawid_skene(votes, 3, silence="missing")
    majority, _ = majority_vote(votes, 3)
    assert (result.labels == true).mean() > (majority == true).mean() + 0.05
    assert np.abs(result.confusion - confusion).mean() < 0.05
    assert_allclose(result.class_prior, np.bincount(true) / len(true), atol=0.05)
    assert result.converged


def test_silence_tells_which_rules_of_one_class_to_trust():
    votes, true, elsewhere = one_class_rules()
    result = dawid_skene(votes, 3)
    majority, _ = majority_vote(votes, 3)
    assert (result.labels == true).mean() > (majority == true).mean() + 0.1
    knows = np.arange(30) % 3
    others = np.stack([result.confusion[j, np.arange(3) != knows[j], knows[j]] for j in range(30)])
    assert_allclose(others.mean(axis=1), elsewhere, atol=0.05)
    assert_allclose(result.confusion[:, :, -1].mean(), (votes < 0).mean(), atol=0.02)


def test_rules_of_one_class_are_refused_where_silence_is_missing():
    votes, _, _ = one_class_rules(num_rows=20)
    with pytest.raises(ValueError, match=r"rules for one class each carry no information with silence=.missing."):
        dawid_skene(votes, 3, silence="missing")


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(2, 4),
    st.sampled_from([0.0, 0.01, 1.0]),
    st.sampled_from(["outcome", "missing"]),
)
def test_properties(seed, num_rows, num_rules, num_classes, smoothing, silence):
    rng = np.random.default_rng(seed)
    votes = rng.integers(-1, num_classes, (num_rows, num_rules))
    votes[0, 0] = 0
    if num_rows > 1:
        votes[1, 0] = 1  # a rule of two classes, and for rows of one nothing that could be refused
    elif silence == "missing":
        return
    objectives = []
    for iterations in (1, 2, 3, 8):
        result = dawid_skene(
            votes, num_classes, silence=silence, smoothing=smoothing, max_iterations=iterations, tolerance=-1.0
        )
        objectives.append(result.objective)
        assert_allclose(result.posterior.sum(axis=1), 1, atol=1e-12)
        assert_allclose(result.confusion.sum(axis=2), 1, atol=1e-12)
        assert_allclose(result.class_prior.sum(), 1, atol=1e-12)
        assert (result.labels == result.posterior.argmax(axis=1)).all()
    assert (np.diff(objectives) >= -1e-9 * np.maximum(1, np.abs(objectives[1:]))).all()


def test_the_order_of_rows_and_rules_does_not_matter():
    votes, _, _ = annotators(num_rows=80)
    rng = np.random.default_rng(0)
    rows, rules = rng.permutation(80), rng.permutation(9)
    result, mixed = dawid_skene(votes, 3), dawid_skene(votes[rows][:, rules], 3)
    assert_allclose(mixed.posterior, result.posterior[rows], atol=1e-9)
    assert_allclose(mixed.confusion, result.confusion[rules], atol=1e-9)


def test_another_sign_of_silence_and_silent_rows():
    votes, _, _ = annotators(num_rows=50)
    votes[3] = -1
    result = dawid_skene(votes, 3, silence="missing")
    assert_allclose(result.posterior[3], result.class_prior, atol=1e-3)
    assert np.flatnonzero(~result.covered).tolist() == np.flatnonzero((votes < 0).all(axis=1)).tolist()
    other = dawid_skene(np.where(votes < 0, 99, votes), 3, silence="missing", abstain=99)
    assert_allclose(other.posterior, result.posterior)


def test_a_rule_that_never_votes_changes_nothing():
    votes, _, _ = annotators(num_rows=60)
    with_silent = np.concatenate([votes, np.full((60, 1), -1)], axis=1)
    for silence in ("missing", "outcome"):
        first = dawid_skene(votes, 3, silence=silence, smoothing=0.0)
        second = dawid_skene(with_silent, 3, silence=silence, smoothing=0.0)
        assert_allclose(second.posterior, first.posterior, atol=1e-9)


@pytest.mark.parametrize(
    ("votes", "options", "message"),
    [
        ([[0, 3]], {}, "votes must be classes 0 to 2, or -1 for none, got 3"),
        ([[-1, -1]], {}, "votes must hold at least one vote, got silence only in 1 rows"),
        ([[0, 1]], {"smoothing": -0.5}, r"smoothing must be a finite number of at least 0, got -0\.5"),
        ([[0, 1]], {"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(votes, options, message):
    with pytest.raises(ValueError, match=message):
        dawid_skene(np.array(votes), 3, **options)
