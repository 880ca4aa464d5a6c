"""Coverage of intervals and guarantees is counted as it should be."""

import json
import sys

import numpy as np
import pytest

from benchmarks import checked_guarantees
from benchmarks.checked_guarantees import Arguments, largest_allowed, planned
from benchmarks.reporting import checked


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setattr(checked_guarantees.run, "quieten", lambda: None)


def test_what_the_truth_allows_is_the_largest_set_of_confident_changes():
    score = np.linspace(1, 0, 30)
    wrong = np.isin(np.arange(30), [3, 12, 25, 26, 27, 28, 29])
    assert largest_allowed(score, wrong) == 25  # 2 of 25, where 3 of 26 would be too many
    assert largest_allowed(score[::-1], wrong[::-1]) == 25
    assert largest_allowed(score, np.ones(30, bool)) == 0
    assert largest_allowed(score[:0], wrong[:0]) == 0


def test_every_draw_of_a_set_is_made_by_one_seed():
    jobs = planned(Arguments(datasets=["trec"], checked=[50], draws=[7]))
    assert [job.seed for job in jobs] == [0, 1, 2]
    assert sorted(draw for job in jobs for draw in job.draws) == list(range(7))


def test_figures_and_tables_are_written_and_finished_draws_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    words = ["--datasets", "digits", "--checked", "50", "--draws", "2", "--seeds", "0", "--workers", "1"]
    folders = ["--work_dir", str(tmp_path / "work"), "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["checked_guarantees", *words, *folders])
    checked_guarantees.main()
    result = json.loads((tmp_path / "checked_guarantees.json").read_text())
    (found,) = result["checked"]["50"].values()
    assert found["draws"] == 2
    assert found["noise rate"]["exact"]["truth"] == pytest.approx(0.4, abs=0.01)
    assert found["noise rate"]["with predictions"]["width"] < found["noise rate"]["exact"]["width"] < 0.3
    assert 0 <= found["relabel"]["wrong"] <= 1
    assert "| digits symmetric 40 % | 40.0 |" in (tmp_path / "checked_guarantees.md").read_text()
    monkeypatch.setattr(checked_guarantees, "task_of", None)  # nothing is computed again
    checked_guarantees.main()
    assert json.loads((tmp_path / "checked_guarantees.json").read_text()) == result
    assert checked.intervals(result, 50) in (tmp_path / "checked_guarantees.md").read_text()
