import csv

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pil

from hf_noisy.data import checked
from hf_noisy.data.checked import CheckedRows, checked_rows, read_checked, write_checked
from hf_noisy.data.row_digest import row_digests
from hf_noisy.purification.policies import purify

NAMES = ["bad", "good", "so, so"]
TEXTS = [f"text {number}" for number in range(8)]
ROWS = Dataset.from_dict({"text": TEXTS, "label": [0, 1, 2, 0, 1, 2, 0, 1]}).cast_column(
    "label", ClassLabel(names=NAMES)
)
FOUND = CheckedRows(
    index=np.array([1, 4, 6]),
    labels=np.array([2, 1, 0]),
    strategy=["random", "random", "useful"],
    probability=np.array([0.25, 0.25, np.nan]),
    batch=np.array([0, 0, 1]),
    num_rows=8,
)


def same(one, other):
    """Equal but for the digests, which only a file gives."""
    np.testing.assert_equal(vars(one) | {"digests": ()}, vars(other) | {"digests": ()})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checked.csv"


def edited(path, old, new):
    write_checked(path, ROWS, FOUND)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_file_comes_back(path):
    write_checked(path, ROWS, FOUND)
    assert path.read_text().splitlines()[:2] == [
        "row,digest,checked_label,strategy,probability,batch",
        f'1,{row_digests(ROWS)[1]},"so, so",random,0.25,0',
    ]
    same(read_checked(path, ROWS), FOUND)
    same(checked_rows(ROWS, path), FOUND)
    same(checked_rows(ROWS, str(path)), FOUND)
    same(checked_rows(ROWS, FOUND), FOUND)
    assert checked_rows(ROWS, path).as_column().tolist() == [-1, 2, -1, -1, 1, -1, 0, -1]
    assert len(FOUND) == 3


@given(order=st.permutations(range(8)), more=st.integers(0, 3))
def test_checked_labels_follow_their_rows(tmp_path_factory, order, more):
    path = tmp_path_factory.mktemp("checked") / "checked.csv"
    write_checked(path, ROWS, FOUND)
    moved = ROWS.select([*order, *range(more)])  # some rows twice
    column = read_checked(path, moved).as_column()
    assert column[:8].tolist() == FOUND.as_column()[order].tolist()
    assert (column[8:] == -1).all()


def test_rows_of_equal_content_are_told_apart_by_their_place(path):
    twins = Dataset.from_dict({"text": ["same", "other", "same", "same"], "label": [0, 1, 0, 1]})
    found = checked_rows(twins, [-1, -1, 1, 0])
    write_checked(path, twins, found)
    assert read_checked(path, twins).as_column().tolist() == [-1, -1, 1, 0]
    moved = twins.select([1, 0, 2, 3])
    assert read_checked(path, moved).as_column().tolist() == [-1, -1, 1, 0]
    # Neither stands where it was: both labels are kept, one for each row of that content.
    shifted = twins.select([0, 2, 1])
    assert read_checked(path, shifted).as_column().tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match=r"another checked label for row 1 than line 2"):
        read_checked(path, twins.select([1, 0]))


def test_images_are_found(path, tmp_path):
    images = [pil.fromarray(np.full((4, 4, 3), 40 * number, np.uint8)) for number in range(3)]
    rows = Dataset.from_dict({"image": images, "label": [0, 1, 0]}).cast_column("image", Image())
    write_checked(path, rows, checked_rows(rows, [None, 0, None]))
    assert read_checked(path, rows.select([2, 1])).as_column().tolist() == [-1, 0]


def test_the_same_line_twice_is_one_row(path):
    write_checked(path, ROWS, FOUND)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    same(read_checked(path, ROWS), FOUND)


def test_lines_that_are_not_filled_in_and_further_columns_do_not_matter(path):
    digests = row_digests(ROWS)
    path.write_text(f"digest,text,checked_label\n{digests[3]},text 3,good\n{digests[2]},text 2, \n{digests[5]},,\n")
    found = read_checked(path, ROWS)
    assert found.as_column().tolist() == [-1, -1, -1, 1, -1, -1, -1, -1]
    assert (found.strategy, found.batch.tolist(), np.isnan(found.probability).all()) == (["unknown"], [0], True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("good", "great", r"line 3 of '.*checked.csv' has 'great', which is not among the classes bad, good, so, so"),
        (row_digests(ROWS)[4], "d00", r"line 3 of '.*' names a row \(digest 'd00'\) that is not in the data"),
        (row_digests(ROWS)[4], "", r"line 3 of '.*' names a row \(digest ''\)"),
        ("4,", "x,", "line 3 of .* must hold numbers in row, probability and batch"),
        ("0.25", "2", r"line 2 of .* must hold a probability in \(0, 1\]"),
        ("digest", "key", "must have a column 'digest', got row, key"),
        ("checked_label", "label", "must have a column 'checked_label'"),
        ("bad", '"bad"x', "is no CSV, and no JSON"),
    ],
)
def test_a_wrong_file_is_refused(path, old, new, message):
    with pytest.raises(ValueError, match=message):
        read_checked(edited(path, old, new), ROWS)


def test_two_checked_labels_of_one_row_are_refused(path):
    write_checked(path, ROWS, FOUND)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[2].replace("good", "bad")]))
    for rows in (ROWS, ROWS.select([4, 1, 6, 4])):
        with pytest.raises(ValueError, match=r"line 5 of '.*' has another checked label for row \d than line 3"):
            read_checked(path, rows)


def test_files_without_checked_rows_are_refused(path):
    with pytest.raises(FileNotFoundError, match="is missing"):
        checked_rows(ROWS, path)
    path.write_text("row,digest,checked_label,strategy,probability,batch\n0,d1,,random,0.5,0\n")
    with pytest.raises(ValueError, match=r"no line of '.*' has a checked label"):
        checked_rows(ROWS, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must have a column 'digest', got none"):
        checked_rows(ROWS, path)
    path.write_text("")
    with pytest.raises(ValueError, match="must have a column 'digest', got none"):
        checked_rows(ROWS, path)


@pytest.mark.parametrize(
    "column",
    [
        [None, 2, None, None, 1, None, 0, None],
        [-1, 2, -1, -1, 1, -1, 0, -1],
        [np.nan, 2.0, np.nan, np.nan, 1.0, np.nan, 0.0, np.nan],
        [None, "so, so", None, "", "good", None, "bad", None],
    ],
)
def test_columns_and_arrays_are_read_alike(column):
    expected = FOUND.as_column().tolist()
    assert checked_rows(ROWS, column).as_column().tolist() == expected
    assert checked_rows(ROWS.add_column("checked_label", column)).as_column().tolist() == expected
    found = checked_rows(ROWS, np.array(FOUND.as_column()))
    assert found.as_column().tolist() == expected
    assert found.strategy == ["unknown"] * 3


def test_the_classes_of_a_column_are_known_by_their_names():
    feature = ClassLabel(names=["so, so", "good", "bad"])
    rows = ROWS.add_column("checked_label", [None, 0, None, None, 1, None, 2, None], feature=feature)
    assert checked_rows(rows).as_column().tolist() == FOUND.as_column().tolist()


def test_without_names_the_classes_are_those_of_the_given_labels():
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 2]})
    assert checked_rows(rows, [1, -1]).as_column().tolist() == [1, -1]
    assert checked_rows(rows.with_transform(lambda batch: batch), [1, -1]).as_column().tolist() == [1, -1]
    with pytest.raises(ValueError, match="checked has 3 in row 1, which is not among the classes 0, 1, 2"):
        checked_rows(rows, [1, 3])


def test_nothing_checked_is_none():
    assert checked_rows(ROWS) is None
    assert checked_rows([{"text": "a"}]) is None
    assert checked_rows(ROWS.add_column("checked_label", [None] * 8)) is None
    assert checked_rows(ROWS.add_column("checked_label", [1] * 8), [-1] * 8) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1] * 7 + [3], "checked has 3 in row 7, which is not among the classes bad, good, so, so"),
        ([-1] * 7 + [0.5], "checked has 0.5 in row 7"),
        ([-1] * 7 + [np.inf], "checked has inf in row 7"),
        ([-2] * 8, "checked has -2 in row 0"),
        ([True] * 8, "checked has True in row 0"),
        (np.ones(8, bool), "checked has .*True.* in row 0"),
        ([None] * 7 + ["fair"], "checked has 'fair' in row 7"),
        ([-1] * 7, "a class or -1 for each of the 8 rows, got 7"),
        (CheckedRows(FOUND.index, FOUND.labels, FOUND.strategy, FOUND.probability, FOUND.batch, 9), "those of 9 rows"),
    ],
)
def test_wrong_checked_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        checked_rows(ROWS, labels)


def test_wrong_columns_are_refused():
    with pytest.raises(ValueError, match="column 'checked_label' has 'fair' in row 2"):
        checked_rows(ROWS.add_column("checked_label", [None, "bad", "fair", *[None] * 5]))
    with pytest.raises(ValueError, match="need the classes of the given labels"):
        checked_rows(Dataset.from_dict({"text": ["a"], "label": ["good"]}), [1])


def test_soft_labels_have_classes_too():
    soft = Dataset.from_dict({"text": ["a", "b"], "label": [[0.5, 0.5], [1.0, 0.0]]})
    assert checked_rows(soft, [1, -1]).labels.tolist() == [1]
    with pytest.raises(ValueError, match="checked has 2 in row 0, which is not among the classes 0, 1"):
        checked_rows(soft, [2, -1])
    rows = ROWS.add_column("checked_label", [None, "so, so", *[None] * 6])
    purified = purify(rows, np.full((8, 3), 1 / 3, np.float32), "soft")
    assert checked_rows(purified).labels.tolist() == [2]


def test_rows_in_their_place_are_found_without_reading_the_others(path, monkeypatch):
    write_checked(path, ROWS, FOUND)
    seen = []
    monkeypatch.setattr(checked, "row_digests", lambda rows: seen.append(len(rows)) or row_digests(rows))
    same(read_checked(path, ROWS), FOUND)
    assert seen == [3]
    read_checked(path, ROWS.select(range(7, -1, -1)))
    assert seen == [3, 3, 8]


def test_rows_of_another_dataset_are_not_written(path):
    with pytest.raises(ValueError, match="those of 8 rows, but the dataset has 2"):
        write_checked(path, ROWS.select([0, 1]), FOUND)


def test_rows_that_were_moved_since_are_refused(path):
    write_checked(path, ROWS, FOUND)
    found = read_checked(path, ROWS)
    same(checked_rows(ROWS, found), FOUND)
    with pytest.raises(ValueError, match="is not the row that was checked there"):
        checked_rows(ROWS.select(range(7, -1, -1)), found)


def test_checked_rows_of_purified_data_are_no_random_sample(path):
    write_checked(path, ROWS, FOUND)
    purified = ROWS.add_column("label_given", ROWS["label"][:], feature=ROWS.features["label"])
    assert set(checked_rows(purified, path).strategy) == {"labels of purified data"}


def test_whole_numbers_saved_as_floats_are_read(path):
    write_checked(path, ROWS, FOUND)
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, first.replace("1,", "1.0,", 1), *rest]))
    same(read_checked(path, ROWS), FOUND)
    cells = list(csv.reader(path.read_text().splitlines()))
    with path.open("w", newline="", encoding="cp1252") as file:  # as Excel saves it
        csv.writer(file, delimiter=";").writerows(cells)
    same(read_checked(path, ROWS), FOUND)


def test_decisions_of_a_report_are_refused(path):
    path.write_text(f"row,digest,label_given,label,decision\n1,{row_digests(ROWS)[1]},good,bad,relabel\n")
    with pytest.raises(ValueError, match=r"decisions on rows that look wrong, .* apply them with hf-noisy apply"):
        read_checked(path, ROWS)
