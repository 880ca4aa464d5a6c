"""`hf-noisy aggregate` and the reader of votes: every form of file, the output, and bad input by line."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data.decision_lines import COLUMNS as DECISION_COLUMNS
from hf_noisy.data.weak.vote_files import read_votes
from hf_noisy.data.weak.vote_table import votes_from_matrix
from hf_noisy.detection import aggregate

LONG = "annotator,row,label,text\nann,7,yes,Good\nben,7,no,Good\nann,8,no,Bad\nben,8,no,Bad\nann,7,no,Good\n"
WIDE = "id,text,ann,ben\n7,Good,yes,\n8,Bad,no,no\n"


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_line_for_each_answer(tmp_path):
    found = read_votes(write(tmp_path, "votes.csv", LONG))
    assert (found.rows, found.texts) == (["7", "8"], ["Good", "Bad"])
    assert (found.votes.annotators, found.votes.classes) == (("ann", "ben"), ("no", "yes"))
    assert found.votes.matrix().tolist() == [[0, 0], [0, 0]]  # the last answer of ann on row 7 counts


def test_a_column_for_each_annotator(tmp_path):
    found = read_votes(write(tmp_path, "votes.csv", WIDE))
    assert found.rows == ["7", "8"]
    assert found.votes.matrix().tolist() == [[1, -1], [0, 0]]
    more = write(tmp_path, "more.csv", "text,gold,ann,ben\nGood,1,1,0\nBad,0,0,-1\nSo,1,1,1\n")
    assert read_votes(more, vote_columns=["ben"]).votes.matrix().tolist() == [[0], [-1], [1]]


def test_json_lines_with_a_column_of_votes_and_parquet(tmp_path):
    lines = [{"text": "Good", "votes": {"m": 1, "n": 0}}, {"text": "Bad", "votes": {"m": 0, "n": None}}]
    found = read_votes(write(tmp_path, "votes.jsonl", "\n".join(map(json.dumps, lines))))
    assert (found.votes.annotators, found.votes.matrix().tolist()) == (("m", "n"), [[1, 0], [0, -1]])
    pq.write_table(pa.table({"text": ["a", "b"], "votes": [[0, 2], [1, -1]]}), tmp_path / "votes.parquet")
    assert read_votes(tmp_path / "votes.parquet").votes.matrix().tolist() == [[0, 2], [1, -1]]


def test_exports_of_annotation_tools(tmp_path):
    def annotation(who, choice, cancelled=False):
        return {
            "completed_by": {"id": who, "email": f"{who}@x.org"},
            "was_cancelled": cancelled,
            "result": [{"value": {"choices": [choice]}}],
        }

    tasks = [
        {"id": 5, "data": {"text": "Good"}, "annotations": [annotation(1, "yes"), annotation(2, "no", True)]},
        {"id": 6, "data": {"text": "Bad"}, "annotations": [annotation(2, "no")]},
    ]
    found = read_votes(write(tmp_path, "tasks.json", json.dumps(tasks)))
    assert found.votes.annotators == ("1@x.org", "2@x.org")
    assert (found.rows, found.votes.matrix().tolist()) == (["5", "6"], [[1, -1], [-1, 0]])
    responses = [
        {"value": "yes", "user_id": "u", "status": "submitted"},
        {"value": "no", "user_id": "w", "status": "draft"},
    ]
    records = [
        {"id": "r", "fields": {"text": "Good"}, "responses": {"class": responses}},
        {"id": "s", "fields": {"text": "Bad"}, "responses": {"class": [{**responses[0], "value": "no"}]}},
    ]
    found = read_votes(write(tmp_path, "records.json", json.dumps(records)))
    assert (found.votes.annotators, found.votes.matrix().tolist()) == (("u",), [[1], [0]])


def test_exports_with_several_questions_or_damage(tmp_path):
    def task(*results):
        answers = [{"from_name": name, "value": {"choices": choices}} for name, choices in results]
        return {"id": 5, "data": {"text": "Good"}, "annotations": [{"completed_by": 1, "result": answers}]}

    two = write(tmp_path, "two.json", json.dumps([task(("mood", ["yes"]), ("topic", ["no"]))]))
    with pytest.raises(ValueError, match="has answers to mood, topic; name one of these with label_column="):
        read_votes(two)
    with pytest.raises(ValueError, match="label_column='size' is no question"):
        read_votes(two, label_column="size")
    assert read_votes(two, label_column="mood", classes=["no", "yes"]).votes.label.tolist() == [1]
    several = write(tmp_path, "several.json", json.dumps([task(("mood", ["yes", "no"]))]))
    with pytest.raises(ValueError, match="task 5 has the classes 'yes' and 'no'; votes are one class each"):
        read_votes(several)
    damaged = write(tmp_path, "damaged.json", json.dumps([task(("mood", ["yes"])), {"data": 3, "annotations": 7}]))
    with pytest.raises(ValueError, match=r"item 2 of .* is damaged: it is not as Label Studio writes it"):
        read_votes(damaged)


def test_an_annotator_without_an_answer_is_named_and_a_repeated_answer_counted(tmp_path, caplog):
    read_votes(write(tmp_path, "wide.csv", "text,ann,ben\nGood,yes,\nBad,no,\n"), vote_columns=["ann", "ben"])
    read_votes(write(tmp_path, "votes.csv", LONG))
    assert "1 answers were replaced" in caplog.text
    found = votes_from_matrix(np.array([[0, -1], [1, -1]]), annotators=["ann", "ben"])
    assert "1 of 2 annotators have no answer and are ignored: ben" in caplog.text
    assert len(aggregate(found).labels) == 2


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,gold,ann\nGood,1,1\n", {}, "column 'gold' .* looks like the true or given label"),
        ("text,label,ann\nGood,1,1\n", {}, "column 'label' .* name the columns of the annotators"),
        ("text,note,ann\n" + "".join(f"a,n{n},{n % 2}\n" for n in range(60)), {}, "'note' .* 60 different values"),
        ("text,ann\nGood,yes\nBad,maybe\n", {"classes": ["no", "yes"]}, "line 3 .*ann gave 'maybe'.* no, yes"),
        ("text,ann\nGood,\n", {}, "holds no answer"),
        ("text,ann\nGood,yes\n", {}, "all answers .* are 'yes'"),
        ("text,ann\nGood,yes\n", {"vote_columns": ["ben"]}, "vote_columns='ben' is no column .* text, ann"),
        ("text\nGood\n", {}, "no column of votes"),
        ("annotator,row,label\nann,,1\n", {}, "line 2 .*no row; fill it in"),
        ("annotator,label\nann,1\n", {}, "does not say which row"),
    ],
)
def test_bad_files_are_refused_by_line_and_column(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read_votes(write(tmp_path, "votes.csv", content), **options)


def test_the_command_writes_labels_votes_card_and_report(tmp_path):
    rng = np.random.default_rng(0)
    true = np.arange(60) % 2
    votes = [np.where(rng.random(60) < 0.8, true, 1 - true) for _ in range(4)]
    lines = ["id,text,ann,ben,cat,dan"] + [
        ",".join(map(str, [n, f"text {n}", *(v[n] for v in votes)])) for n in range(59)
    ]
    path = write(tmp_path, "votes.csv", "\n".join([*lines, "59,text 59,,,,"]) + "\n")
    result = CliRunner().invoke(app, ["aggregate", str(path), "--output", str(tmp_path / "out"), "--votes-only"])
    assert result.exit_code == 0, result.output
    assert "236 answers of 4 annotators on 60 rows" in result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["annotator"] for row in summary["annotators"]] == ["ann", "ben", "cat", "dan"]
    assert summary["rows_without_vote"] == 1
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert (np.array(rows["label"][:59]) == true[:59]).mean() > 0.85
    assert rows["label"][59] in (None, -1)
    assert rows["votes"][0] == [int(v[0]) for v in votes]
    assert "dan" in (tmp_path / "out" / "README.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Annotators" in page
    # What is ticked in the report is applied to the output.
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    shown, names = data["rows"][0], data["classes"]
    fields = [shown["row"], shown["digest"], names[shown["given"]], names[shown["suggested"]], "relabel"]
    path = write(tmp_path, "decisions.csv", ",".join(DECISION_COLUMNS) + "\n" + ",".join(map(str, fields)) + "\n")
    words = ["apply", str(path), str(tmp_path / "out"), "--output", str(tmp_path / "decided")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    decided = load_dataset("parquet", data_dir=str(tmp_path / "decided" / "data"), split="train")
    assert decided["label"][shown["row"]] == shown["suggested"] != shown["given"]


def test_mistakes_are_named_by_the_option_as_typed(tmp_path):
    path = write(tmp_path, "votes.csv", "text,gold,ann\nGood,1,1\n")
    command = ["aggregate", str(path), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "name the columns of the annotators with --vote-columns" in result.stderr
    result = CliRunner().invoke(app, [*command, "--method", "best"])
    assert "--method must be one of model, dawid_skene, weighted, majority, got 'best'" in result.stderr
