"""Constants for a data set are chosen on the other ones."""

import json
import sys

import pytest

from benchmarks import leave_one_out
from benchmarks.leave_one_out import STUDIES, Study
from benchmarks.suites import Cell, Setting


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setattr(leave_one_out.run, "quieten", lambda: None)


def test_the_choice_for_a_set_does_not_see_it():
    scores = {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 0.0, "y": 3.0}, "c": {"x": 0.5, "y": 0.0}}
    chosen = leave_one_out.choose(scores, {name: name for name in scores})
    assert chosen == {"left_out": {"a": "y", "b": "x", "c": "y"}, "all": "y"}


def test_a_set_counts_once_whatever_its_number_of_settings():
    scores = {f"a {i}": {"x": 1.0, "y": 0.0} for i in range(9)} | {"b": {"x": 0.0, "y": 2.0}}
    sets = {name: name[0] for name in scores}
    assert leave_one_out.choose(scores, sets)["all"] == "y"
    with pytest.raises(SystemExit, match="at least 2 data sets"):
        leave_one_out.choose({"b": {"x": 1.0}}, {"b": "b"})


def test_sets_with_the_same_texts_are_left_out_together():
    names = [leave_one_out.set_of(Setting(name, "clean")) for name in ("semeval", "semeval_llm", "trec")]
    assert names == ["semeval", "semeval", "trec"]


def test_finished_scores_are_not_computed_again(tmp_path, monkeypatch):
    ran = []

    def score(task, shared, constant):
        ran.append(constant)
        return constant + len(task.given) + shared.seed

    def study(**candidates):
        made = {name: {"constant": value} for name, value in candidates.items()}
        monkeypatch.setitem(STUDIES, "mine", Study("score", score, made))

    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    cell = Cell(Setting("digits", "clean"), 3, "mine")
    study(one=1, two=2)
    scores = leave_one_out.score_task("development-images", cell, str(tmp_path))
    assert scores == {"one": 1 + 1347 + 3, "two": 2 + 1347 + 3}
    study(two=2, one=5, three=3)  # another constant, and another candidate
    assert list(leave_one_out.score_task("development-images", cell, str(tmp_path))) == ["two", "one", "three"]
    assert ran == [1, 2, 5, 3]


def test_both_figures_are_written(tmp_path, monkeypatch, capsys):
    table = {"digits": {"x": 90.0, "y": 80.0}, "trec": {"x": 50.0, "y": 70.0}, "sms": {"x": 60.0, "y": 62.0}}
    monkeypatch.setattr(leave_one_out, "prepare", lambda dataset, context: None)
    monkeypatch.setattr(leave_one_out, "score_task", lambda suite, cell, work_dir: table[cell.setting.dataset])
    monkeypatch.setitem(STUDIES, "class_mean", Study("accuracy", lambda: 0.0, {"x": {}, "y": {}}))
    words = ["--study", "class_mean", "--noises", "clean", "--datasets", *table, "--seeds", "0", "1", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["leave_one_out", *words, "--results", str(tmp_path)])
    leave_one_out.main()
    result = json.loads((tmp_path / "leave_one_out_class_mean.json").read_text())
    assert result["chosen"] == {"left_out": {"trec": "x", "sms": "y", "digits": "y"}, "all": "y"}
    assert result["figures"]["trec clean"] == {
        "set": "trec",
        "chosen_without_the_set": 50.0,
        "chosen_on_all_sets": 70.0,
        "best": 70.0,
    }
    shown = (tmp_path / "leave_one_out_class_mean.md").read_text()
    assert "| trec clean | x | 50.0 | 70.0 | 70.0 |" in shown
    assert shown in capsys.readouterr().out
