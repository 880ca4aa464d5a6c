import json

import datasets
import numpy as np
import pytest

from hf_noisy.purification.policies import purify
from hf_noisy.purification.restore import DROPPED
from hf_noisy.purification.summary import PurificationSummary, summarise
from tests.unit.purification.test_policies import GIVEN, POSTERIOR, rows

CLEAN = [0, 0, 1, 1, 1]
TABLE = """\
fixed: 5 rows, 3 labels overruled (60.0 %), 0 rows dropped

                         estimated      true
precision of changes         0.750     0.667
noise before                 0.610     0.600
noise after                  0.310     0.400

given  new    rows
b      a         1
b      c         1
c      b         1"""


def purified(policy, clean=True, min_confidence=0.5):
    labels = datasets.ClassLabel(names=["a", "b", "c"])
    dataset = rows(**({"clean_label": (CLEAN, labels)} if clean else {}))
    return purify(dataset, POSTERIOR, policy, name="fixed", min_confidence=min_confidence)


@pytest.mark.parametrize(
    ("policy", "dropped", "estimated_after", "true_after"),
    [
        # Expected by hand from the posterior of the label that is there to train on.
        ("relabel", 0, 1 - (0.9 + 0.75 + 0.5 + 0.3 + 1.0) / 5, 2 / 5),
        ("flag", 0, 1 - (0.9 + 0.25 + 0.5 + 0.3 + 0.0) / 5, 3 / 5),
        ("drop", 3, 1 - (0.9 + 0.3) / 2, 1 / 2),
        ("soft", 0, 1 - (0.82 + 0.625 + 0.5 + 0.3 + 1.0) / 5, 1 - (0.9 + 0.75 + 0.5 + 0.0 + 0.0) / 5),
        (
            "weight",
            0,
            1 - (0.9 * 0.9 + 0.25 * 0.25 + 0.5 * 0.5 + 0.3) / (0.9 + 0.25 + 0.5 + 1.0),
            1 - 0.9 / (0.9 + 0.25 + 0.5 + 1.0),
        ),
    ],
)
def test_figures_of_every_policy(policy, dropped, estimated_after, true_after):
    summary = summarise(purified(policy))
    assert (summary.purifier, summary.rows, summary.changed, summary.dropped) == ("fixed", 5, 3, dropped)
    assert summary.pairs == [[1, 0, 1], [1, 2, 1], [2, 1, 1]]
    assert summary.class_names == ["a", "b", "c"]
    assert summary.estimated_precision == pytest.approx((0.75 + 0.5 + 1.0) / 3)
    assert summary.estimated_noise_before == pytest.approx(1 - (0.9 + 0.25 + 0.5 + 0.3 + 0.0) / 5)
    assert summary.true_precision == pytest.approx(2 / 3)
    assert summary.true_noise_before == pytest.approx(3 / 5)
    expected = {"drop": 0.5, "weight": true_after}.get(policy, true_after)
    assert summary.estimated_noise_after == pytest.approx(estimated_after, abs=1e-6)
    assert summary.true_noise_after == pytest.approx(expected, abs=1e-6)


def test_without_clean_labels_nothing_is_called_true():
    summary = summarise(purified("relabel", clean=False))
    assert summary.true_precision is summary.true_noise_before is summary.true_noise_after is None
    assert summary.estimated_noise_after == summarise(purified("relabel")).estimated_noise_after


def test_estimates_are_right_where_the_posterior_is():
    # Labels drawn from the posterior itself: what it expects is what happens.
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(3, 0.5), 20000).astype(np.float32)
    clean, given = ((rng.random((20000, 1)) > posterior.cumsum(1)).sum(1).clip(max=2) for _ in range(2))
    dataset = datasets.Dataset.from_dict({"label": given, "clean_label": clean})
    summary = summarise(purify(dataset, posterior))
    assert summary.estimated_precision == pytest.approx(summary.true_precision, abs=0.02)
    assert summary.estimated_noise_before == pytest.approx(summary.true_noise_before, abs=0.02)
    assert summary.estimated_noise_after == pytest.approx(summary.true_noise_after, abs=0.02)


def test_pairs_count_every_changed_row():
    rng = np.random.default_rng(1)
    posterior = rng.dirichlet(np.ones(6), 500).astype(np.float32)
    given = rng.integers(0, 6, 500)
    summary = summarise(purify(datasets.Dataset.from_dict({"label": given}), posterior, "flag"))
    counts = [count for _, _, count in summary.pairs]
    assert sum(counts) == summary.changed == int((posterior.argmax(1) != given).sum())
    assert counts == sorted(counts, reverse=True)
    assert len(summary.pairs) == 30
    lines = str(summary).splitlines()
    assert lines[-1] == f"and 20 more pairs with {sum(counts[10:])} rows"
    assert summary.class_names == list("012345")


def test_table():
    assert str(summarise(purified("relabel"))) == TABLE
    nothing = str(summarise(purify(rows(), np.eye(3, dtype=np.float32)[GIVEN])))
    assert nothing.splitlines()[3] == "precision of changes             -         -"
    assert "given" not in nothing


@pytest.mark.parametrize("policy", ["relabel", "drop"])
def test_json_and_back(policy):
    summary = summarise(purified(policy))
    assert PurificationSummary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary


def test_the_columns_alone_are_read(tmp_path):
    for policy in ("relabel", "drop", "soft", "weight", "flag"):
        made = purified(policy)
        made.save_to_disk(tmp_path / policy)
        loaded = datasets.load_from_disk(tmp_path / policy)
        for part in loaded.values() if policy == "drop" else [loaded]:
            part.info.description = ""
        assert summarise(loaded) == summarise(made)


def test_nothing_dropped_and_no_weight():
    given = [0, 0, 1, 1, 2]
    dataset = purify(rows(given, clean_label=(CLEAN, datasets.Value("int64"))), POSTERIOR, "drop")
    summary = summarise(dataset)
    assert summary.dropped == summary.changed == 0
    assert summary.estimated_precision is summary.true_precision is None
    silent = purify(rows([1] * 5), np.eye(3, dtype=np.float32)[[0] * 5], "weight")
    assert summarise(silent).estimated_noise_after is None


def test_what_was_not_purified_is_refused():
    with pytest.raises(ValueError, match="dataset has no column 'label_given', so it was not purified; call purify"):
        summarise(rows())
    with pytest.raises(ValueError, match="dataset must have one purified split, got none; pass a split"):
        summarise(datasets.DatasetDict({"train": rows(), DROPPED: rows()}))
    with pytest.raises(ValueError, match="dataset lacks the rows that were dropped; pass the DatasetDict"):
        summarise(purified("drop")["train"])
    with pytest.raises(ValueError, match="dataset has a split without rows, which purify does not leave"):
        summarise(purified("flag").select([]))
