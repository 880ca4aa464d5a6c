import numpy as np
import pytest
from scipy.stats import binomtest, hypergeom

from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.share_intervals import hypergeometric_interval, random_samples

ROWS = 1000


def checked_at(index, truth, strategy="random", batch=0):
    """Checked rows in ascending order, drawn by one strategy or one for each row."""
    order = np.argsort(index)
    strategies = [strategy] * len(index) if isinstance(strategy, str) else list(np.array(strategy)[order])
    batches = np.broadcast_to(batch, len(index))[order].astype(np.int64)
    rows = np.asarray(index)[order].astype(np.int64)
    return CheckedRows(rows, truth[rows], strategies, np.full(len(rows), np.nan), batches, len(truth))


def population(seed=0, rate=0.3, classes=3, hidden=0.2, rows=ROWS):
    """Given and true labels, and a posterior that misses a share of the wrong labels and suspects some right ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    given = np.where(rng.uniform(size=rows) < rate, (truth + 1) % classes, truth)
    believed = np.where(rng.uniform(size=rows) < hidden, given, truth)
    believed = np.where(rng.uniform(size=rows) < rate * hidden, (given + 1) % classes, believed)
    posterior = 0.1 / (classes - 1) * np.ones((rows, classes))
    posterior[np.arange(rows), believed] = 0.9
    return given, truth, posterior / posterior.sum(1, keepdims=True)


def random_rows(seed, truth, count=100):
    return checked_at(np.random.default_rng(seed).permutation(len(truth))[:count], truth)


def covered(shares, truth):
    return np.mean([share.low - 1e-9 <= truth <= share.high + 1e-9 for share in shares])


def mean_width(shares):
    return np.mean([share.high - share.low for share in shares])


def test_exact_interval_holds_every_truth_with_the_promised_probability():
    size, drawn = 40, 15
    ends = [hypergeometric_interval(found, drawn, size, 0.05) for found in range(drawn + 1)]
    for wrong in range(size + 1):
        holds = [low <= wrong <= high for low, high in ends]
        assert hypergeom.pmf(np.arange(drawn + 1), size, wrong, drawn) @ holds >= 0.95


@pytest.mark.parametrize("found", [0, 1, 50, 100])
def test_exact_interval_of_many_rows_is_that_of_clopper_and_pearson(found):
    low, high = hypergeometric_interval(found, 100, 1_000_000, 0.05)
    expected = binomtest(found, 100).proportion_ci(method="exact")
    assert (low / 1e6, high / 1e6) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_exact_shares_of_a_small_table():
    given, truth = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1, 1, 0])
    everything = CheckedEstimates(given, checked_at(np.arange(8), truth))
    rate = everything.noise_rate()
    assert (rate.low, rate.rate, rate.high, rate.method, rate.checked) == (0.375, 0.375, 0.375, "exact", 8)
    assert [share.rate for share in everything.class_noise()] == [0.5, 0.25]
    assert [[cell.high for cell in row] for row in everything.confusion()] == [[0.25, 0.125], [0.25, 0.375]]
    assert [[cell.rate for cell in row] for row in everything.transition()] == [[2 / 3, 1 / 3], [0.4, 0.6]]
    assert everything.accuracy(truth).low == 1.0
    half = CheckedEstimates(given, checked_at([0, 2, 4, 6], truth))
    expected = hypergeometric_interval(1, 4, 8, 0.05)
    assert (half.noise_rate().low, half.noise_rate().high) == (expected[0] / 8, expected[1] / 8)
    ends = binomtest(1, 3).proportion_ci(method="exact")
    assert (half.transition()[1][0].low, half.transition()[1][0].high) == pytest.approx((ends.low, ends.high))


def test_predictions_make_valid_intervals_narrower():
    given, truth, posterior = population()
    rate = (given != truth).mean()
    draws = [random_rows(seed, truth) for seed in range(200)]
    exact = [CheckedEstimates(given, rows).noise_rate() for rows in draws]
    powered = [CheckedEstimates(given, rows, posterior=posterior).noise_rate() for rows in draws]
    assert {share.method for share in exact} == {"exact"}
    assert {share.method for share in powered} == {"prediction-powered"}
    assert covered(exact, rate) >= 0.93
    assert covered(powered, rate) >= 0.93
    assert mean_width(exact) > 1.3 * mean_width(powered)
    assert np.mean([share.rate for share in powered]) == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_few_errors_keep_the_interval_valid(hidden):
    given, truth, posterior = population(rate=0.03, hidden=hidden)
    estimates = [CheckedEstimates(given, random_rows(seed, truth), posterior=posterior) for seed in range(200)]
    assert covered([made.noise_rate() for made in estimates], (given != truth).mean()) >= 0.94


def test_worthless_predictions_give_the_exact_interval():
    given, truth, _ = population()
    noise = np.random.default_rng(1).dirichlet(np.ones(3), ROWS)
    for seed in range(20):
        rows = random_rows(seed, truth)
        exact, powered = CheckedEstimates(given, rows), CheckedEstimates(given, rows, posterior=noise)
        assert powered.noise_rate().high - powered.noise_rate().low <= exact.noise_rate().high - exact.noise_rate().low


def test_held_out_predictions_replace_those_of_the_checked_rows():
    given, truth, posterior = population()
    rows = random_rows(0, truth)
    pinned = posterior.copy()
    pinned[rows.index] = np.eye(3)[rows.labels]
    honest = CheckedEstimates(given, rows, posterior=posterior).noise_rate()
    assert CheckedEstimates(given, rows, posterior=pinned, held_out=posterior[rows.index]).noise_rate() == honest


def test_shares_by_class_hold():
    given, truth, posterior = population(classes=2)
    made = [CheckedEstimates(given, random_rows(seed, truth), posterior=posterior) for seed in range(100)]
    noise, cells, transition = zip(
        *((one.class_noise(), one.confusion(), one.transition()) for one in made), strict=True
    )
    for label in range(2):
        among = given == label
        assert covered([one[label] for one in noise], (truth != label)[among].mean()) >= 0.93
        assert covered([one[label][label] for one in cells], ((truth == label) & among).mean()) >= 0.93
        assert covered([one[label][label] for one in transition], among[truth == label].mean()) >= 0.93


def test_accuracy_of_a_model_holds():
    given, truth, posterior = population()
    predicted = np.where(np.random.default_rng(3).uniform(size=ROWS) < 0.8, truth, given)
    draws = [random_rows(seed, truth) for seed in range(100)]
    made = [CheckedEstimates(given, rows, posterior=posterior).accuracy(predicted) for rows in draws]
    assert covered(made, (predicted == truth).mean()) >= 0.93
    assert np.mean([share.rate for share in made]) == pytest.approx((predicted == truth).mean(), abs=0.01)


def mixed_draw(seed, given, truth, posterior):
    """Random rows, then suspicious ones near wrong labels that were found, then random ones of the rest."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(ROWS)[:60]
    suspicion = 1 - posterior[np.arange(ROWS), given] + 0.2 * np.isin(given, given[first][(given != truth)[first]])
    suspicion[first] = -1
    chosen = np.argsort(-suspicion, kind="stable")[:80]
    second = rng.permutation(np.setdiff1d(np.arange(ROWS), np.r_[first, chosen]))[:60]
    strategies = ["random"] * 60 + ["suspicious"] * 80 + ["random"] * 60
    return checked_at(np.r_[first, chosen, second], truth, strategies, np.repeat([0, 1, 2], [60, 80, 60]))


def test_mixed_designs_stay_valid():
    given, truth, posterior = population(hidden=0.3)
    rate = (given != truth).mean()
    draws = [mixed_draw(seed, given, truth, posterior) for seed in range(200)]
    exact = [CheckedEstimates(given, rows).noise_rate() for rows in draws]
    powered = [CheckedEstimates(given, rows, posterior=posterior).noise_rate() for rows in draws]
    for shares in (exact, powered):
        assert covered(shares, rate) >= 0.93
        assert np.mean([share.rate for share in shares]) == pytest.approx(rate, abs=0.01)
    assert mean_width(powered) < mean_width(exact)


def test_random_batches_are_one_sample_until_other_rows_are_checked():
    strategies = ["random", "random", "other", "random", "random"]
    rows = checked_at(np.arange(5), np.zeros(50, np.int64), strategies, np.array([0, 1, 1, 2, 3]))
    samples = random_samples(rows)
    assert [sample.drawn.tolist() for sample in samples] == [[0, 1], [3, 4]]
    assert [sample.known.tolist() for sample in samples] == [[], [0, 1, 2]]
    assert [sample.size for sample in samples] == [50, 47]


def test_transition_needs_random_rows_of_all():
    rows = checked_at(np.arange(4), np.zeros(50, np.int64), ["other", "other", "random", "random"], [0, 0, 1, 1])
    estimates = CheckedEstimates(np.zeros(50, np.int64), rows, 2)
    assert estimates.noise_rate().low == 0
    with pytest.raises(ValueError, match="no valid interval for the transition matrix"):
        estimates.transition()


def test_nothing_and_everything_wrong():
    given, truth, posterior = population(rate=0.0)
    rows = random_rows(0, truth)
    none = CheckedEstimates(given, rows, posterior=posterior).noise_rate()
    assert (none.rate, none.low, none.method) == (0, 0, "exact")
    assert 0.02 < none.high < 0.05
    every = CheckedEstimates((given + 1) % 3, rows, posterior=posterior).noise_rate()
    assert (every.rate, every.high, every.method) == (1, 1, "exact")


def test_classes_without_rows_or_without_checked_rows_say_so():
    given, truth = np.array([0] * 40 + [1] * 10), np.zeros(50, np.int64)
    estimates = CheckedEstimates(given, checked_at(np.arange(20), truth), 3)
    noise = estimates.class_noise()
    assert noise[0].checked == 20
    assert (noise[1].low, noise[1].high, noise[1].checked) == (0, 1, 0)
    assert np.isnan([noise[1].rate, noise[2].rate, estimates.transition()[2][0].rate]).all()
    assert estimates.confusion()[1][1].high == 0.2
    assert estimates.confusion()[0][2].rate == 0


def test_rows_that_were_not_drawn_at_random_give_no_interval():
    given = truth = np.zeros(50, np.int64)
    with pytest.raises(ValueError, match="no valid interval: it is not known how the rows were chosen"):
        CheckedEstimates(given, checked_at(np.arange(9), truth, "unknown"))
    with pytest.raises(ValueError, match="no valid interval: no checked row was drawn at random, got suspicious"):
        CheckedEstimates(given, checked_at(np.arange(9), truth, "suspicious"))


def test_refusals():
    given, truth, posterior = population()
    rows = random_rows(0, truth)
    with pytest.raises(ValueError, match="given must have the 1000 rows"):
        CheckedEstimates(given[:-1], rows)
    with pytest.raises(ValueError, match="posterior must have the shape"):
        CheckedEstimates(given, rows, posterior=posterior[:, :2])
    with pytest.raises(ValueError, match="confidence must be"):
        CheckedEstimates(given, rows, confidence=1.0)
    with pytest.raises(ValueError, match="predicted must have 1000 rows"):
        CheckedEstimates(given, rows).accuracy(truth[:5])


def test_a_missing_draw_is_refused_and_gaps_are_told():
    index = np.arange(0, 100, 5)
    draws = np.where(np.arange(20) < 10, 0, 1)
    whole = CheckedRows(index, index % 2, ["random"] * 20, np.where(draws == 0, 0.1, 10 / 90), draws, 100)
    given = np.arange(100) % 2
    CheckedEstimates(given, whole).noise_rate()
    second = CheckedRows(index[10:], index[10:] % 2, ["random"] * 10, np.full(10, 0.1), np.ones(10, np.int64), 100)
    with pytest.raises(ValueError, match="none of draw 0"):
        CheckedEstimates(given, second)
    half = CheckedRows(index[:5], index[:5] % 2, ["random"] * 5, np.full(5, 0.1), np.zeros(5, np.int64), 100)
    with pytest.warns(UserWarning, match="5 of about 10 rows of draw 0"):
        CheckedEstimates(given, half)
