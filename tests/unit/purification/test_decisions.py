import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from hf_noisy.data.decision_lines import Decision, read_decisions
from hf_noisy.data.row_digest import row_digests
from hf_noisy.purification.decisions import apply_decisions
from hf_noisy.purification.policies import purify
from hf_noisy.purification.restore import restore_labels
from hf_noisy.purification.summary import summarise

HEADER = "row,digest,label_given,label,decision\n"
NAMES = ["cat", "dog", "a bird, big"]


def rows(texts="abcde", labels=(0, 1, 2, 0, 1)) -> Dataset:
    dataset = Dataset.from_dict({"text": list(texts), "label": list(labels)})
    return dataset.cast_column("label", ClassLabel(names=NAMES))


def decide(dataset: Dataset, row: int, label: int, decision: str = "relabel") -> Decision:
    """The decision that the page of this data would write."""
    digest = row_digests(dataset.select([row]))[0]
    return Decision(row, digest, NAMES[dataset["label"][row]], NAMES[label], decision)


def write(path, text):
    path.write_text(HEADER + text)
    return path


def test_what_the_page_writes_is_read(tmp_path):
    file = write(tmp_path / "decisions.csv", '0,d1,cat,"a bird, big",relabel\n3,d2,cat,cat,keep\n4,d3,dog,dog,drop\n')
    assert read_decisions(file) == [
        Decision(0, "d1", "cat", "a bird, big", "relabel"),
        Decision(3, "d2", "cat", "cat", "keep"),
        Decision(4, "d3", "dog", "dog", "drop"),
    ]


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    file = tmp_path / "decisions.csv"
    file.write_bytes(("\ufeff" + HEADER + "0,d1,cat,dog,relabel\n").replace("\n", "\r\n").encode())
    assert read_decisions(file) == [Decision(0, "d1", "cat", "dog", "relabel")]


def test_relabelled_rows_can_be_restored():
    applied = apply_decisions(rows(), [decide(rows(), 2, 0), decide(rows(), 3, 0, "keep")])
    assert applied["label"][:] == [0, 1, 0, 0, 1]
    assert applied["label_changed"][:] == [False, False, True, False, False]
    assert set(applied["purifier"]) == {"decisions"}
    assert summarise(applied).changed == 1
    restored = restore_labels(applied)
    assert restored.features == rows().features
    assert restored[:] == rows()[:]


def test_only_the_decisions_change_labels():
    checked = rows().add_column("checked_label", [1, None, None, None, None])
    applied = apply_decisions(checked, [decide(rows(), 2, 0)])
    assert applied["label"][:] == [0, 1, 0, 0, 1]
    assert restore_labels(applied)[:] == checked[:]


def test_dropped_rows_stay_beside_and_can_be_restored():
    applied = apply_decisions(rows(), [decide(rows(), 1, 1, "drop"), decide(rows(), 0, 2)])
    assert isinstance(applied, DatasetDict)
    assert applied["train"]["text"][:] == ["a", "c", "d", "e"]
    assert applied["train"]["label"][:] == [2, 2, 0, 1]
    assert applied["dropped"]["text"][:] == ["b"]
    assert restore_labels(applied)[:] == rows()[:]


def test_labels_alone_can_be_purified():
    purified = purify(rows().select_columns(["label"]), np.eye(3, dtype=np.float32)[[0, 0, 2, 0, 1]])
    assert purified["label"][:] == [0, 0, 2, 0, 1]


@pytest.mark.parametrize("order", [[4, 1, 2, 3, 0], [1, 2, 3, 4], [3, 0, 4]], ids=["swapped", "deleted", "shuffled"])
def test_rows_are_found_wherever_they_are_now(order):
    applied = apply_decisions(rows().select(order), [decide(rows(), 3, 2), decide(rows(), 4, 0)])
    expected = [{"d": 2, "e": 0}.get(text, label) for text, label in zip("abcde", rows()["label"], strict=True)]
    assert applied["label"][:] == [expected[row] for row in order]


def test_classes_are_known_by_name():
    other = Dataset.from_dict({"text": list("abcde"), "label": [1, 2, 0, 1, 2]})
    other = other.cast_column("label", ClassLabel(names=["a bird, big", "cat", "dog"]))
    assert apply_decisions(other, [decide(rows(), 0, 2)])["label"][0] == 0


def test_all_faults_are_named_at_once():
    decisions = [
        decide(rows(), 0, 1),  # deleted
        decide(rows("abcde", [0, 0, 2, 0, 1]), 1, 2),  # was a cat
        Decision(2, row_digests(rows())[2], NAMES[2], "fish", "relabel"),
        decide(rows(), 3, 1),
    ]
    with pytest.raises(ValueError, match="3 of 4 decisions cannot be applied") as caught:
        apply_decisions(rows().select(range(1, 5)), decisions)
    message = str(caught.value)
    assert message.startswith("3 of 4 decisions cannot be applied: row 0 (digest d")
    assert "is not in the data; row 1 had the label 'cat', but now has 'dog'; " in message
    assert "row 2 names class 'fish', but the classes are cat, dog, a bird, big" in message


TWINS = rows("aabca", [0, 0, 1, 2, 1])


def test_identical_rows_stay_where_they_were_or_are_decided_alike():
    one = [decide(TWINS, 0, 1)]
    assert apply_decisions(TWINS, one)["label"][:] == [1, 0, 1, 2, 1]  # the given label tells row 4 apart
    both = [*one, decide(TWINS, 1, 1)]
    moved = TWINS.select([3, 2, 1, 0])
    assert apply_decisions(moved, both)["label"][:] == [2, 1, 1, 1]
    assert apply_decisions(TWINS.select([3, 2, 4, 0]), both)["label"][:] == [2, 1, 1, 1]  # one copy was deleted
    with pytest.raises(ValueError, match=r"row 0 has 2 identical copies \(rows 2, 3\), not all decided alike"):
        apply_decisions(moved, one)
    differently = [*one, decide(TWINS, 1, 0, "drop")]
    assert apply_decisions(TWINS, differently)["train"]["label"][:] == [1, 1, 2, 1]
    with pytest.raises(ValueError, match="2 of 2 decisions cannot be applied"):
        apply_decisions(moved, differently)


def test_rows_of_a_part_have_the_numbers_of_the_whole():
    whole = concatenate_datasets([rows("x", [0]), TWINS])
    decisions = [decide(whole, 1, 1)]
    applied = apply_decisions(TWINS, decisions, positions=range(1, 6))
    assert applied["label"][:] == [1, 0, 1, 2, 1]


def test_a_person_estimates_nothing():
    decisions = [decide(rows(), 2, 0), decide(rows(), 1, 1, "drop")]
    summary = summarise(apply_decisions(rows(), decisions))
    assert summary.estimated_precision is summary.estimated_noise_before is summary.estimated_noise_after is None
    clean = rows().add_column("clean_label", [0, 1, 0, 0, 1])
    assert summarise(apply_decisions(clean, decisions)).true_noise_after == 0


def test_some_row_must_be_left():
    with pytest.raises(ValueError, match="decisions drop every row"):
        apply_decisions(rows(), [decide(rows(), row, label, "drop") for row, label in enumerate(rows()["label"])])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x,d1,cat,dog,relabel\n", r"line 2 of the decisions '.*' must begin with a row number, got 'x'"),
        (b"0,d1\n", r"line 2 of the decisions '.*' must hold 5 values"),
        (b"0,d1,cat,dog,relabel,now\n", r"line 2 of the decisions '.*' must hold 5 values"),
        (b"0,d1,cat,dog,erase\n", r"line 2 of the decisions '.*' must say relabel, drop, keep, got 'erase'"),
        (b"0,d1,cat,cat,keep\n0,d1,cat,dog,drop\n", "decides row 0 more than once"),
        (b'0,d1,cat,cat,"ke"ep\n', "is no CSV \\("),
    ],
)
def test_bad_lines_are_refused(tmp_path, content, sentence):
    (tmp_path / "decisions.csv").write_bytes(HEADER.encode() + content)
    with pytest.raises(ValueError, match=sentence):
        read_decisions(tmp_path / "decisions.csv")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_a_file_that_excel_saved_is_read(tmp_path, encoding):
    text = f"{HEADER}0,d1,Küche,Straße,relabel\n".replace(",", ";").replace("\n", "\r\n")
    (tmp_path / "decisions.csv").write_bytes(text.encode(encoding))
    assert read_decisions(tmp_path / "decisions.csv") == [Decision(0, "d1", "Küche", "Straße", "relabel")]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("row,label_given,label,decision\n1,0,1,drop\n")
    with pytest.raises(
        ValueError, match="must have the columns row, digest, label_given, label, decision, got row, l"
    ):
        read_decisions(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match=r"file of decisions '.*' is missing; download it"):
        read_decisions(tmp_path / "none.csv")


def test_many_decisions_are_read_in_time_that_grows_with_them(tmp_path):
    lines = [f"{row},d{row},cat,dog,relabel" for row in range(50_000)]
    (tmp_path / "decisions.csv").write_text(HEADER + "\n".join(lines))
    assert len(read_decisions(tmp_path / "decisions.csv")) == 50_000


def test_names_that_a_spreadsheet_would_compute_are_read_back(tmp_path):
    file = write(tmp_path / "decisions.csv", "0,d1,'=1+1,'@b,relabel\n1,d2,-1,''=x,relabel\n")
    assert read_decisions(file) == [
        Decision(0, "d1", "=1+1", "@b", "relabel"),
        Decision(1, "d2", "-1", "'=x", "relabel"),
    ]
