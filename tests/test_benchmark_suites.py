"""The accuracy benchmark: its settings, its cells, and what the leaderboard makes of them."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import pools, run
from benchmarks.reporting import leaderboard as board
from benchmarks.reporting import significance, standings
from benchmarks.suites import LEADERBOARDS, SAME_TEXTS, SUITES, Cell, Setting
from hf_noisy.data.load import dataset_builder, make_noise

TITLES = {"cross_entropy": "cross-entropy", "early_stopping": "early stopping", "bold": "<b>bold</b>", "told": "told"}
TITLES |= {"gjs": "gjs", "auto": "auto"}
SETTINGS = (
    Setting("a", "clean"),
    Setting("a", "symmetric 10 %", "clean", "symmetric", 0.1),
    Setting("b", "rules", "rules"),
)


def cell(setting, seed, method, accuracy, **changes):
    dataset, _, noise = setting.partition(" ")
    return {
        "key": f"{setting}/{seed}/{method}",
        "dataset": dataset,
        "noise": noise,
        "seed": seed,
        "method": method,
        "test_accuracy_last": accuracy,
        "test_accuracy_best": accuracy + 0.01,
        "ece": 0.1,
        "cpu_seconds": 2.0,
        "clean_labels": 0,
        "selected_by": "last epoch",
        "noise_rate": 0.0,
        "budget": {"epochs": 2, "checked": 0.05},
        "versions": {"torch": "1"},
        "machine": {"cores": 2},
        "device": "cpu",
        "model": None,
        **changes,
    }


def cells_of(**accuracies):
    """Accuracy in each setting and seed, by method; a number stands for all of them."""
    made = {}
    for method, values in accuracies.items():
        values = values if isinstance(values, list) else [values] * len(SETTINGS)
        for setting, value in zip(SETTINGS, values, strict=True):
            for seed in range(3):
                made[setting.name, seed, method] = cell(setting.name, seed, method, value + 0.01 * seed)
    return made


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_settings_are_ones_that_the_package_knows(suite):
    names = [setting.name for setting in suite.settings]
    assert len(set(names)) == len(names)
    assert len(suite.seeds) >= 3
    methods = run.module_of(run.Arguments(suite=suite.name)).METHODS
    for setting in suite.settings:
        assert setting.config in {
            "worse",
            *(config.name for config in dataset_builder(setting.dataset).BUILDER_CONFIGS),
        }
        assert set(setting.methods) <= set(methods)
        if setting.noise_type not in (None, "worse"):
            make_noise(setting.noise_type, setting.noise_rate, setting.dataset)


@pytest.mark.parametrize("suite", LEADERBOARDS, ids=lambda suite: suite.name)
def test_every_data_set_of_a_leaderboard_has_settings_of_the_gate(suite):
    for setting in suite.settings:
        assert setting.real == (setting.noise_type is None and setting.noise != "clean")
    for dataset in {setting.dataset for setting in suite.settings} - SAME_TEXTS.keys():
        gated = [setting for setting in suite.settings if setting.dataset == dataset and setting.gated]
        assert {setting.noise for setting in gated} == {"clean", "symmetric 10 %"}


@pytest.mark.parametrize("path", sorted(run.RESULTS.glob("cells_*.jsonl")), ids=lambda path: path.stem)
def test_stored_cells_are_those_of_their_suite(path):
    name = path.stem.removeprefix("cells_").removesuffix("_fresh")
    asked = run.Arguments(suite=name, work_dir="nowhere", results=str(path))
    stored = run.finished(asked)  # which refuses cells of another budget
    seeds = sorted({cell["seed"] for cell in stored.values()})
    planned = {cell.key for cell in run.planned(replace(asked, seeds=seeds), run.module_of(asked).METHODS)}
    assert stored.keys() <= planned
    assert len(stored) == len(path.read_text().splitlines())
    assert all({"code", "digest", "versions", "machine", "device"} <= cell.keys() for cell in stored.values())


def test_the_six_noises_of_the_paper_are_there():
    noises = {s.noise for s in SUITES["text-full"].settings if s.dataset == "20news"}
    assert {f"{kind} {rate} %" for kind in ("symmetric", "asymmetric", "instance") for rate in (20, 40)} <= noises


def test_the_gate_is_the_worst_mean_over_clean_labels_and_a_tenth_of_noise():
    cells = cells_of(cross_entropy=0.8, early_stopping=[0.9, 0.8, 0.5], good=[0.896, 0.8, 0.1], bad=[0.95, 0.794, 0.9])
    good, bad = (standings.gate(cells, method, SETTINGS) for method in ("good", "bad"))
    assert good["passed"] is True
    assert good["worst"] == pytest.approx(-0.4)  # rules are not of the gate
    assert bad["passed"] is False
    assert (bad["where"], bad["failed"], bad["of"]) == ("a symmetric 10 %", 1, 2)
    assert (
        standings.gate(cells, "early_stopping", SETTINGS)["passed"] is None
    )  # it is what the others are held against
    half = {key: value for key, value in cells.items() if key[0] != "a symmetric 10 %"}
    assert standings.gate(half, "good", SETTINGS)["passed"] is None  # nothing is passed that was not run


def test_a_method_that_loses_on_average_only_within_the_margin_passes():
    cells = cells_of(cross_entropy=0.8, early_stopping=0.8, edge=0.795)
    assert standings.gate(cells, "edge", SETTINGS)["passed"] is True
    assert standings.gate(cells_of(early_stopping=0.8, edge=0.7949), "edge", SETTINGS)["passed"] is False


def test_differences_pair_the_same_rows():
    cells = cells_of(cross_entropy=0.8, other=0.9)
    del cells["a clean", 1, "other"]
    found = standings.differences(cells, "other", "cross_entropy", ["a clean", "b rules"])
    assert found == {"a clean": pytest.approx([10, 10]), "b rules": pytest.approx([10, 10, 10])}


def test_significance():
    assert significance.paired_test([1.0] * 5) is None  # too few
    assert significance.paired_test([0.0] * 9) is None
    rng = np.random.default_rng(0)
    assert significance.paired_test(list(1 + rng.random(30))) < 1e-4
    assert significance.paired_test(list(rng.normal(size=30))) > 0.05
    assert significance.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": None}
    )


def test_ranks_leave_out_those_that_are_told_true_labels_and_those_not_done():
    cells = cells_of(cross_entropy=0.8, early_stopping=0.7, told=0.9, late=0.95)
    for (_, _, method), value in cells.items():
        value["clean_labels"] = 5 * (method == "told")
    for seed in range(3):
        del cells["b rules", seed, "late"]
    made = standings.leaderboard(cells, SETTINGS, ["cross_entropy", "early_stopping", "told", "late"])
    ranks = {method: row["rank"] for method, row in made["methods"].items()}
    assert ranks == {"cross_entropy": 1, "early_stopping": 2, "told": None, "late": None}
    assert made["methods"]["told"]["against_cross_entropy"] == pytest.approx(10)
    assert made["settings"]["a clean"]["told"] == {
        "mean": pytest.approx(91),
        "deviation": pytest.approx(1),
        "seeds": pytest.approx([90, 91, 92]),
    }


def test_auto_is_told_and_neither_ranked_nor_called_the_first():
    cells = cells_of(cross_entropy=0.8, early_stopping=0.7, auto=0.9, gjs=0.85)
    for (_, _, method), value in cells.items():
        value["details"] = {"method": "gjs"} if method == "auto" else {}
    result = result_of(cells)
    assert result["board"]["methods"]["auto"]["rank"] is None
    assert result["board"]["methods"]["gjs"]["rank"] == 1
    passes, first = board.findings(result)
    assert passes == "The gate is passed by cross-entropy; gjs; auto ‡."
    assert re.fullmatch(r"b rules: gjs is first with .*; then cross-entropy .*; early stopping .*\.", first)
    assert result["board"]["repeatability"] == {"pairs": 9, "deviation": pytest.approx(0), "most": pytest.approx(5)}


def test_a_data_set_counts_once_for_the_p_value():
    noisy = significance.noisy((*SETTINGS, Setting("b", "symmetric 40 %", "clean", "symmetric", 0.4)))
    assert noisy == {"b": ["b rules", "b symmetric 40 %"]}
    cells = cells_of(cross_entropy=0.8, other=0.9)
    assert significance.by_set(cells, "other", "cross_entropy", {"b": ["b rules"]}) == {"b": pytest.approx(10)}
    assert significance.by_set(cells, "other", "cross_entropy", noisy) == {}  # one of its settings was not run
    many = {
        (f"{name} rules", 0, method): cell(f"{name} rules", 0, method, accuracy)
        for name in "abcdefg"
        for method, accuracy in (("cross_entropy", 0.8), ("elr", 0.9), ("gce", 0.85))
    }
    sets = {name: [f"{name} rules"] for name in "abcdefg"}
    assert significance.columns(many, sets, "cross_entropy")["elr"] == ["+10.0", "7 of 7", "0.016", "0.031"]
    assert significance.friedman(many, ["cross_entropy", "elr", "gce"], sets) < 0.01


def test_a_seed_that_is_under_way_neither_changes_ranks_nor_empties_them():
    cells = cells_of(cross_entropy=0.8, early_stopping=0.75)
    for setting in {setting for setting, _, _ in cells}:
        del cells[setting, 2, "cross_entropy"]
        cells[setting, 2, "early_stopping"]["test_accuracy_last"] = 1.0
    made = standings.leaderboard(cells, SETTINGS, ["cross_entropy", "early_stopping"])
    assert [row["rank"] for row in made["methods"].values()] == [1, 2]


def test_cost_is_relative_to_cross_entropy_on_the_same_rows():
    cells = cells_of(cross_entropy=0.8, slow=0.8)
    for (setting, _, method), value in cells.items():
        value["cpu_seconds"] = (3 if method == "slow" else 1) * (10 if setting == "b rules" else 1)
    assert standings.summary_of(cells, "slow", SETTINGS)["cost"] == 3


def result_of(cells):
    made = standings.leaderboard(cells, SETTINGS, list(TITLES))
    return {"command": "python -m x", "protocol": standings.protocol(cells), "titles": TITLES, "board": made}


def test_tables_in_markdown():
    cells = cells_of(cross_entropy=0.8, early_stopping=0.7, bold=0.9)
    text = board.markdown(result_of(cells))
    assert re.search(r"\| <b>bold</b> \| 1\.0 \|.*\| \+10\.0 \|.*\| passes, \+20\.00 \|", text)
    assert "| 81.0 ± 1.0 |" in text


def test_an_empty_suite_makes_an_empty_table():
    assert standings.leaderboard({}, SETTINGS, ["cross_entropy"]) == {
        "methods": {},
        "settings": {},
        "noise_rate": dict.fromkeys(s.name for s in SETTINGS),
        "real": [],
        "repeatability": None,
    }


def arguments(tmp_path, **changes):
    given = {"suite": "vision-small", "work_dir": str(tmp_path / "work"), "results": str(tmp_path / "cells.jsonl")}
    return run.Arguments(**given | changes)


def test_what_is_finished_is_not_run_again(tmp_path, monkeypatch):
    asked = arguments(tmp_path, datasets=["digits"], noises=["clean"], seeds=[0])
    planned = run.planned(asked, ["cross_entropy", "gce", "sce"])
    ran = []

    def run_cell(cell, _):
        ran.append(cell.method)
        if cell.method == "sce":
            raise RuntimeError("no memory")
        return {"key": cell.key, "digest": run.digest(asked), "test_accuracy_last": 0.5, "seconds": 1.0}

    methods = dict.fromkeys(["cross_entropy", "gce", "sce"])
    monkeypatch.setattr("benchmarks.competitors.METHODS", methods)
    monkeypatch.setattr(run, "run_cell", run_cell)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr("transformers.logging.set_verbosity_error", lambda: None)  # of other tests
    locked = run.claim(run.cells_folder(asked) / planned[1].file)
    assert locked is not None
    assert run.claim(run.cells_folder(asked) / planned[1].file) is None  # another worker has it
    run.work(asked)
    assert ran == ["cross_entropy", "sce"]
    locked.close()
    run.work(asked)
    assert ran == ["cross_entropy", "sce", "gce"]  # the failed one waits for the next call
    assert run.gather(asked) == 2
    for file in run.cells_folder(asked).rglob("*.json"):
        file.unlink()
    assert set(run.finished(asked)) == {planned[0].key, planned[1].key}
    run.work(asked)
    assert ran == ["cross_entropy", "sce", "gce"]


def test_cells_of_another_budget_are_refused(tmp_path):
    (tmp_path / "cells.jsonl").write_text(json.dumps({"key": "x", "digest": "other"}) + "\n")
    with pytest.raises(SystemExit, match="another budget"):
        run.finished(arguments(tmp_path))


def test_cells_of_a_cut_budget_stay_out_of_the_results(tmp_path):
    for cut in ({"max_rows": 100}, {"num_train_epochs": 1}):
        assert run.results_path(arguments(tmp_path, results=None, **cut)).parent == tmp_path / "work"
    assert run.results_path(arguments(tmp_path, results=None)).parent == run.RESULTS


def test_the_tables_are_printed(tmp_path, monkeypatch, capsys):
    cells = [line for line in (run.RESULTS / "cells_text-small.jsonl").read_text().splitlines() if "/0/" in line]
    (tmp_path / "cells_text-small.jsonl").write_text("\n".join(cells[:40]) + "\n")
    monkeypatch.setattr(sys, "argv", ["board", "--results", str(tmp_path)])
    board.main()
    shown = capsys.readouterr().out
    assert shown.startswith("## text-small\n\n| ")
    assert "40 cells, seeds 0, 20 epochs." in shown


def test_cells_come_seed_by_seed_and_unknown_names_are_refused(tmp_path):
    cells = run.planned(arguments(tmp_path), ["cross_entropy", "gce"])
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert len({cell.file for cell in cells}) == len(cells)
    with pytest.raises(SystemExit, match="--methods magic"):
        run.planned(arguments(tmp_path, methods=["magic"]), ["cross_entropy"])


@pytest.mark.slow
def test_every_method_runs_a_cell(tmp_path, monkeypatch):
    from benchmarks.competitors import METHODS

    asked = arguments(
        tmp_path, datasets=["digits"], noises=["symmetric 40 %"], seeds=[0], max_rows=300, num_train_epochs=4
    )
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    for cell in run.planned(asked, list(METHODS)):
        result = run.run_cell(cell, asked)
        assert 0.1 < result["test_accuracy_last"] <= 1, cell.method
        assert (result["clean_labels"] > 0) == METHODS[cell.method].uses_clean_labels, cell.method
        assert result["noise_rate"] == pytest.approx(0.4)
        json.dumps(result)


@pytest.mark.slow
def test_true_labels_reach_only_methods_that_say_so(tmp_path, monkeypatch):
    """With other true labels of the training rows every other method gives the same answer."""
    from benchmarks import competitors, tasks
    from benchmarks.competitors import METHODS

    asked = arguments(
        tmp_path, datasets=["digits"], noises=["symmetric 40 %"], seeds=[0], max_rows=200, num_train_epochs=2
    )
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    made = tasks.make_task

    def shuffled(*args, **kwargs):
        task = made(*args, **kwargs)
        task.clean, task.truth = task.clean[::-1].copy(), task.truth[::-1].copy()
        return task

    cell = run.planned(asked, ["early_stopping"])[0]
    context = run.context_of(asked)
    pool = competitors.prepare("digits", context)
    for method, competitor in METHODS.items():
        answers = [
            competitor.run(make(cell.setting, context.budget, 0, pool)).probabilities for make in (made, shuffled)
        ]
        assert np.array_equal(*answers) != competitor.uses_clean_labels, method


def test_a_new_method_is_one_entry_and_needs_no_data_of_others(tmp_path, monkeypatch):
    """A row of digits beside the committed cells, without the folder of research data."""
    from benchmarks import competitors

    monkeypatch.delenv("HF_NOISY_DATA_DIR", raising=False)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    mine = competitors.Competitor("my method", competitors.plain("dal"))
    monkeypatch.setitem(competitors.METHODS, "mine", mine)
    path = tmp_path / "cells_vision-small.jsonl"
    path.write_bytes((run.RESULTS / path.name).read_bytes())
    asked = run.Arguments(suite="vision-small", work_dir=str(tmp_path / "work"), results=str(path))
    asked.datasets, asked.noises, asked.methods = ["digits"], ["clean"], ["mine"]
    run.work(replace(asked, seeds=[0]))
    assert run.gather(asked) == 1 + len((run.RESULTS / path.name).read_text().splitlines())
    new = run.finished(asked)["digits clean/0/mine"]
    assert re.fullmatch("[0-9a-f]{12}", new["code"])
    assert re.fullmatch("[0-9a-f]{12}", new["data"])
    result = board.boards(tmp_path)["vision-small"]
    row = result["board"]["methods"]["mine"]
    assert (row["settings"], row["rank"]) == (1, None)
    assert not row["gate"]["passed"]  # one seed is no verdict
    assert abs(row["against_cross_entropy"]) < 5
    assert "| my method |" in board.markdown(result)


def test_stored_cells_are_checked_to_the_last_digit(tmp_path, monkeypatch, capsys):
    asked = arguments(tmp_path, datasets=["digits"], noises=["clean"], seeds=[0, 1], methods=["gce"])
    stored = [
        {"key": f"digits clean/{seed}/gce", "digest": run.digest(asked), "ece": 0.25, "seconds": 1.0}
        for seed in (0, 1)
    ]
    (tmp_path / "cells.jsonl").write_text("\n".join(map(json.dumps, stored)) + "\n")
    monkeypatch.setattr(run, "quieten", lambda: None)
    monkeypatch.setattr(run, "run_cell", lambda cell, _: stored[cell.seed] | {"seconds": 9.0})
    run.check(asked, 10)
    assert capsys.readouterr().out.endswith("vision-small: 2 of 2 cells are equal\n")
    monkeypatch.setattr(run, "run_cell", lambda cell, _: stored[cell.seed] | {"ece": 0.25 + 1e-16 * (1 + cell.seed)})
    with pytest.raises(SystemExit):
        run.check(asked, 10)
    assert "digits clean/1/gce: different\n  ece\n    stored 0.25\n" in capsys.readouterr().out


def test_the_digest_of_the_code_is_of_what_runs_a_cell_and_not_of_where_it_lies(tmp_path, monkeypatch):
    import hf_noisy

    package = Path(hf_noisy.__file__).parent
    for file in [*package.rglob("*.py"), *(run.ROOT / "benchmarks").rglob("*.py")]:
        copy = tmp_path / file.relative_to(package.parent if package in file.parents else run.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    here = run.code.__wrapped__()
    monkeypatch.setattr(hf_noisy, "__file__", str(tmp_path / "hf_noisy" / "__init__.py"))
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert run.code.__wrapped__() == here
    (tmp_path / "benchmarks" / "cost" / "harness.py").write_text("")
    assert run.code.__wrapped__() == here
    (tmp_path / "hf_noisy" / "core" / "rng.py").write_text("")
    assert run.code.__wrapped__() != here


def test_commands_of_cells_are_ones_that_the_package_knows(tmp_path):
    from benchmarks import robust
    from hf_noisy.cli.train import ImageArguments, parse

    asked = run.Arguments(suite="robust-digits", work_dir=str(tmp_path))
    setting = next(setting for setting in SUITES[asked.suite].settings if setting.noise == "symmetric 40 %")
    words = robust.words_of(Cell(setting, 3, "nrd"), run.context_of(asked))
    ours, training = parse(ImageArguments, words)
    assert (ours.dataset, ours.noise_type, ours.noise_rate, ours.noise_seed) == ("digits", "symmetric", 0.4, 3)
    assert (training.num_train_epochs, training.learning_rate, training.seed) == (20, 0.1, 3)
    asked = run.Arguments(suite="dygen", work_dir=str(tmp_path))
    trec, semeval, *_ = SUITES["dygen"].settings
    for setting, epochs in ((trec, 8), (semeval, 5)):
        words = robust.words_of(Cell(setting, 0, "dygen"), run.context_of(asked))
        assert words[words.index("--num_train_epochs") + 1] == str(epochs)
        assert words[words.index("--max_train_samples") + 1] == "1000"


STUDIES = {
    "ablations": ("docs", "rules", "2 branches", 120),
    "dygen": ("trec", "", "dygen", 48),
    "purify": ("digits", "symmetric 20 %", "dmlp", 300),
    "robust-digits": ("digits", "clean", "nrd", 64),
    "text-views": ("20news", "symmetric 40 %", "NRD, 10 % masked", 40),
}


@pytest.mark.slow
@pytest.mark.parametrize("suite", STUDIES)
def test_every_study_runs_a_cell(suite, tmp_path, monkeypatch):
    dataset, noise, method, rows = STUDIES[suite]
    if dataset not in ("docs", "digits") and "HF_NOISY_DATA_DIR" not in os.environ:
        pytest.skip(f"{dataset} is not here")
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    asked = run.Arguments(suite=suite, work_dir=str(tmp_path), datasets=[dataset], methods=[method], seeds=[0])
    asked.noises, asked.max_rows, asked.num_train_epochs = [noise], rows, 2
    (cell,) = run.planned(asked, run.module_of(asked).METHODS)
    made = run.run_cell(cell, asked)
    stored = run.finished(run.Arguments(suite=suite, work_dir=str(tmp_path / "none")))[cell.key]
    assert made.keys() >= stored.keys()  # the figures that the tables are made of
    assert re.fullmatch("[0-9a-f]{12}", made["data"])
    json.dumps(made)


@pytest.mark.slow
def test_cells_of_other_texts_are_not_checked(tmp_path, monkeypatch, capsys):
    asked = arguments(tmp_path, suite="text-small", datasets=["docs"], noises=["rules"], seeds=[0], methods=["gce"])
    monkeypatch.setattr(run, "quieten", lambda: None)
    monkeypatch.setattr(run, "run_cell", lambda cell, _: {"ece": 0.25})
    for texts, equal in ((pools.texts_digest("docs"), 1), ("0123456789ab", 0), (None, 0)):
        cell = {"key": "docs rules/0/gce", "digest": run.digest(asked), "ece": 0.25, "texts": texts}
        (tmp_path / "cells.jsonl").write_text(json.dumps(cell) + "\n")
        run.check(asked, 10)
        assert capsys.readouterr().out.endswith(f"text-small: {equal} of {equal} cells are equal\n")


def test_the_command_lists_what_is_to_be_done(tmp_path, monkeypatch, capsys):
    words = ["run", "--suite", "vision-small", "--datasets", "digits", "--noises", "clean", "--seeds", "0"]
    words += ["--methods", "gce", "--results", str(tmp_path / "none"), "--work_dir", str(tmp_path), "--dry_run"]
    monkeypatch.setattr(sys, "argv", words)
    run.main()
    assert capsys.readouterr().out.split("\n")[1] == "digits clean/0/gce"


def test_predictions_of_finished_cells_are_gathered_and_score_like_the_cells(tmp_path):
    from benchmarks import predictions

    setting, data = SETTINGS[0], np.random.default_rng(0)
    truth, positions = data.integers(0, 3, 40), np.arange(40)
    task = SimpleNamespace(
        folder=tmp_path / "cells", truth=truth, positions={"test": positions}, digest="d", setting=setting, seed=0
    )
    wanted = {}
    for method in ("one", "two", "stale"):
        probabilities = data.dirichlet(np.ones(3), 40)
        predictions.store(task, Cell(setting, 0, method), probabilities, 1.0)
        wanted[f"a clean/0/{method}"] = float((probabilities.argmax(1) == truth).mean())
    assert predictions.of_same_rows(task, "one")["cpu_seconds"] == 1
    assert predictions.of_same_rows(task, "three") is None
    task.digest = "other rows"
    assert predictions.of_same_rows(task, "one") is None
    path, cells = tmp_path / "predictions_a.npz", [Cell(setting, 0, method) for method in ("one", "two", "missing")]
    assert predictions.gather(task.folder, path, cells) == 2
    del wanted["a clean/0/stale"]
    assert predictions.accuracies(path) == pytest.approx(wanted)
    assert predictions.gather(tmp_path / "gone", path, cells) == 2  # of earlier runs
    assert predictions.accuracies(path) == pytest.approx(wanted)


@pytest.mark.parametrize("path", sorted(run.RESULTS.glob("predictions_*.npz")), ids=lambda path: path.stem)
def test_stored_predictions_score_like_their_cells(path):
    from benchmarks import predictions

    lines = path.with_name(f"{path.stem.replace('predictions_', 'cells_')}.jsonl").read_text().splitlines()
    stored = {found["key"]: found["test_accuracy_last"] for found in map(json.loads, lines)}
    scored = predictions.accuracies(path)
    assert scored == pytest.approx({key: stored[key] for key in scored})


def test_what_an_accuracy_is_worth_in_true_labels():
    from benchmarks.reporting.labels_worth import shown, worth

    curve = {10: 30.0, 100: 50.0, 1000: 49.0, 2000: 70.0}  # a dip counts as no gain
    assert worth(curve, 60.0) == pytest.approx(1000 * 2**0.5)
    assert worth(curve, 40.0) == pytest.approx(10**1.5)
    assert [shown(curve, worth(curve, reached)) for reached in (20.0, 40.0, 71.0)] == ["under 10", "32", "over 2,000"]


@pytest.mark.slow
def test_the_first_of_two_networks_is_that_of_cross_entropy_if_its_cell_is_finished(tmp_path, monkeypatch):
    from benchmarks import competitors, tasks

    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    asked = arguments(tmp_path, max_rows=60, num_train_epochs=2)
    whole = run.context_of(asked)
    context = replace(whole, suite=replace(whole.suite, budget=replace(whole.budget, test_each_epoch=False)))
    cells = [Cell(Setting("digits", "clean"), 0, method) for method in ("cross_entropy", "two_networks")]
    alone = competitors.two_networks(tasks.task_of(cells[1], context))
    assert alone.reused_seconds == 0
    plain = competitors.run(cells[0], context)
    assert plain["test_accuracy_best"] is None  # only the last epoch was tested
    again = competitors.two_networks(tasks.task_of(cells[1], context))
    assert again.reused_seconds == plain["cpu_seconds"]
    np.testing.assert_allclose(again.probabilities, alone.probabilities, atol=1e-3)  # stored with 16 bits


def test_tables_of_pretrained_suites_show_what_is_there(tmp_path, monkeypatch):
    from benchmarks.reporting import tuned

    monkeypatch.setattr(tuned, "RESULTS", tmp_path)
    assert set(tuned.blocks()) == {"text_tuned", "vision_tuned", "purify_images", "audit_images", "dygen_tuned"}
    assert all(text.startswith("Not run yet: `python -m benchmarks.run --suite ") for text in tuned.blocks().values())
    cells = [
        cell("trec rules", seed, method, accuracy + 0.02 * seed)
        for method, accuracy in (("cross_entropy", 0.6), ("auto", 0.7))
        for seed in (0, 1)
    ]
    cells += [cell("trec clean", 0, "cross_entropy", 0.9)]
    shares = {"stage1_accuracy": 0.5, "prior_accuracy": 0.4, "train_label_accuracy": 0.8, "noise_rate_estimated": 0.1}
    # Of the second there is no cross-entropy to compare with.
    of_dygen = [cell("trec rules", seed, "dygen", 0.7, details=shares, ece=0.1, noise_rate=0.3) for seed in (0, 2)]
    figures = {"auprc": {"hf_noisy": 0.9, "cleanlab": 0.8, "data map": 0.7}, "noise_rate_estimated": [0.3, 0.2, 0.4]}
    audited = [cell("cifar10 human worse", 0, "audit", 0.5, **figures | {"noise_rate": 0.41})]
    for one in cells:
        one |= {"ece": 0.2}
    for name, of in (("text-tuned-small", cells + of_dygen), ("audit-images", audited)):
        (tmp_path / f"cells_{name}.jsonl").write_text("\n".join(map(json.dumps, of)) + "\n")
    shown = tuned.blocks()
    assert '| method="auto" ‡ | 71.0 ± 1.4 | 71.0 |' in shown["text_tuned"]
    assert "| cross-entropy | 90.0 | 90.0 |" in shown["text_tuned"]
    assert "2 seeds; 7 of " in shown["text_tuned"]
    row = "| trec rules | 1 | 60.0 | 50.0 | 40.0 | 70.0 | 30.0 | 20.0 | 10.0 | 20.0 | 10.0 |"
    assert row in shown["dygen_tuned"]
    assert shown["dygen_tuned"].count("\n") == 2
    assert "| cifar10 human worse | 0.900 | 0.800 | 0.700 | 41.0 | 30.0 | 20.0 to 40.0 |" in shown["audit_images"]


@pytest.mark.slow
def test_an_audit_of_frozen_features_runs(tmp_path):
    from benchmarks import image_audit

    whole = run.context_of(run.Arguments(suite="audit-images", work_dir=str(tmp_path)))
    budget = replace(whole.budget, encoder=None, train_rows=400)
    context = replace(whole, suite=replace(whole.suite, budget=budget))
    figures = image_audit.run(
        Cell(Setting("digits", "symmetric 40 %", "clean", "symmetric", 0.4), 0, "audit"), context
    )
    assert figures["auprc"]["hf_noisy"] > 0.9
    assert figures["noise_rate"] == pytest.approx(0.4)
