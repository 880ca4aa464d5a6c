"""Commands on tags of words and sets of classes, as a new user runs them."""

import csv
import io
import json
import re

import numpy as np
import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy import restore_labels
from hf_noisy.cli import list_commands
from hf_noisy.cli.app import app
from hf_noisy.data.flat_labels import label_sets, list_names
from hf_noisy.detection import list_audit
from hf_noisy.detection.label_issues import LabelIssues
from hf_noisy.detection.noise_rate import NoiseRate

NAMES = ["Anna", "Bob", "Carl", "Dora"]
PLACES = ["Oslo", "Rome", "Paris", "Lima"]


pytestmark = pytest.mark.usefixtures("own_cache")


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
    assert f"{len(data['rows'])} spans in 48 rows" in (tmp_path / "audit" / "report.html").read_text()
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


def test_purify_sets_and_undo(sets_file, tmp_path, monkeypatch):
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
    monkeypatch.setattr(list_commands, "audited", None)  # refused before anything is embedded
    for source, options, message in [
        (tmp_path / "out", [], "purified before"),
        (sets_file, ["--min-confidence", 1.5], "confidence must be in"),
    ]:
        again = run("purify", source, *options, "--output", tmp_path / "again")
        assert again.exit_code == 2
        assert message in again.output


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("purify", ["--policy", "drop"], "many labels"),
        ("purify", ["--purifier", "dmlp"], "'dmlp' corrects one label a row"),
        ("purify", ["--max-wrong", 0.1], "--max-wrong has no meaning for tags and sets"),
        ("purify", ["--label-missing"], "--label-missing has no meaning"),
        ("check", ["--format", "argilla"], "--format is about rows of one class each"),
        ("check", ["--rows", 61], "--rows must be from 1 to 60"),
        ("next", [], "--strategy informative needs rows that are checked as a whole"),
        ("next", ["--strategy", "random", "--budget", 61], "--budget must be from 1 to 60"),
        ("inject", ["--noise-rate", 0.4], "--noise-type must be missing for sets of classes, got 'symmetric'"),
    ],
)
def test_what_has_no_meaning_is_refused(sets_file, tmp_path, command, options, message):
    result = run(command, sets_file, *options, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "out").exists()


def checked_by_a_person(folder, rows, true):
    """The file of `check` or `next`, with the true labels of all its rows."""
    (path,) = folder.glob("*.csv")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == rows
    for line in lines:
        line |= {"checked_label": true(line), "checked": "x"}
    with (folder / "done.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return folder / "done.csv"


def test_checked_sentences_are_certain_and_give_the_missing_rate(conll, tmp_path):
    options = ["--clean-column", 3, "--label-column", 2]
    result = run("check", conll, *options, "--rows", 30, "--output", tmp_path / "check")
    assert "30 rows to check" in result.output

    def marked(line):
        words = line["text"].split()
        return f"[{words[0]}](PER) lives in [{words[3]}](LOC)"

    done = checked_by_a_person(tmp_path / "check", 30, marked)
    result = run("purify", conll, *options, "--checked", done, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["checked_rows"] == 30
    unmarked = done.with_name("unmarked.csv")
    unmarked.write_text(done.read_text().replace(",x,", ",,"))
    result = run("purify", conll, *options, "--checked", unmarked, "--output", tmp_path / "no")
    assert result.exit_code == 2
    assert "than 'label_given', but nothing in 'checked'" in result.output
    low, high = summary["missing_rate"]["low"], summary["missing_rate"]["high"]
    assert 0 <= low < 8 / 96 < high < 0.4
    assert set(summary["missing_rate_of"]) == {"PER", "LOC"}
    assert summary["true_rate_after"] < summary["true_noise_rate"]
    rows = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    looked_at = [int(line["row"]) for line in csv.DictReader(done.open())]
    assert all(rows[row]["label"] == rows[row]["clean_label"] for row in looked_at)
    assert all(rows[row]["label_confidence"] == [1, 1, 1, 1] for row in looked_at)
    result = run("audit", conll, *options, "--checked", done, "--output", tmp_path / "audit")
    assert "of the entity tags are missing" in result.output
    assert {row["row"] // 4 for row in page_data(tmp_path / "audit")["rows"]}.isdisjoint(looked_at)


def test_checked_sets_are_certain(sets_file, tmp_path):
    run("check", sets_file, "--rows", 20, "--output", tmp_path / "check")
    known = {row["text"]: row["clean_label"] for row in map(json.loads, sets_file.read_text().splitlines())}
    done = checked_by_a_person(tmp_path / "check", 20, lambda line: "; ".join(known[line["text"]]))
    result = run("purify", sets_file, "--checked", done, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["missing_rate"]["units"] >= 20
    assert summary["true_rate_after"] < summary["true_noise_rate"]
    rows = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    for line in csv.DictReader(done.open()):
        assert rows[int(line["row"])]["label"] == rows[int(line["row"])]["clean_label"]


def test_decisions_of_the_report_are_checked_labels(sets_file, tmp_path):
    run("audit", sets_file, "--output", tmp_path / "audit")
    data = decisions(tmp_path / "audit", tmp_path / "decisions.csv")
    decided = {(row["row"] // 2, row["row"] % 2) for row in data["rows"]}
    words = ["--checked", tmp_path / "decisions.csv", "--output"]
    result = run("audit", sets_file, *words, tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert {(row["row"] // 2, row["row"] % 2) for row in page_data(tmp_path / "again")["rows"]}.isdisjoint(decided)
    assert "missing_rate" not in json.loads((tmp_path / "again" / "summary.json").read_text())  # no random sample
    assert run("purify", sets_file, *words, tmp_path / "out").exit_code == 0
    rows = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    given, new = label_sets(rows, "label_given")[0], label_sets(rows)[0]
    assert decided <= {(int(row), int(one)) for row, one in np.argwhere(given != new)}
    # A row with a single checked label may still be drawn; what was checked stays in the file.
    result = run("check", sets_file, "--rows", 60, *words, tmp_path / "check")
    assert result.exit_code == 0, result.output
    with (tmp_path / "check" / "checked.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 60
    assert sum(line["checked"].startswith("only ") for line in lines) == len({row for row, _ in decided})
    assert run("next", sets_file, *words, tmp_path / "no").exit_code == 2


def test_the_next_rows_have_more_wrong_labels(conll, tmp_path):
    options = ["--clean-column", 3, "--label-column", 2]
    run("check", conll, *options, "--rows", 20, "--output", tmp_path / "check")

    def marked(line):
        words = line["text"].split()
        return f"[{words[0]}](PER) lives in [{words[3]}](LOC)"

    done = checked_by_a_person(tmp_path / "check", 20, marked)
    result = run("next", conll, *options, "--checked", done, "--budget", 4, "--output", tmp_path / "next")
    assert result.exit_code == 0, result.output
    assert "4 rows to check (informative)" in result.output
    done = checked_by_a_person(tmp_path / "next", 24, marked)
    lines = list(csv.DictReader(done.open()))
    assert [line["strategy"] for line in lines].count("informative") == 4
    wrong = [line["label_given"] != line["checked_label"] for line in lines if line["strategy"] == "informative"]
    assert sum(wrong) >= 2  # 4 of the other 28 at most, so about half a row of 4 at random
    result = run("audit", conll, *options, "--checked", done, "--output", tmp_path / "audit")
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text())
    assert (summary["checked_rows"], summary["missing_rate"]["units"]) == (24, 40)  # of the random ones
    result = run("check", conll, *options, "--checked", done, "--rows", 28, "--output", tmp_path / "all")
    lines = list(csv.DictReader((tmp_path / "all" / "checked.csv").open()))
    assert [(line["strategy"], line["checked"]) for line in lines].count(("random", "x")) == 24


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


def test_tags_of_entities_that_predictions_doubt_are_kept(tmp_path, monkeypatch):
    def doubtful(labels, probabilities, **_):
        given = np.concatenate(labels)
        wrong = given != 0
        return LabelIssues(wrong, np.where(wrong, 0.1, 0.9), np.zeros_like(given), NoiseRate(0.3, 0.2, 0.4))

    monkeypatch.setattr(list_audit, "find_wrong_tokens", doubtful)
    path = tmp_path / "people.conll"
    path.write_text("The B-PER\nman O\nsaw O\nthe O\nthe O\nRome B-LOC\n\n" * 20)
    result = run("purify", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "20 of 120 tags overruled" in result.output
    rows = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), split="train")
    names = list_names(rows)
    assert [names[tag] for tag in rows[0]["label"]] == ["O", "O", "O", "O", "O", "B-LOC"]
