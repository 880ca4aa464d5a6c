"""`hf-noisy audit --votes`: votes find their rows, tell errors from disagreement, and stand in the report."""

import json
import re

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.votes_of_rows import votes_of_rows
from hf_noisy.data.labelled_rows import labelled_rows
from hf_noisy.data.load import load_noisy_dataset

COUNT = 60
TRUE = np.arange(COUNT) % 2
PEOPLE = ("ann", "ben", "cat", "dan")
VOTES = np.repeat(TRUE[:, None], 4, axis=1)
VOTES[2, :2] = 1 - TRUE[2]  # people differ
GIVEN = TRUE.copy()
GIVEN[5] = 1 - TRUE[5]  # an error: nobody gave this label


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    vectors = np.eye(4, dtype=np.float32)[TRUE] + 0.1 * np.random.default_rng(0).normal(size=(COUNT, 4))
    vectors[2] = 0.5
    columns = {"id": [100 + n for n in range(COUNT)], "text": [f"text {n}" for n in range(COUNT)]}
    rows = Dataset.from_dict({**columns, "features": vectors.astype(np.float32).tolist(), "label": GIVEN.tolist()})
    path = tmp_path_factory.mktemp("votes") / "rows.parquet"
    rows.to_parquet(str(path))
    return path


def by_id(order):
    return f"id,{','.join(PEOPLE)}\n" + "".join(f"{100 + n},{','.join(map(str, VOTES[n]))}\n" for n in order)


def by_text(order):
    lines = [f"{who},text {n},{VOTES[n, number]}" for n in order for number, who in enumerate(PEOPLE)]
    return "annotator,text,label\n" + "\n".join(lines) + "\n"


def by_number(order):
    return f"{','.join(PEOPLE)}\n" + "".join(",".join(map(str, row)) + "\n" for row in VOTES)


def audited(parquet, tmp_path, content, *options):
    (tmp_path / "votes.csv").write_text(content)
    words = [
        "audit",
        str(parquet),
        "--output",
        str(tmp_path / "out"),
        "--votes",
        str(tmp_path / "votes.csv"),
        *options,
    ]
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("content", [by_id, by_text, by_number])
def test_votes_find_their_rows_however_the_file_names_them(content, parquet, tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text(content(np.random.default_rng(1).permutation(COUNT).tolist()))
    rows = labelled_rows(load_noisy_dataset(str(parquet))["train"])
    found = votes_of_rows(path, rows)
    assert found.annotators == PEOPLE
    assert found.matrix().tolist() == VOTES.tolist()


def test_rows_without_votes_or_labels_and_equal_texts(tmp_path):
    labels = ClassLabel(names=["no", "yes"])
    features = Features({"text": Value("string"), "label": labels})
    rows = labelled_rows(Dataset.from_dict({"text": list("abca"), "label": [0, None, 1, 1]}, features=features))
    (tmp_path / "votes.csv").write_text("text,ann\na,yes\nb,no\n")
    assert votes_of_rows(tmp_path / "votes.csv", rows).matrix().tolist() == [[1], [-1], [1]]  # the second has no label


def labelled_texts(**columns):
    features = Features({**{name: Value("string") for name in columns}, "label": ClassLabel(names=["no", "yes"])})
    return labelled_rows(Dataset.from_dict({**columns, "label": [0] * len(columns["text"])}, features=features))


def test_pairs_of_equal_first_texts_do_not_share_votes(tmp_path):
    rows = labelled_texts(text=["a", "a", "b"], text_pair=["x", "y", "z"], id=["p", "q", "r"])
    (tmp_path / "votes.csv").write_text("id,text,ann\nq,a,yes\nr,b,no\n")
    assert votes_of_rows(tmp_path / "votes.csv", rows).matrix().tolist() == [[-1], [1], [0]]


def test_rows_with_other_texts_are_not_taken_by_their_place(tmp_path):
    rows = labelled_texts(text=["a", "b", "c"])
    (tmp_path / "votes.csv").write_text("text,ann\nb,yes\na changed,no\n")
    with pytest.raises(ValueError, match="row 'a changed'"):
        votes_of_rows(tmp_path / "votes.csv", rows)
    task = {"id": 1, "data": {"text": "a changed"}, "annotations": []}
    answer = {"completed_by": 1, "result": [{"from_name": "label", "value": {"choices": ["yes"]}}]}
    (tmp_path / "votes.json").write_text(json.dumps([task | {"annotations": [answer]}]))
    with pytest.raises(ValueError, match="row 'a changed'"):
        votes_of_rows(tmp_path / "votes.json", rows)


def test_the_command_flags_errors_and_shows_the_votes(parquet, tmp_path):
    result = audited(parquet, tmp_path, by_id(range(COUNT - 10)))
    assert result.exit_code == 0, result.output
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert np.flatnonzero(rows["label_suspected"]).tolist() == [5]
    assert int(np.argmin(rows["label_quality"])) == 5
    assert int(np.argmax(rows["label_disagreement"])) == 2
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["votes"] == {"annotators": 4, "answers": 200, "rows_without_vote": 10}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Legitimate disagreement" in page
    assert "[0: 2, 1: 2]" in page
    assert "[1: 4] text 5" in page
    card = (tmp_path / "out" / "README.md").read_text()
    removed = json.loads(re.search(r"remove_columns\((.*)\)", card)[1])
    assert set(removed) == {name for name in rows.column_names if name.startswith("label_")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,ann\n7,1\n100,0\n",
            "row '7' of '.*votes.csv' is none of the 60 audited ones; name each row there by its",
        ),
        ("id,ann\n100,1\n101,2\n", "line 3 of .*: ann gave '2', which is not among the classes 0, 1"),
    ],
)
def test_votes_that_fit_no_row_or_class_are_refused(content, message, parquet, tmp_path):
    result = audited(parquet, tmp_path, content)
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr


def test_a_missing_file_and_lists_of_labels_are_refused(parquet, tmp_path):
    command = ["audit", str(parquet), "--output", str(tmp_path / "out"), "--votes", str(tmp_path / "no.csv")]
    assert "file of votes" in CliRunner().invoke(app, command).stderr
    rows = Dataset.from_dict({"tokens": [["a", "b"], ["c"]] * 4, "ner_tags": [["O", "B-X"], ["O"]] * 4})
    rows.to_parquet(str(tmp_path / "tags.parquet"))
    result = audited(tmp_path / "tags.parquet", tmp_path, by_number(()))
    assert "--votes are for rows with one label each" in result.stderr
