"""Commands on tags of words and sets of classes, as a new user runs them."""

import csv
import io
import json
import re

import datasets
import numpy as np
import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy import restore_labels
from hf_noisy.cli.app import app
from hf_noisy.data.flat_labels import label_sets, list_names

NAMES = ["Anna", "Bob", "Carl", "Dora"]
PLACES = ["Oslo", "Rome", "Paris", "Lima"]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def conll(tmp_path_factory):
    """Short sentences, of which every sixth lacks the tag of its name."""
    path = tmp_path_factory.mktemp("conll") / "people.conll"
    lines = []
    for row in range(48):
        person, place = NAMES[row % 4], PLACES[(row // 4) % 4]
        tag = "O" if row % 6 == 0 else "B-PER"
        lines += [f"{person} {tag} B-PER", "lives O O", "in O O", f"{place} B-LOC B-LOC", ""]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def sets_file(tmp_path_factory):
    """Texts about animals and weather; every fifth lacks a class."""
    path = tmp_path_factory.mktemp("sets") / "topics.jsonl"
    texts = {
        "the dog sleeps": ["animal"],
        "it rains today": ["weather"],
        "the cat hates the rain": ["animal", "weather"],
    }
    rows = []
    for row in range(60):
        text, true = list(texts.items())[row % 3]
        given = true[1:] if row % 5 == 0 else true
        rows.append({"text": f"{text} number {row}", "label": given, "clean_label": true})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 2), result.exception
    return result


def page_data(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def decisions(folder, path, decision="relabel"):
    data = page_data(folder)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "digest", "label_given", "label", "decision"])
    for row in data["rows"]:
        label = data["classes"][row["suggested" if decision == "relabel" else "given"]]
        writer.writerow([row["row"], row["digest"], data["classes"][row["given"]], label, decision])
    path.write_text(buffer.getvalue())
    return data


def test_a_conll_file_from_audit_to_apply(conll, tmp_path):
    options = ["--clean-column", 3, "--label-column", 2]
    result = run("audit", conll, *options, "--output", tmp_path / "audit")
    assert result.exit_code == 0, result.output
    assert re.search(r"about \d+\.\d+% of 192 tags are wrong", result.output)
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text())
    assert (summary["unit"], summary["units"], summary["true_noise_rate"]) == ("token", 192, 8 / 192)
    rows = load_dataset("parquet", data_dir=str(tmp_path / "audit" / "data"), split="train")
    assert [len(one) for one in rows["label_quality"]] == [4] * 48
    data = decisions(tmp_path / "audit", tmp_path / "decisions.csv")
    assert data["decisions"] == ["relabel", "keep"]
    assert data["rows"]
    assert all("\u27e6" in row["text"] for row in data["rows"])
    result = run("apply", tmp_path / "decisions.csv", conll, *options, "--output", tmp_path / "applied")
    assert result.exit_code == 0, result.output
    applied = load_dataset("parquet", data_dir=str(tmp_path / "applied" / "data"), split="train")
    assert applied["label_given"][:] == rows["label"][:]
    names = list_names(applied)
    for row in data["rows"]:
        place = row["row"]
        now = names[np.concatenate(applied["label"][:])[place]]
        assert now == data["classes"][row["suggested"]].split()[0]
    assert restore_labels(applied)["label"][:] == rows["label"][:]
    changed = conll.with_name("changed.conll")
    changed.write_text(conll.read_text().replace("B-PER B-PER", "O B-PER").replace(" O B-PER", " B-PER B-PER"))
    result = run("apply", tmp_path / "decisions.csv", changed, *options, "--output", tmp_path / "no")
    assert result.exit_code == 2
    assert "decisions cannot be applied" in result.output


def test_sets_from_audit_to_apply(sets_file, tmp_path):
    result = run("audit", sets_file, "--output", tmp_path / "audit")
    assert result.exit_code == 0, result.output
    assert "of 120 cells (row, class) are wrong" in result.output
    data = decisions(tmp_path / "audit", tmp_path / "decisions.csv")
    assert data["rows"]
    assert data["classes"] == ["animal", "weather", "not animal", "not weather"]
    card = (tmp_path / "audit" / "README.md").read_text()
    assert "| cells (row, class) | 120 |" in card
    result = run("apply", tmp_path / "decisions.csv", sets_file, "--output", tmp_path / "applied")
    assert result.exit_code == 0, result.output
    applied = load_dataset("parquet", data_dir=str(tmp_path / "applied" / "data"), split="train")
    given, new = label_sets(applied, "label_given")[0], label_sets(applied)[0]
    cells = {(row["row"] // 2, row["row"] % 2) for row in data["rows"]}
    assert {(int(row), int(one)) for row, one in np.argwhere(given != new)} == cells
    keep = decisions(tmp_path / "audit", tmp_path / "keep.csv", "keep")
    result = run("apply", tmp_path / "keep.csv", sets_file, "--output", tmp_path / "kept")
    assert f"0 labels changed by 0 decisions, {len(keep['rows'])} kept" in result.output
    dropped = (tmp_path / "keep.csv").read_text().replace("keep", "drop")
    (tmp_path / "drop.csv").write_text(dropped)
    result = run("apply", tmp_path / "drop.csv", sets_file, "--output", tmp_path / "dropped")
    assert "relabel or keep" in result.output


def test_purify_sets_and_undo(sets_file, tmp_path):
    result = run("purify", sets_file, "--output", tmp_path / "out", "--min-confidence", 0.3)
    assert result.exit_code == 0, result.output
    assert re.search(r"true noise before \d+\.\d+%, after \d+\.\d+%", result.output)
    rows = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    given, new = label_sets(rows, "label_given")[0], label_sets(rows)[0]
    assert np.asarray(rows["label_changed"][:]).tolist() == (given != new).any(1).tolist()
    assert {len(one) for one in rows["label_confidence"]} == {2}
    assert restore_labels(rows)["label"][:] == rows["label_given"][:]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["labels_changed"] == (given != new).sum()
    again = run("purify", tmp_path / "out", "--output", tmp_path / "again")
    assert again.exit_code == 2
    assert "purified before" in again.output


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("purify", ["--policy", "drop"], "many labels"),
        ("purify", ["--policy", "soft"], "cannot be soft"),
        ("purify", ["--purifier", "dmlp"], "'dmlp' corrects one label a row"),
        ("purify", ["--max-wrong", 0.1], "--max-wrong has no meaning for tags and sets"),
        ("purify", ["--label-missing"], "--label-missing has no meaning"),
        ("check", [], "one class each"),
        ("next", [], "one class each"),
        ("inject", ["--noise-rate", 0.4], "--noise-type must be missing for sets of classes, got 'symmetric'"),
    ],
)
def test_what_has_no_meaning_is_refused(sets_file, tmp_path, command, options, message):
    result = run(command, sets_file, *options, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "out").exists()


def test_noise_is_injected_into_both(conll, sets_file, tmp_path):
    result = run(
        "inject", conll, "--noise-rate", 0.4, "--noise-type", "entity", "--label-column", 3, "--output", tmp_path / "a"
    )
    assert result.exit_code == 0, result.output
    assert "rate_measured" in json.loads((tmp_path / "a" / "summary.json").read_text())["noise"]
    lines = [json.dumps({"text": str(n), "label": ["x"], "y": 1}) for n in range(20)]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    result = run(
        "inject", tmp_path / "b.jsonl", "--noise-rate", 0.4, "--noise-type", "missing", "--output", tmp_path / "b"
    )
    assert result.exit_code == 0, result.output
    rows = load_dataset("parquet", data_dir=str(tmp_path / "b" / "data"), split="train")
    assert sum(map(len, rows["label"])) == 12
    assert "missing_share" in (tmp_path / "b" / "README.md").read_text()
