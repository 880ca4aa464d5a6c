import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from hf_noisy.purification.decisions import Decision, apply_decisions, read_decisions
from hf_noisy.purification.restore import restore_labels
from hf_noisy.purification.summary import summarise

HEADER = "row,label_given,label,decision\n"


def rows() -> Dataset:
    dataset = Dataset.from_dict({"text": list("abcde"), "label": [0, 1, 2, 0, 1]})
    return dataset.cast_column("label", ClassLabel(names=["cat", "dog", "bird"]))


def write(path, text):
    path.write_text(HEADER + text)
    return path


def test_what_the_page_writes_is_read(tmp_path):
    file = write(tmp_path / "decisions.csv", "0,0,1,relabel\n3,0,0,keep\n4,1,1,drop\n")
    assert read_decisions(file) == [Decision(0, 0, 1, "relabel"), Decision(3, 0, 0, "keep"), Decision(4, 1, 1, "drop")]


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    file = tmp_path / "decisions.csv"
    file.write_bytes(("\ufeff" + HEADER + "0,0,1,relabel\n").replace("\n", "\r\n").encode())
    assert read_decisions(file) == [Decision(0, 0, 1, "relabel")]


def test_relabelled_rows_can_be_restored():
    applied = apply_decisions(rows(), [Decision(2, 2, 0, "relabel"), Decision(3, 0, 0, "keep")])
    assert applied["label"][:] == [0, 1, 0, 0, 1]
    assert applied["label_changed"][:] == [False, False, True, False, False]
    assert set(applied["purifier"]) == {"decisions"}
    assert summarise(applied).changed == 1
    restored = restore_labels(applied)
    assert restored.features == rows().features
    assert restored[:] == rows()[:]


def test_only_the_decisions_change_labels():
    checked = rows().add_column("checked_label", [1, None, None, None, None])
    applied = apply_decisions(checked, [Decision(2, 2, 0, "relabel")])
    assert applied["label"][:] == [0, 1, 0, 0, 1]
    assert restore_labels(applied)[:] == checked[:]


def test_dropped_rows_stay_beside_and_can_be_restored():
    applied = apply_decisions(rows(), [Decision(1, 1, 1, "drop"), Decision(0, 0, 2, "relabel")])
    assert isinstance(applied, DatasetDict)
    assert applied["train"]["text"][:] == ["a", "c", "d", "e"]
    assert applied["train"]["label"][:] == [2, 2, 0, 1]
    assert applied["dropped"]["text"][:] == ["b"]
    assert restore_labels(applied)[:] == rows()[:]


def test_labels_alone_are_a_dataset_too():
    labels = rows().select_columns(["label"])
    assert apply_decisions(labels, [Decision(1, 1, 0, "relabel")])["label"][:] == [0, 0, 2, 0, 1]


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (Decision(5, 0, 1, "relabel"), "decisions name row 5, but the data has rows 0 to 4"),
        (Decision(0, 1, 2, "drop"), "expect the given class 1 in row 0, but the data has 0; pass the data"),
        (Decision(0, 0, 3, "relabel"), "decisions name class 3, but the classes are 0 to 2"),
    ],
)
def test_decisions_on_other_data_are_refused(decision, sentence):
    with pytest.raises(ValueError, match=sentence):
        apply_decisions(rows(), [decision])


def test_a_person_estimates_nothing():
    decisions = [Decision(2, 2, 0, "relabel"), Decision(1, 1, 1, "drop")]
    summary = summarise(apply_decisions(rows(), decisions))
    assert summary.estimated_precision is summary.estimated_noise_before is summary.estimated_noise_after is None
    clean = rows().add_column("clean_label", [0, 1, 0, 0, 1])
    assert summarise(apply_decisions(clean, decisions)).true_noise_after == 0


def test_some_row_must_be_left():
    with pytest.raises(ValueError, match="decisions drop every row"):
        apply_decisions(rows(), [Decision(row, label, label, "drop") for row, label in enumerate(rows()["label"])])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0,0,x,relabel\n", "line 2 of the decisions must hold whole numbers"),
        ("0,0\n", "line 2 of the decisions must hold whole numbers"),
        ("0,0,1,erase\n", "line 2 of the decisions must say relabel, drop, keep, got 'erase'"),
        ("0,0,1,keep\n0,0,1,drop\n", "decides row 0 more than once"),
    ],
)
def test_bad_lines_are_refused(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_decisions(write(tmp_path / "decisions.csv", text))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have the columns row, label_given, label, decision"):
        read_decisions(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match=r"file of decisions '.*' is missing; download it"):
        read_decisions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"row,label_given,label,decision\n0,1,0,relabel,now\n",
            "line 2 of the decisions must hold 4 values, got more",
        ),
        (b"row,label_given,label,decision\n0,1,0\n", "line 2 of the decisions must say relabel, drop, keep"),
        (b"row,label_given,label,decision\n0,1,\xff,keep\n", "is no CSV in UTF-8"),
        (b'row,label_given,label,decision\n0,1,0,"ke"ep\n', "is no CSV in UTF-8"),
    ],
)
def test_broken_lines_are_named(tmp_path, content, words):
    (tmp_path / "decisions.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_decisions(tmp_path / "decisions.csv")


def test_many_decisions_are_read_in_time_that_grows_with_them(tmp_path):
    lines = [f"{row},0,1,relabel" for row in range(50_000)]
    (tmp_path / "decisions.csv").write_text("\n".join(["row,label_given,label,decision", *lines]))
    assert len(read_decisions(tmp_path / "decisions.csv")) == 50_000
