"""Wrong tags of words and wrong cells of sets of classes, from probabilities."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hf_noisy.data.tags import spans_of
from hf_noisy.detection import (
    estimate_missing_rate,
    estimate_noise_rate,
    find_wrong_cells,
    find_wrong_labels,
    find_wrong_tokens,
)
from hf_noisy.detection.cell_model import fit_cell_model
from hf_noisy.detection.word_context import context_probabilities
from hf_noisy.detection.wrong_cells import _most_expected_f1
from hf_noisy.detection.wrong_tokens import span_numbers

NAMES = ["O", "B-X", "I-X", "B-Y", "I-Y", "S-X", "E-Y"]


def tokens(rows=400, length=8, missed=0.3, seed=0):
    """Sentences in which words with a capital are entities, some of them missed, and uncertain probabilities."""
    rng = np.random.default_rng(seed)
    true = (rng.random((rows, length)) < 0.3).astype(np.int64)
    words = [["Ab" if tag else "ab" for tag in row] for row in true]
    given = np.where((true == 1) & (rng.random(true.shape) < missed), 0, true)
    one = 1 / (1 + np.exp(-(2.2 * (2 * true - 1) - 0.6 + rng.normal(0, 1.4, true.shape))))
    return true, given, np.stack([1 - one, one], axis=2), words


def test_missed_entities_are_found():
    true, given, probabilities, _ = tokens()
    wrong = (true != given).ravel()
    issues = find_wrong_labels(given.tolist(), list(probabilities))
    assert issues.is_wrong.shape == issues.quality.shape == issues.suggested.shape == wrong.shape
    own = np.take_along_axis(probabilities, given[..., None], axis=2).ravel()
    assert average_precision_score(wrong, -issues.quality) > average_precision_score(wrong, -own) + 0.02
    assert (wrong & issues.is_wrong).sum() > 0.5 * issues.is_wrong.sum()
    assert (issues.suggested != given.ravel()).tolist() == issues.is_wrong.tolist()
    assert issues.noise_rate == estimate_noise_rate(given.tolist(), probabilities.reshape(-1, 2))


def test_capital_letters_are_evidence():
    true, given, probabilities, words = tokens()
    wrong = (true != given).ravel()
    plain = find_wrong_tokens(given.tolist(), list(probabilities))
    found = find_wrong_tokens(given.tolist(), list(probabilities), words=words)
    assert average_precision_score(wrong, -found.quality) > average_precision_score(wrong, -plain.quality) + 0.05
    assert found.is_wrong.sum() == plain.is_wrong.sum()
    assert found.noise_rate == plain.noise_rate


def test_tokens_of_an_entity_share_their_quality():
    _, given, probabilities, _ = tokens()
    shared = find_wrong_tokens(given.tolist(), list(probabilities), names=["O", "I-X"])
    alone = find_wrong_tokens(given.tolist(), list(probabilities))
    numbers = span_numbers(given.ravel(), np.repeat(np.arange(len(given)), given.shape[1]), ["O", "I-X"])
    long = np.bincount(numbers[numbers >= 0]).argmax()
    assert np.ptp(shared.quality[numbers == long]) == 0
    assert shared.quality[numbers == long][0] == pytest.approx(alone.quality[numbers == long].mean())
    assert (shared.quality == alone.quality)[numbers < 0].all()


def test_words_without_a_tag_are_left_out():
    _, given, probabilities, words = tokens(100)
    given[:, 0] = -100
    issues = find_wrong_tokens(given.tolist(), list(probabilities), words=words, names=["O", "I-X"])
    first = np.arange(len(issues.quality)) % given.shape[1] == 0
    assert not issues.is_wrong[first].any()
    assert (issues.quality[first] == 1).all()
    assert (issues.suggested[first] == -1).all()
    kept = find_wrong_tokens(given[:, 1:].tolist(), list(probabilities[:, 1:]), names=["O", "I-X"])
    other = find_wrong_tokens(given.tolist(), list(probabilities), names=["O", "I-X"])
    assert kept.quality.tolist() == other.quality[~first].tolist()


def test_numbers_of_entities_are_those_of_their_spans():
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(NAMES), length) for length in rng.integers(1, 9, 200)]
    flat, of = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    numbers, expected, entity = span_numbers(flat, of, NAMES), [], 0
    for row in rows:
        here = np.full(len(row), -1)
        for span in spans_of([NAMES[tag] for tag in row]):
            here[span.start : span.stop] = entity
            entity += 1
        expected.extend(here.tolist())
    assert numbers.tolist() == expected


def test_the_context_of_a_word_is_that_of_other_sentences():
    words, rows = ["Ab", "x", "Ab", "x", "Ab", "x"], np.array([0, 0, 1, 1, 2, 2])
    labels = np.array([1, 0, 1, 0, 0, 0])
    found = context_probabilities(words, rows, labels, 2)
    assert found.sum(1) == pytest.approx(np.ones(6))
    assert found[4, 1] > found[0, 1]  # the tags of the others were 1, 1; and 1, 0
    changed = context_probabilities(words, rows, np.array([0, 0, 1, 0, 0, 0]), 2)
    assert changed[2, 1] < found[2, 1]


@pytest.mark.parametrize(
    ("labels", "probabilities", "options", "message"),
    [
        ([[0, 1]], [np.full((3, 2), 0.5)], {}, "other tokens in row 0"),
        ([[0, 1]], [np.full((2, 2), 0.5)] * 2, {}, "2 sentences for 1"),
        ([[0, 1]], np.full((3, 2), 0.5), {}, "one row for each of the 2 tokens, got 3"),
        ([[0, 2]], np.full((2, 2), 0.5), {}, "must be classes 0 to 1, got 2"),
        ([[0, 1]], np.full((2, 2), 0.7), {}, "must sum to 1"),
        ([[0, 1]], np.full((2, 2), 0.5), {"words": [["a"]]}, "words must be one for each label"),
    ],
)
def test_tokens_that_do_not_fit(labels, probabilities, options, message):
    with pytest.raises(ValueError, match=message):
        find_wrong_tokens(labels, probabilities, **options)


def cells(rows=3000, classes=6, missing=0.4, spurious=0.0, exclusive=False, seed=0):
    rng = np.random.default_rng(seed)
    if exclusive:
        true = np.eye(classes, dtype=np.int64)[rng.integers(0, classes, rows)]
    else:
        true = (rng.random((rows, classes)) < 0.15).astype(np.int64)
    given = np.where(rng.random(true.shape) < np.where(true, missing, spurious), 1 - true, true)
    right = 1 / (1 + np.exp(-(3.0 * (2 * true - 1) + rng.normal(0, 2, true.shape))))
    return true, given, np.clip(right * (1 - missing) + (1 - right) * spurious, 1e-4, 1 - 1e-4)


def precision(true, given, quality):
    return average_precision_score((true != given).ravel(), -quality.ravel())


def test_missing_classes_are_found_and_counted():
    true, given, probabilities = cells()
    issues = find_wrong_labels(given, probabilities)
    own = np.where(given, probabilities, 1 - probabilities)
    assert precision(true, given, issues.quality) > precision(true, given, own) + 0.2
    assert issues.suggested.tolist() == np.where(issues.is_wrong, 1 - given, given).tolist()
    assert not issues.is_wrong[given == 1].any()
    rate = (true != given).mean()
    assert issues.noise_rate.low <= rate <= issues.noise_rate.high
    assert issues.noise_rate.rate == pytest.approx(rate, abs=0.03)
    assert issues.noise_rate == estimate_noise_rate(given, probabilities)


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.4, 0.6])
def test_the_rate_of_missing_classes_is_estimated(missing):
    _, given, probabilities = cells(missing=missing)
    found = estimate_missing_rate(given, probabilities)
    assert found.rate == pytest.approx(missing, abs=0.05)
    assert found.low <= missing <= found.high


def test_the_interval_holds_what_is_missing_where_it_is_some_classes():
    true, _, probabilities = cells(missing=0.0)
    kept = np.where(np.arange(6) < 3, 1.0, 0.3)
    given = np.where(np.random.default_rng(1).random(true.shape) < kept, true, 0)
    rate = float((given[true == 1] == 0).mean())
    found = estimate_missing_rate(given, kept * probabilities)
    assert found.rate < rate - 0.2
    assert rate - 0.05 < found.high


def test_spurious_classes_count_only_where_there_are_some():
    assert fit_cell_model(*cells()[1:]).spurious_rate == 0
    rng = np.random.default_rng(1)
    true, given, probabilities = cells()
    extra = (true == 0) & (rng.random(true.shape) < 0.02)
    model = fit_cell_model(np.where(extra, 1, given), probabilities)
    assert model.spurious_rate == pytest.approx(0.02, abs=0.01)
    assert model.wrong[extra].mean() > 0.4
    assert model.wrong[(true == 1) & (given == 1)].mean() < 0.1
    known = find_wrong_cells(np.where(extra, 1, given), probabilities, spurious_rate=0.1)
    assert known.quality[extra].mean() < 1 - model.wrong[extra].mean()
    with pytest.raises(ValueError, match="spurious_rate must be a number"):
        find_wrong_cells(given, probabilities, spurious_rate=2.0)


def test_classes_that_exclude_each_other_are_evidence():
    true, given, probabilities = cells(exclusive=True)
    issues = find_wrong_cells(given, probabilities)
    missing_only = np.where(given, 1.0, 1 - probabilities)
    assert precision(true, given, issues.quality) > precision(true, given, missing_only) + 0.05


def test_rows_with_more_classes_are_no_evidence_against_others():
    # Thoroughly labelled rows have all classes, others none of the hard ones: the order of the cells stays.
    rng = np.random.default_rng(0)
    true = (rng.random((2000, 6)) < 0.4).astype(np.int64)
    given = np.where(rng.random((2000, 1)) < 0.5, true, 0)
    probabilities = np.clip(0.2 + 0.3 * true + rng.normal(0, 0.05, true.shape), 0.01, 0.99)
    wrong = fit_cell_model(given, probabilities).wrong
    absent = given == 0
    assert (np.argsort(wrong[absent], kind="stable") == np.argsort(probabilities[absent], kind="stable")).all()


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        (np.array([[0, 2]]), np.full((1, 2), 0.5), "zeros and ones"),
        (np.array([[0, 1]]), np.full((1, 3), 0.5), "of the shape .1, 2. of labels"),
        (np.array([[0, 1]]), np.array([[0.5, 1.5]]), "in .0, 1., which those of row 0"),
        (np.array([[0, 1]]), np.array([[0.5, np.nan]]), "in .0, 1., which those of row 0"),
        (np.array([[0.0, 1.0]]), np.full((1, 2), 0.5), "labels must be one integer"),
    ],
)
def test_cells_that_do_not_fit(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        find_wrong_cells(labels, probabilities)


def test_what_takes_probabilities_alone():
    for labels in ([[0, 1]], np.array([[0, 1]])):
        for function in (find_wrong_labels, estimate_noise_rate):
            with pytest.raises(ValueError, match="need probabilities, and take nothing else"):
                function(labels)
            with pytest.raises(ValueError, match="need probabilities, and take nothing else"):
                function(labels, np.full((2, 2), 0.5), checked=np.array([0]))


def test_predictions_that_say_nothing_and_data_without_noise():
    given = np.zeros((50, 3), dtype=np.int64)
    issues = find_wrong_cells(given, np.full((50, 3), 0.2))
    assert np.isfinite(issues.quality).all()
    true, _, probabilities = cells(missing=0.0)
    assert find_wrong_cells(true, probabilities).noise_rate.rate < 0.05


@pytest.mark.slow
def test_cells_that_do_not_stand_out_are_not_flagged():
    given = (np.random.default_rng(0).random((2000, 6)) < 0.02).astype(np.int64)
    assert not _most_expected_f1(np.full((50, 3), 0.001)).any()
    wrong = np.full((50, 3), 0.001)
    wrong[0] = 0.3
    assert np.argwhere(_most_expected_f1(wrong)).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert find_wrong_cells(given, np.full(given.shape, 0.02)).is_wrong.mean() < 0.03


@pytest.mark.parametrize("spurious", [0.0, 0.05])
def test_dense_sets_are_not_taken_for_spurious_ones(spurious):
    random = np.random.default_rng(0)
    true = random.random((2000, 10)) < (likely := 1 / (1 + np.exp(-1.65 - random.normal(size=(2000, 10)))))
    given = (true | (random.random(true.shape) < spurious)).astype(np.int64)
    model = fit_cell_model(given, spurious + (1 - spurious) * likely)
    assert model.spurious_rate < 0.3
    assert model.wrong.mean() < (given != true).mean() + 0.12


@pytest.mark.slow
def test_a_million_tokens_take_seconds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 1_000_000) * (rng.random(1_000_000) < 0.2)
    probabilities = rng.dirichlet(np.ones(9) * 0.3, len(labels)).astype(np.float32)
    probabilities[np.arange(len(labels)), labels] += 1
    probabilities /= probabilities.sum(1, keepdims=True)
    words = np.split(np.array(["a", "Bb", "CC", "12", ","])[rng.integers(0, 5, len(labels))], np.arange(20, 10**6, 20))
    started = time.process_time()
    names = ["O", *(f"{prefix}-{kind}" for kind in "ABCD" for prefix in "BI")]
    find_wrong_tokens(
        np.split(labels, np.arange(20, 10**6, 20)), probabilities, words=[one.tolist() for one in words], names=names
    )
    assert time.process_time() - started < 10


def test_nothing_is_wrong_where_every_row_has_every_class():
    issues = find_wrong_cells(np.ones((200, 2), dtype=np.int64), np.full((200, 2), 0.9))
    assert not issues.is_wrong.any()


def test_the_interval_of_few_cells_is_a_share():
    assert estimate_noise_rate(np.array([[1, 0, 0]]), np.array([[0.9, 0.1, 0.1]])).high <= 1
