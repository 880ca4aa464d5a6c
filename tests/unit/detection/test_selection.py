import numpy as np
import pytest

from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.selection import guaranteed_changes

ROWS = 1000


def checked_at(index, truth, strategy="random", batch=0):
    order = np.argsort(index)
    rows = np.asarray(index)[order].astype(np.int64)
    strategies = [strategy] * len(rows) if isinstance(strategy, str) else list(np.array(strategy)[order])
    batches = np.broadcast_to(batch, len(rows))[order].astype(np.int64)
    return CheckedRows(rows, truth[rows], strategies, np.full(len(rows), np.nan), batches, len(truth))


def population(seed=0, rate=0.4, classes=4, skill=2.5, overconfident=1.0):
    """Given and true labels, and a posterior of some skill."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, ROWS)
    given = np.where(rng.uniform(size=ROWS) < rate, (truth + rng.integers(1, classes, ROWS)) % classes, truth)
    logits = rng.normal(size=(ROWS, classes)) + np.eye(classes)[given]
    logits[np.arange(ROWS), truth] += skill * rng.uniform(0, 2, ROWS)
    posterior = np.exp(overconfident * logits)
    return given, truth, posterior / posterior.sum(1, keepdims=True)


def random_rows(seed, truth, count):
    return checked_at(np.random.default_rng(seed).permutation(len(truth))[:count], truth)


def shares_wrong(policy, given, truth, posterior, draws, max_wrong=0.1):
    """Share of wrong changes and number of changes of each draw."""
    wrong = posterior.argmax(1) != truth if policy == "relabel" else given == truth
    made = [guaranteed_changes(given, rows, posterior, posterior[rows.index], max_wrong, policy) for rows in draws]
    for found, rows in zip(made, draws, strict=True):
        assert not found.changed[rows.index].any()
        assert (posterior.argmax(1) != given)[found.changed].all()
    return np.array([(wrong[one.changed].mean() if one.changed.any() else 0, one.changed.sum()) for one in made]).T


@pytest.mark.parametrize("policy", ["relabel", "drop", "flag"])
@pytest.mark.parametrize(("skill", "overconfident"), [(3.0, 1.0), (1.0, 4.0)])
def test_the_promise_is_kept_whatever_the_predictions_are_worth(policy, skill, overconfident):
    given, truth, posterior = population(skill=skill, overconfident=overconfident)
    for count in (50, 200):
        draws = [random_rows(seed, truth, count) for seed in range(200)]
        wrong, _ = shares_wrong(policy, given, truth, posterior, draws)
        assert wrong.mean() <= 0.1


def test_most_of_the_changes_that_the_truth_would_allow_are_made():
    given, truth, posterior = population(skill=3.0)
    draws = [random_rows(seed, truth, 200) for seed in range(100)]
    wrong, made = shares_wrong("relabel", given, truth, posterior, draws)
    ideal = []
    for rows in draws:
        candidates = np.setdiff1d(np.flatnonzero(posterior.argmax(1) != given), rows.index)
        order = candidates[np.argsort(-posterior.max(1)[candidates])]
        ideal.append(
            np.flatnonzero(
                np.cumsum(posterior.argmax(1)[order] != truth[order]) <= 0.1 * np.arange(1, len(order) + 1)
            )[-1]
            + 1
        )
    assert made.mean() >= 0.8 * np.mean(ideal)
    assert 0.05 < wrong.mean() <= 0.1


def test_the_threshold_is_that_of_benjamini_and_hochberg():
    given, truth, posterior = population()
    rows = random_rows(0, truth, 300)
    found = guaranteed_changes(given, rows, posterior, posterior[rows.index], 0.2)
    best = posterior.argmax(1)
    score = np.where(best == given, 0, posterior.max(1))
    calibration = score[rows.index]
    wrong = calibration[(calibration > 0) & (best[rows.index] != truth[rows.index])]
    candidates = np.setdiff1d(np.flatnonzero(score > 0), rows.index)
    values = np.array([(1 + (wrong >= score[row]).sum()) / (1 + (calibration > 0).sum()) for row in candidates])
    passed = [k for k in range(1, len(values) + 1) if np.sort(values)[k - 1] <= 0.2 * k / len(values)]
    assert passed
    expected = candidates[values <= np.sort(values)[passed[-1] - 1]]
    np.testing.assert_array_equal(np.flatnonzero(found.changed), expected)
    assert (found.calibrating, found.calibrating_wrong) == ((calibration > 0).sum(), len(wrong))


def test_held_out_scores_calibrate():
    given, truth, posterior = population()
    rows = random_rows(0, truth, 200)
    pinned = posterior.copy()
    pinned[rows.index] = np.eye(4)[rows.labels]
    expected = guaranteed_changes(given, rows, posterior, posterior[rows.index], 0.1)
    np.testing.assert_array_equal(
        guaranteed_changes(given, rows, pinned, posterior[rows.index], 0.1).changed, expected.changed
    )


def test_too_few_checked_rows_guarantee_nothing_and_say_so():
    given, truth, posterior = population()
    rows = random_rows(0, truth, 5)
    found = guaranteed_changes(given, rows, posterior, posterior[rows.index], 0.05)
    assert not found.changed.any()
    assert str(found).startswith("no change can be guaranteed with so few checked rows: a share of 5% was asked")
    assert found.attainable > 0.05
    same = np.eye(4)[given]
    nothing = guaranteed_changes(given, rows, same, same[rows.index], 0.5)
    assert (nothing.changed.any(), nothing.attainable, nothing.calibrating) == (False, 1.0, 0)


def test_rows_that_were_checked_later_keep_the_promise():
    given, truth, posterior = population(skill=1.5)
    wrong, sizes = [], []
    for seed in range(200):
        first = np.random.default_rng(seed).permutation(ROWS)[:150]
        unsure = np.argsort(posterior.max(1) + 9 * np.isin(np.arange(ROWS), first))[:150]
        strategies, batches = ["random"] * 150 + ["unsure"] * 150, np.repeat([0, 1], 150)
        rows = checked_at(np.r_[first, unsure], truth, strategies, batches)
        changed = guaranteed_changes(given, rows, posterior, posterior[rows.index], 0.1).changed
        right = (given != truth)[rows.index].sum()  # the checked rows are changed too
        wrong.append((posterior.argmax(1) != truth)[changed].sum() / max(changed.sum() + right, 1))
        sizes.append(changed.sum())
    assert np.mean(wrong) <= 0.1
    assert np.mean(sizes) > 50


def test_refusals():
    given, truth, posterior = population()
    rows = random_rows(0, truth, 50)
    with pytest.raises(ValueError, match="max_wrong must be above 0 and below 1"):
        guaranteed_changes(given, rows, posterior, posterior[rows.index], 10.0)
    with pytest.raises(ValueError, match="given and posterior must have 1000 rows"):
        guaranteed_changes(given[1:], rows, posterior[1:], posterior[rows.index], 0.1)
    unknown = checked_at(np.arange(50), truth, "unknown")
    with pytest.raises(ValueError, match="no guarantee: it is not known how the rows were chosen"):
        guaranteed_changes(given, unknown, posterior, posterior[:50], 0.1)
