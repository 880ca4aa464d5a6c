"""The commands in this process, on rows that bring their vectors along."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets, load_dataset
from PIL import Image
from typer.testing import CliRunner

from hf_noisy.cli import app as app_module
from hf_noisy.cli import commands
from hf_noisy.cli.app import app
from hf_noisy.data.checked import checked_rows, write_checked
from hf_noisy.data.load import load_noisy_dataset
from hf_noisy.data.noise.class_map import CIFAR10_MAP
from hf_noisy.data.row_digest import row_digests
from hf_noisy.purification import restore_labels


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result.stdout


def load(folder, tmp_path):
    files = {"train": str(folder / "data" / "train-*")} if folder.is_dir() else str(folder)
    return load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))


def page_rows(folder) -> list[dict]:
    page = (folder / "report.html").read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["rows"]


def decide(path, rows, row: int, label: int, decision: str) -> None:
    """The file that the page would write."""
    names, digest = rows.features["label"].names, row_digests(rows.select([row]))[0]
    line = f"{row},{digest},{names[rows['label'][row]]},{names[label]},{decision}"
    path.write_text(f"row,digest,label_given,label,decision\n{line}\n")


def test_audit_tells_how_noisy_and_which_rows(parquet, tmp_path):
    out = tmp_path / "out"
    said = done("audit", parquet, "--output", out)
    stated = r"about ([\d.]+)% of [\d,]+ labels are wrong if errors are random, and ([\d.]+)% to ([\d.]+)% if"
    printed = [float(value) / 100 for value in re.search(stated, said).groups()]
    written = sorted(path.name for path in out.iterdir())
    assert written == [".hf_noisy.json", "README.md", "data", "findings", "report.html", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    phases = "importing reading embedding neighbours predictors data_map duplicates_and_outliers rows_to_check"
    assert [name.replace(" ", "_") for name in summary["phases"]] == f"{phases} report writing".split()
    assert all(found["peak_memory_bytes"] > 1e8 for found in summary["phases"].values())
    rate = summary["noise_rate"]
    assert printed == pytest.approx([rate["estimate"], rate["low"], rate["high"]], abs=5.1e-4)
    assert rate["low"] <= summary["true_noise_rate"] <= rate["high"]
    rows = load(out, tmp_path)
    wrong = np.array(rows["label"]) != np.array(rows["clean_label"])
    assert (np.array(rows["label_suspected"]) == wrong).mean() > 0.9
    assert rows.features["label_suggested"].names == ["cat", "dog", "bird"]
    worst = page_rows(out)[: int(wrong.sum() / 2)]
    assert np.mean([wrong[row["row"]] for row in worst]) > 0.9
    assert worst[0]["text"].startswith("<b>row</b>")


def test_audit_lists_duplicates_and_outliers(parquet, tmp_path, caplog):
    rows = load(Path(parquet), tmp_path)
    twice = concatenate_datasets([rows, rows.select([0, 1])])
    labels = np.array(twice["label"])
    labels[-1] = (labels[1] + 1) % 3
    twice = twice.remove_columns("label").add_column("label", labels).cast_column("label", rows.features["label"])
    twice.to_parquet(tmp_path / "twice.parquet")
    out, last = tmp_path / "out", len(rows) + 1
    printed = done("audit", tmp_path / "twice.parquet", "--output", out)
    assert "duplicates with different labels: 1, other duplicates: 1" in printed
    counts = json.loads((out / "summary.json").read_text())["findings"]
    assert counts["duplicates_with_different_labels"] == counts["duplicates"] == 1
    names = rows.features["label"].names
    assert (out / "findings" / "duplicates_with_different_labels.csv").read_text() == (
        f"group,row,label,similarity\n0,1,{names[labels[1]]},1.0000\n0,{last},{names[labels[-1]]},1.0000\n"
    )
    lists = sorted(path.stem for path in (out / "findings").iterdir())
    assert lists == ["duplicates", "duplicates_with_different_labels", "near_duplicates", "outliers"]
    outliers = (out / "findings" / "outliers.csv").read_text().splitlines()
    assert outliers[0] == "row,label,distance"
    assert len(outliers) == counts["outliers"] + 1
    page = (out / "report.html").read_text("utf-8")
    assert "<h2>Duplicates with different labels</h2>" in page
    assert f"<td>1, {last}</td>" in page
    assert "<b>row</b>" not in page.split('id="data">')[0]  # texts are escaped
    assert len(load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))) == len(twice)
    assert len(load_noisy_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]) == len(twice)
    assert "left out" not in caplog.text  # the findings are no rows
    done("audit", tmp_path / "twice.parquet", "--output", out, "--overwrite")


def test_asymmetric_noise_of_a_named_dataset_confuses_similar_classes(monkeypatch, tmp_path):
    labels = np.repeat(np.arange(10), 10)
    names = ClassLabel(names=[str(label) for label in range(10)])
    rows = Dataset.from_dict({"text": [str(label) for label in labels], "label": labels}).cast_column("label", names)
    monkeypatch.setattr(commands, "load_noisy_dataset", lambda source, **columns: DatasetDict(train=rows))
    out = tmp_path / "out"
    done("inject", "cifar10", "--noise-type", "asymmetric", "--noise-rate", 0.5, "--output", out)
    noisy = load(out, tmp_path)
    confused = set(zip(noisy["clean_label"][:], noisy["label"][:], strict=True)) - {(n, n) for n in range(10)}
    assert confused == set(CIFAR10_MAP.items())


@pytest.mark.parametrize(
    "purifier",
    [
        "evidence",
        pytest.param("confident_learning", marks=pytest.mark.slow),
        "knn",
        pytest.param("dmlp", marks=pytest.mark.slow),
    ],
)
def test_purify_corrects_and_can_be_undone(parquet, tmp_path, purifier):
    out = tmp_path / "out"
    done("purify", parquet, "--purifier", purifier, "--output", out)
    summary = json.loads((out / "summary.json").read_text())["summary"]
    assert summary["true_noise_after"] < 0.7 * summary["true_noise_before"]
    assert "[" not in summary["purifier"]
    rows, before = load(out, tmp_path), load(Path(parquet), tmp_path)
    assert restore_labels(rows)["label"][:] == before["label"][:]
    assert "features" in rows.column_names  # they were there before
    assert (out / "report.html").is_file()


def test_dmlp_takes_checked_rows(parquet, tmp_path):
    rows, file = load(Path(parquet), tmp_path), tmp_path / "checked.csv"
    checked = np.where(np.arange(len(rows)) < 60, np.array(rows["clean_label"]), -1)
    write_checked(file, rows, checked_rows(rows, checked))
    done("purify", parquet, "--purifier", "dmlp", "--checked", file, "--output", tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["summary"]
    assert (summary["purifier"], summary["checked"]) == ("dmlp", 60)
    purified = load(tmp_path / "out", tmp_path)
    assert purified["label"][:60] == rows["clean_label"][:60] != rows["label"][:60]
    baseline = json.loads((tmp_path / "out" / "summary.json").read_text())["ridge_baseline"]
    assert 0 < baseline["true_noise_after"] < 0.2
    assert baseline["changed"] > 0


def test_dropped_rows_are_a_split_of_the_output(parquet, tmp_path):
    done("purify", parquet, "--policy", "drop", "--output", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert names == ["dropped-00000-of-00001.parquet", "train-00000-of-00001.parquet"]


def test_dropped_rows_leave_the_split_that_was_named(parquet, tmp_path):
    rows = load(Path(parquet), tmp_path)  # it says of itself that it is `train`
    source = tmp_path / "saved"
    DatasetDict(train=rows.select(range(9)), test=rows).save_to_disk(source)
    decide(tmp_path / "decisions.csv", rows, 0, rows["label"][0], "drop")
    words = (tmp_path / "decisions.csv", source, "--split", "test")
    done("apply", *words, "--output", tmp_path / "out")
    lengths = {
        name: len(load(path, tmp_path))
        for path in (tmp_path / "out" / "data").iterdir()
        for name in [path.name.split("-")[0]]
    }
    assert lengths == {"train": 9, "test": len(rows) - 1, "dropped": 1}
    for path in (tmp_path / "out" / "data").iterdir():  # no posterior in `train`, and Arrow reads no such fixed length
        kind = pq.read_schema(path).field("label_posterior").type
        assert (pa.types.is_list(kind), pa.types.is_fixed_size_list(kind)) == (True, False)
    DatasetDict(test=rows, dropped=rows.select([0])).save_to_disk(tmp_path / "taken")
    for command in (("apply", words[0]), ("purify", "--policy", "drop")):
        result = run(*command, tmp_path / "taken", *words[2:], "--output", tmp_path / "other")
        assert (result.exit_code, "already has a split 'dropped'" in result.stderr) == (2, True)


def test_what_would_not_be_read_is_refused(parquet, tmp_path):
    out = tmp_path / "out"
    done("audit", parquet, "--output", out)
    result = run("audit", out, "--output", tmp_path / "again")
    assert (result.exit_code, "already has a column 'label_quality'" in result.stderr) == (2, True)


def test_a_file_that_cannot_be_parsed_is_one_sentence(tmp_path):
    (tmp_path / "rows.csv").touch()
    result = run("audit", tmp_path / "rows.csv", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("hf-noisy: ")


def test_inject_then_apply(tmp_path, parquet):
    load(Path(parquet), tmp_path).remove_columns("clean_label").to_parquet(tmp_path / "clean.parquet")
    out = tmp_path / "noisy"
    assert "25.0% of 240 labels" in done("inject", tmp_path / "clean.parquet", "--noise-rate", 0.25, "--output", out)
    record = json.loads((out / "summary.json").read_text())["noise"]
    assert record["kind"] == "symmetric"
    noisy = load(out, tmp_path)
    given, true = np.array(noisy["label"]), np.array(noisy["clean_label"])
    assert (given != true).sum() == 60
    row = int(np.flatnonzero(given != true)[0])
    decisions = tmp_path / "decisions.csv"
    decide(decisions, noisy, row, true[row], "relabel")
    said = done("apply", decisions, out, "--output", tmp_path / "applied")
    assert said.startswith("1 rows relabelled, 0 dropped, 0 kept")
    applied = load(tmp_path / "applied", tmp_path)
    assert applied["label"][row] == true[row]
    assert applied["label_given"][:] == noisy["label"][:]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--label-column", "none"], "--label-column must be one of"),
        (["--text-column", "none"], "--text-column must be one of"),
        (
            ["--text-column", "a", "--text-column", "b", "--text-column", "c"],
            "--text-column must be one column, or two",
        ),
        (["--split", "none"], "--split must be one of train, got 'none'"),
        (
            ["--purifier", "none"],
            "--purifier must be one of checked, confident_learning, dmlp, dmlp_trusted, evidence, knn",
        ),
        (["--policy", "none"], "policy must be one of"),
        (["--min-confidence", "2"], r"--min-confidence must be in \[0, 1\], got 2"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(parquet, tmp_path, words, sentence):
    result = run("purify", parquet, "--output", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert re.match(f"hf-noisy: .*{sentence}", result.stderr.splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_an_existing_folder_are_refused_before_work(parquet, tmp_path, monkeypatch):
    result = run("audit", tmp_path / "none.csv", "--output", tmp_path / "out")
    assert (result.exit_code, "looks like a file but there is none" in result.stderr) == (2, True)
    monkeypatch.setattr(commands, "load_noisy_dataset", None)  # nothing is read
    result = run("audit", parquet, "--output", tmp_path)
    assert (result.exit_code, "exists already" in result.stderr) == (2, True)


def test_what_the_reader_reports_names_options_as_typed(tmp_path):
    rows = "".join(f"schön {row};{'gut' if row % 2 else 'Gut'}\n" for row in range(20))
    (tmp_path / "a.csv").write_bytes(f"text;label\n{rows}".encode("cp1252"))
    reported = run("inject", tmp_path / "a.csv", "--noise-rate", 0.5, "--output", tmp_path / "out").stderr
    assert re.search(
        r"hf-noisy: '.*a\.csv' is not UTF-8 and was read as cp1252; .* of line 2, pass --encoding$", reported, re.M
    )
    assert re.search(r"hf-noisy: classes of .* make them one with --merge-labels$", reported, re.MULTILINE)


def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "good,x\nbad,y\n" * 10)
    refused = run("audit", tmp_path / "a.csv", "--model", "nowhere/none", "--output", tmp_path / "out")
    assert refused.exit_code == 2
    assert "model 'nowhere/none' cannot be loaded" in refused.stderr, refused.stderr


def test_unreadable_images_are_left_out_and_counted(tmp_path):
    for row in range(12):
        (tmp_path / "data" / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * row, 0, 0)).save(tmp_path / "data" / "ab"[row % 2] / f"{row}.png")
    (tmp_path / "data" / "a" / "broken.png").write_bytes(b"no image")
    words = ["inject", tmp_path / "data", "--noise-rate", 0.5, "--output", tmp_path / "out"]
    refused = run(*words).stderr
    assert "broken.png': no known image format" in refused
    assert "--skip-unreadable" in refused
    done(*words, "--skip-unreadable")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["unreadable_rows_left_out"]) == (12, 1)


def test_a_fault_of_ours_is_no_sentence(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "run_audit", lambda *_, **__: 1 / 0)
    assert isinstance(run("audit", parquet, "--output", tmp_path / "out").exception, ZeroDivisionError)


def test_a_warning_of_the_package_is_one_sentence(capsys):
    before, reports = warnings.showwarning, app_module._Reports(["min_confidence"])
    for _ in range(2):
        reports.warn("pass min_confidence=0.5", UserWarning, app_module.__file__, 1)
    assert capsys.readouterr().err == "hf-noisy: pass --min-confidence 0.5\n"
    reports.others = lambda *place: print("others", *place[1:3])
    reports.warn("divide", RuntimeWarning, app_module.__file__, 1)
    assert capsys.readouterr().out.startswith("others <class 'RuntimeWarning'>")
    assert run("apply", "none.csv", "none.csv", "--output", "none").exit_code == 2
    assert warnings.showwarning is before


def test_a_push_that_fails_says_how_to_push_later(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_noisy.hub.errors.refuse_push", lambda repo_id: None)
    result = run("audit", parquet, "--output", tmp_path / "out", "--push-to-hub", "me/rows")
    assert result.exit_code == 2
    said = f"the output is complete in {tmp_path / 'out'}, but was not pushed; this pushes it: hf-noisy push "
    assert f"{said}{tmp_path / 'out'} me/rows\n" in result.stderr
    pushed = []
    monkeypatch.setattr("hf_noisy.cli.push_command.push_dataset_to_hub", lambda *given, **_: pushed.append(given))
    assert run("push", tmp_path / "out", "me/rows").exit_code == 0
    ((splits, repo_id, card),) = pushed
    assert repo_id == "me/rows"
    assert card.content == (tmp_path / "out" / "README.md").read_text("utf-8")
    stored = load_dataset(str(tmp_path / "out"))
    assert {name: rows.features for name, rows in splits.items()} == {n: rows.features for n, rows in stored.items()}
    assert {name: rows.to_dict() for name, rows in splits.items()} == {n: r.to_dict() for n, r in stored.items()}


@pytest.mark.parametrize(
    ("repo_id", "token", "offline", "message"),
    [
        ("me/my rows", "hf_x", False, "repo_id must be 'name' or 'owner/name', of letters"),
        ("me/rows", "hf_x", True, "HF_HUB_OFFLINE is set, so nothing was pushed to 'me/rows'; unset it"),
        ("me/rows", None, False, "the Hub knows no token for 'me/rows'; log in with `hf auth login`"),
    ],
)
def test_a_push_that_cannot_work_is_refused_first(parquet, tmp_path, monkeypatch, repo_id, token, offline, message):
    monkeypatch.setattr("hf_noisy.hub.errors.get_token", lambda: token)
    monkeypatch.setattr("hf_noisy.hub.errors.is_offline_mode", lambda: offline)
    audited = ["audit", parquet, "--output", tmp_path / "out", "--push-to-hub", repo_id]
    for words in (audited, ["push", tmp_path, repo_id]):
        result = run(*words)
        assert result.exit_code == 2
        assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_only_an_output_with_rows_or_a_model_is_pushed(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_noisy.hub.errors.refuse_push", lambda repo_id: None)
    assert "is no output folder of hf-noisy" in run("push", tmp_path, "me/rows").stderr
    assert run("check", parquet, "--rows", "3", "--output", tmp_path / "page").exit_code == 0
    assert "holds neither rows nor a model" in run("push", tmp_path / "page", "me/rows").stderr
