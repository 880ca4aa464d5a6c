"""The study of which rows to check."""

import pytest

from benchmarks import next_rows, run
from benchmarks.checked_rows import IMAGES
from benchmarks.pools import prepare
from benchmarks.reporting.next_rows import by_setting, saved
from benchmarks.suites import Cell


def test_saved_is_a_share_of_the_random_checks_that_are_as_good():
    random = {50: 70.0, 100: 80.0, 150: 85.0, 200: 88.0, 300: 90.0}
    assert saved(random, random) == pytest.approx([0, 0, 0])
    assert saved(random, {100: 88.0, 150: 90.0, 200: 91.0}) == pytest.approx([0.5, 0.5, 1 / 3])
    assert saved(random, {100: 70.0, 150: 80.0, 200: 80.0}) == pytest.approx([-1, -0.5, -1])


def test_both_strategies_start_with_the_same_rows_and_finished_settings_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    monkeypatch.setattr(next_rows, "RANDOM_COUNTS", (50, 100, 150))
    monkeypatch.setattr(next_rows, "COUNTS", (50, 100))
    cell = Cell(next(setting for setting in IMAGES if setting.dataset == "digits"), 0, "next_rows")
    prepare("digits", run.context_of(run.Arguments(suite="development-images", work_dir=str(tmp_path))))
    found = next_rows.run_setting("development-images", cell, 2, str(tmp_path))
    random, informative = (found["accuracy"][name] for name in ("random", "informative"))
    assert random["50"] == informative["50"]
    assert [len(values) for values in random.values()] == [2, 2, 2]
    assert informative["100"] != random["100"]
    monkeypatch.setattr(next_rows, "task_of", None)  # nothing is computed again
    assert next_rows.run_setting("development-images", cell, 2, str(tmp_path)) == found
    monkeypatch.setattr("benchmarks.reporting.next_rows.MEASURED", (100,))
    assert list(by_setting({"settings": [found]})) == [cell.setting.name]
