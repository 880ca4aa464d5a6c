"""`hf-noisy check`, and the page to check rows in the report of an audit."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from PIL import Image
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data.checked import CheckedRows, read_checked, write_checked
from hf_noisy.data.row_digest import row_digests
from hf_noisy.detection.rows_to_check import rows_to_check


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result.stdout


def page_data(path) -> dict:
    return json.loads(re.search(r'id="check-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)[1])


@pytest.fixture
def checked_file(rows, tmp_path):
    """60 random rows with their true label."""
    truth, sample = np.array(rows["clean_label"]), rows_to_check(rows, 60, seed=1)
    drawn = CheckedRows(sample.index, truth[sample.index], ["random"] * 60, sample.probability, np.zeros(60, int), 240)
    write_checked(tmp_path / "checked.csv", rows, drawn)
    return tmp_path / "checked.csv"


@pytest.fixture
def rows(parquet, tmp_path) -> Dataset:
    return load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(tmp_path / "cache"))


def test_check_writes_a_page_of_random_rows(parquet, rows, tmp_path):
    out = tmp_path / "out"
    printed = done("check", parquet, "--rows", 30, "--output", out, "--seed", 3)
    assert printed == f"30 rows to check (random); open {out}/check.html in a browser\n"
    assert sorted(path.name for path in out.iterdir()) == [".hf_noisy.json", "check.html", "summary.json"]
    data, digests = page_data(out / "check.html"), row_digests(rows)
    assert data["classes"] == ["cat", "dog", "bird"]
    assert len({row["row"] for row in data["rows"]}) == 30
    for row in data["rows"]:
        assert row["digest"] == digests[row["row"]]
        assert row["text"] == rows[row["row"]]["text"]
        assert row["given"] == rows[row["row"]]["label"]
        assert (row["strategy"], row["probability"], row["batch"]) == ("random", 30 / 240, 0)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["command"], summary["rows"], summary["seed"]) == ("check", 30, 3)
    assert list(summary["phases"]) == ["importing", "reading", "rows to check"]
    assert run("check", parquet, "--output", out).exit_code == 2
    done("check", parquet, "--output", out, "--overwrite")
    assert len(page_data(out / "check.html")["rows"]) == 100


def test_check_leaves_out_rows_that_are_checked_and_carries_their_lines(parquet, rows, tmp_path):
    done("check", parquet, "--rows", 5, "--output", tmp_path / "first")
    first = page_data(tmp_path / "first" / "check.html")["rows"]
    lines = ["row,digest,checked_label,strategy,probability,batch"]
    lines += [f"{row['row']},{row['digest']},dog,random,{row['probability']},0" for row in first]
    (tmp_path / "checked.csv").write_text("\n".join(lines) + "\n")
    done("check", parquet, "--checked", tmp_path / "checked.csv", "--output", tmp_path / "second")
    second = page_data(tmp_path / "second" / "check.html")
    assert {row["batch"] for row in second["rows"]} == {1}
    assert not {row["row"] for row in second["rows"]} & {row["row"] for row in first}
    assert sorted(",".join(line) for line in second["earlier"]) == sorted(lines[1:])


def test_check_for_label_studio_and_back(parquet, rows, tmp_path):
    out = tmp_path / "out"
    printed = done("check", parquet, "--rows", 4, "--format", "label-studio", "--output", out)
    assert f"import {out}/tasks.json into a project with the labelling interface {out}/labelling.xml" in printed
    tasks = json.loads((out / "tasks.json").read_text("utf-8"))
    assert '<Choice value="bird"/>' in (out / "labelling.xml").read_text("utf-8")
    for task in tasks:
        result = {"from_name": "checked_label", "type": "choices", "value": {"choices": ["bird"]}}
        task["annotations"] = [{"was_cancelled": False, "result": [result]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    checked = read_checked(tmp_path / "export.json", rows)
    assert checked.index.tolist() == sorted(task["data"]["row"] for task in tasks)
    assert checked.labels.tolist() == [2] * 4
    done("check", parquet, "--checked", tmp_path / "export.json", "--output", tmp_path / "next")


def test_check_for_argilla(parquet, tmp_path):
    out = tmp_path / "out"
    printed = done("check", parquet, "--rows", 4, "--format", "argilla", "--output", out)
    assert f"argilla.Dataset.from_disk('{out}')" in printed
    assert sorted(path.name for path in (out / ".argilla").iterdir()) == ["dataset.json", "settings.json"]
    records = json.loads((out / "records.json").read_text("utf-8"))
    assert len({record["id"] for record in records}) == 4
    done("check", parquet, "--rows", 4, "--output", out, "--overwrite")
    assert sorted(path.name for path in out.iterdir()) == [".hf_noisy.json", "check.html", "summary.json"]


def test_check_shows_images(tmp_path):
    draw = np.random.default_rng(0)
    for row in range(3):
        pixels = draw.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
    table = "".join(f"{tmp_path}/{row}.png,{'ab'[row % 2]}\n" for row in range(3))
    (tmp_path / "data.csv").write_text("file,label\n" + table)
    done("check", tmp_path / "data.csv", "--image-column", "file", "--output", tmp_path / "out")
    data = page_data(tmp_path / "out" / "check.html")
    assert all(row["image"].startswith("data:image/png;base64,") and row["text"] is None for row in data["rows"])
    done(
        "check", tmp_path / "data.csv", "--image-column", "file", "--format", "argilla", "--output", tmp_path / "tool"
    )
    assert set(json.loads((tmp_path / "tool" / "records.json").read_text())[0]["fields"]) == {"image"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "excel"], "--format must be one of page, label-studio, argilla, got 'excel'"),
        (["--rows", 300], "300 rows to check were asked for, but only 240 have not been checked"),
        (["--rows", 0], "must be at least 1 row, got 0"),
        (["--checked", "nowhere.csv"], "'nowhere.csv' is missing"),
    ],
)
def test_check_refuses_in_one_sentence(parquet, tmp_path, words, sentence):
    result = run("check", parquet, "--output", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


def test_rows_without_content_cannot_be_checked(rows, tmp_path):
    rows.remove_columns("text").to_parquet(tmp_path / "vectors.parquet")
    result = run("check", tmp_path / "vectors.parquet", "--output", tmp_path / "out")
    assert result.exit_code == 2


def test_the_report_of_an_audit_has_the_page(parquet, tmp_path):
    done("audit", parquet, "--output", tmp_path / "out")
    data = page_data(tmp_path / "out" / "report.html")
    assert len(data["rows"]) == 100
    assert {row["strategy"] for row in data["rows"]} == {"random"}


def test_an_audit_with_checked_rows_has_valid_intervals(parquet, rows, checked_file, tmp_path):
    out = tmp_path / "out"
    printed = done("audit", parquet, "--checked", checked_file, "--output", out)
    assert "labels are wrong (interval (95 %, valid): " in printed
    summary = json.loads((out / "summary.json").read_text())
    rate = summary["noise_rate"]
    assert rate["low"] <= summary["true_noise_rate"] <= rate["high"]
    assert (summary["checked_rows"], rate["rows"], rate["method"]) == (60, 60, "prediction-powered")
    assert list(summary["class_noise"]) == ["cat", "dog", "bird"]
    given, true = np.array(rows["label"]), np.array(rows["clean_label"])
    for label, share in enumerate(summary["class_noise"].values()):
        assert share["low"] <= (given != true)[given == label].mean() <= share["high"]
    for label, name in enumerate(summary["confusion"]):
        cell = summary["confusion"][name][name]
        assert cell["low"] <= ((true == label) & (given == label)).mean() <= cell["high"]
    report = (out / "report.html").read_text("utf-8")
    assert "Confusion matrix" in report
    assert "Noise of each given class" in report
    assert "A person has checked 60 rows, of which 60 were drawn at random" in report
    card = (out / "README.md").read_text("utf-8")
    assert "| rows checked by a person | 60 |" in card
    assert "| wrong labels among cat |" in card
    again = read_checked(checked_file, rows)
    suspected = load_dataset("parquet", data_files=str(out / "data" / "*"), cache_dir=str(tmp_path / "cache"))["train"]
    assert np.array(suspected["label_suspected"])[again.index].tolist() == (given != true)[again.index].tolist()


def test_purify_uses_checked_rows(parquet, rows, checked_file, tmp_path):
    said = done("purify", parquet, "--checked", checked_file, "--output", tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["summary"]
    assert (summary["purifier"], summary["checked"]) == ("checked", 60)
    assert summary["true_noise_after"] < 0.25 * summary["true_noise_before"]
    assert summary["estimated_noise_before"] is summary["estimated_noise_after"] is None
    assert re.search(r"^before: about [\d.]+% of [\d,]+ labels are wrong \(interval \(95 %, valid\): ", said, re.M)
    assert "A person has checked 60 rows" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_purify_keeps_a_promise_or_says_that_it_cannot(parquet, checked_file, tmp_path):
    words = ("purify", parquet, "--checked", checked_file, "--output", tmp_path / "out", "--overwrite")
    assert "wrong on average" in done(*words, "--max-wrong", 0.2)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["max_wrong"] == 0.2
    assert summary["summary"]["true_noise_after"] < summary["summary"]["true_noise_before"]
    assert "at most 20.00 % of the changes wrong on average" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "no change can be guaranteed with so few checked rows" in done(*words, "--max-wrong", 0.001)
    assert "no change can be guaranteed" in (tmp_path / "out" / "report.html").read_text("utf-8")
    for options in (["--min-confidence", 0.5], ["--purifier", "dmlp"]):
        assert run(*words, "--max-wrong", 0.1, *options).exit_code == 2
    result = run("purify", parquet, "--max-wrong", 0.1, "--output", tmp_path / "other")
    assert (result.exit_code, "--max-wrong needs rows that a person has checked" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["audit", "purify"])
def test_wrong_checked_rows_are_one_sentence(parquet, checked_file, tmp_path, command):
    checked_file.write_text(checked_file.read_text().replace(",cat,", ",lion,"))
    result = run(command, parquet, "--checked", checked_file, "--output", tmp_path / "out")
    assert (result.exit_code, "Traceback" in result.stderr) == (2, False)
    assert "has 'lion', which is not among the classes cat, dog, bird" in result.stderr
    result = run(command, parquet, "--checked", tmp_path / "none.csv", "--output", tmp_path / "out")
    assert (result.exit_code, "is missing" in result.stderr) == (2, True)


def test_next_draws_rows_that_nobody_has_checked(parquet, rows, checked_file, tmp_path):
    out = tmp_path / "out"
    printed = done("next", parquet, "--checked", checked_file, "--budget", 30, "--strategy", "random", "--output", out)
    assert printed == f"30 rows to check (random); open {out}/check.html in a browser\n"
    assert sorted(path.name for path in out.iterdir()) == [".hf_noisy.json", "check.html", "next.csv", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["command"], summary["rows"], summary["batch"], summary["strategy"]) == ("next", 30, 1, "random")
    lines = [line for line in (out / "next.csv").read_text().splitlines()[1:] if ",," in line]  # nobody has looked
    drawn = {int(line.split(",")[0]) for line in lines}
    assert len(drawn) == 30
    assert not drawn & set(read_checked(checked_file, rows).index.tolist())
    assert lines[0].endswith(",,random,0.16666666666666666,1")
    data = page_data(out / "check.html")
    assert (len(data["rows"]), len(data["earlier"])) == (30, 60)
    done("next", parquet, "--checked", checked_file, "--strategy", "random", "--output", out, "--overwrite")


def test_next_chooses_informative_rows(parquet, rows, checked_file, tmp_path):
    out = tmp_path / "out"
    printed = done("next", parquet, "--checked", checked_file, "--budget", 7, "--output", out)
    assert printed == f"7 rows to check (informative); open {out}/check.html in a browser\n"
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["strategy"], summary["encoder"]) == ("informative", "the column 'features' of the data")
    lines = [line for line in (out / "next.csv").read_text().splitlines()[1:] if ",," in line]  # nobody has looked
    assert all(line.endswith(",,informative,1.0,1") for line in lines)
    assert not {int(line.split(",")[0]) for line in lines} & set(read_checked(checked_file, rows).index.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "best"], "--strategy must be one of random"),
        (["--format", "word"], "--format must be one of page"),
        (["--budget", 500, "--strategy", "random"], "500 rows to check were asked for, but only 240 have not"),
        (["--budget", 0, "--strategy", "random"], "count must be at least 1 row, got 0"),
        (["--checked", "none.csv"], "file of checked rows 'none.csv' is missing"),
        ([], "--strategy informative needs rows that are checked already, as --checked; draw the first ones"),
    ],
)
def test_next_refuses_bad_options_in_one_sentence(parquet, tmp_path, options, message):
    result = run("next", parquet, "--output", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
