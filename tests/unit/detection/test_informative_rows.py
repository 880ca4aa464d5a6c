"""Rows that make the correction by checked rows surest."""

import time

import numpy as np
import pytest
from datasets import Dataset

from hf_noisy.data.checked import CheckedRows, checked_rows
from hf_noisy.detection.checked_correction import CheckedCorrection, CorrectedLabels, LabelEvidence
from hf_noisy.detection.informative_rows import informative_rows
from hf_noisy.detection.linear_head import LinearHead
from hf_noisy.detection.predictors import LENGTH
from hf_noisy.detection.rows_to_check import RowSample, rows_to_check
from hf_noisy.detection.share_intervals import random_samples


def made_up(rows: int, width: int, classes: int, seed: int = 0):
    """Evidence and a correction of random numbers."""
    draw = np.random.default_rng(seed)
    vectors, given = draw.normal(size=(rows, width)) / width**0.5, draw.integers(0, classes, rows)
    posterior = draw.dirichlet(np.ones(classes), rows)
    transition = draw.dirichlet(np.ones(classes), classes)
    evidence = LabelEvidence(given, np.zeros(width), vectors, np.zeros((1, rows, classes)))
    head = LinearHead(np.zeros((width, classes)), np.zeros(classes))
    return evidence, CorrectedLabels(posterior, posterior, posterior[:0], transition, evidence.centre, head)


def test_each_row_lowers_the_sum_of_variances_most():
    evidence, corrected = made_up(30, 6, 3)
    x, checked = LENGTH * evidence.vectors, [3, 8, 20]
    own = corrected.model_posterior / corrected.transition[:, evidence.given].T
    doubt = 1 - ((own / own.sum(1, keepdims=True)) ** 2).sum(1)

    def variance(rows: list[int]) -> float:
        precision = 5 * np.eye(6) + sum(doubt[row] * np.outer(x[row], x[row]) for row in rows)
        return float(doubt @ np.einsum("rw,wv,rv->r", x, np.linalg.inv(precision), x))

    chosen = informative_rows(evidence, corrected, np.array(checked), 10)
    for row in chosen:
        left = np.setdiff1d(np.arange(30), checked)
        assert row == min(left, key=lambda one: variance([*checked, one]))
        checked.append(row)


def noisy_rows(classes: int, rows: int = 600, width: int = 24, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, rows)
    features = draw.normal(size=(rows, width)) + draw.normal(size=(classes, width))[truth]
    given = np.where(draw.uniform(size=rows) < 0.3, draw.integers(0, classes, rows), truth)
    columns = {"features": features.astype(np.float32), "label": given.astype(np.int64)}
    return Dataset.from_dict(columns), truth


@pytest.mark.parametrize(("classes", "known"), [(2, 1), (3, 400), (100, 10)])
def test_any_number_of_checked_rows_and_classes(classes, known):
    rows, truth = noisy_rows(classes)
    index = np.random.default_rng(1).permutation(600)[:known]
    column = np.full(600, -1)
    column[index] = truth[index]
    if classes == 100:
        column[index[0]] = np.asarray(rows["label"]).max()
    one, again = (rows_to_check(rows, 20, strategy="informative", checked=column) for _ in range(2))
    assert one.index.tolist() == again.index.tolist()
    assert len({*one.index.tolist(), *index.tolist()}) == 20 + known
    assert (one.strategy, one.batch, set(one.probability)) == ("informative", 1, {1.0})


def test_all_rows_can_be_chosen():
    rows, truth = noisy_rows(2, rows=40)
    sample = rows_to_check(rows, 30, strategy="informative", checked=[*truth[:10], *[-1] * 30])
    assert sorted(sample.index) == list(range(10, 40))


def test_copies_of_a_row_are_not_chosen_together():
    rows, truth = noisy_rows(3, rows=200)
    features = np.repeat(np.asarray(rows["features"])[:100], 2, axis=0)
    doubled = Dataset.from_dict({"features": features, "label": np.repeat(np.asarray(rows["label"])[:100], 2)})
    sample = rows_to_check(doubled, 20, strategy="informative", checked=[truth[0], *[-1] * 198, truth[99]])
    assert len(set(sample.index // 2)) >= 19


def test_the_correction_learns_more_than_from_random_rows():
    """The features of most rows say the class; those of the rest need checked rows."""
    gained = []
    for seed in range(2):
        draw = np.random.default_rng(seed)
        truth = draw.integers(0, 2, 800)
        odd = draw.uniform(size=800) < 0.15
        features = draw.normal(size=(800, 20)) * 0.3
        features[:, 0] += 3 * (2 * truth - 1) * ~odd
        features[np.arange(800), 1 + draw.integers(0, 6, 800)] += 3 * odd * (2 * truth - 1)
        given = np.where(odd, 1 - truth, truth)
        rows = Dataset.from_dict({"features": features, "label": given})
        column = np.full(800, -1)
        first = rows_to_check(rows, 20, seed=seed).index
        column[first] = truth[first]
        right = {}
        for strategy in ("random", "informative"):
            sample = rows_to_check(rows, 30, strategy=strategy, checked=column, seed=seed)
            index = np.concatenate([first, sample.index])
            right[strategy] = (CheckedCorrection().fit(features, given, index, truth[index]).predict(features), truth)
        gained.append(np.diff([(found.argmax(1) == true).mean() for found, true in right.values()])[0])
    assert np.mean(gained) > 0.01


def test_random_rows_before_and_after_informative_ones_are_samples_of_known_design():
    rows, truth = noisy_rows(3, rows=300)
    drawn = []
    for strategy in ("random", "informative", "random"):
        drawn.append(rows_to_check(rows, 50, strategy=strategy, checked=design(drawn, truth) if drawn else None))
    checked = design(drawn, truth)
    found = [(len(sample.drawn), len(sample.known), sample.size) for sample in random_samples(checked)]
    assert found == [(50, 0, 300), (50, 100, 200)]
    assert np.allclose(drawn[2].probability, 50 / 200)


def design(drawn: list[RowSample], truth: np.ndarray) -> CheckedRows:
    index = np.concatenate([sample.index for sample in drawn])
    return CheckedRows(
        index,
        truth[index],
        [sample.strategy for sample in drawn for _ in range(len(sample))],
        np.concatenate([sample.probability for sample in drawn]),
        np.concatenate([np.full(len(sample), sample.batch) for sample in drawn]),
        len(truth),
    )


def test_the_file_is_read_back_as_a_batch_of_that_strategy(tmp_path):
    rows, truth = noisy_rows(2)
    sample = rows_to_check(rows, 3, strategy="informative", checked=[*truth[:10], *[-1] * 590])
    sample.to_csv(tmp_path / "next.csv")
    text = (tmp_path / "next.csv").read_text().replace(",,", ",1,")
    (tmp_path / "checked.csv").write_text(text)
    found = checked_rows(rows, tmp_path / "checked.csv")
    assert found is not None
    assert (found.strategy.count("informative"), found.strategy.count("unknown")) == (3, 10)
    assert set(found.batch[np.array(found.strategy) == "informative"]) == {1}


def test_many_rows_take_seconds():
    evidence, corrected = made_up(10_000, 384, 4)
    start = time.process_time()
    assert len(informative_rows(evidence, corrected, np.arange(50), 50)) == 50
    assert time.process_time() - start < 10
