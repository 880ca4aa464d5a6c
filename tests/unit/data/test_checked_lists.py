import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy.data.checked_lists import checked_lists, rows_to_check_csv, with_checked_lists
from hf_noisy.data.labelled_rows import labelled_rows

TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
SENTENCES = [["Anna", "Lee", "ran"], ["to", "[Oslo"], ["-", "x"]]


def tokens(names=TAGS, labels=((1, 2, 0), (0, 3), (0, 0))):
    features = {"tokens": List(Value("string")), "label": List(ClassLabel(names=names))}
    return Dataset.from_dict({"tokens": SENTENCES, "label": list(labels)}, Features(features))


def sets(names=("animal", "weather"), labels=((0,), (), (0, 1))):
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=list(names)))})
    return Dataset.from_dict({"text": ["=a", "b", "c"], "label": list(labels)}, features)


def filled(path, rows, changes, mark=(0, 1, 2)):
    """The file of the rows, with cells replaced and some rows marked as looked at."""
    lines = rows_to_check_csv(rows, [0, 1, 2]).splitlines()
    done = [lines[0]]
    for number, line in enumerate(lines[1:]):
        for before, after in changes.get(number, {}).items():
            head, middle, tail = line.rpartition(before)  # the last one: that of `checked_label`
            line = f"{head}{after}{tail}" if middle else line
        done.append(line.replace(",,random", ",x,random") if number in mark else line)
    path.write_text("\n".join(done))
    return path


def test_marked_entities_are_corrected_and_read(tmp_path):
    changes = {0: {"[Anna Lee](PER)": "[Anna](LOC) Lee"}, 1: {"[[Oslo](LOC)": "[Oslo"}}
    found = checked_lists(tokens(), filled(tmp_path / "c.csv", tokens(), changes, (0, 1)))
    assert found.index.tolist() == [0, 1]
    assert found.labels == [[3, 0, 0], [0, 0]]
    assert found.is_random
    checked = with_checked_lists(tokens(), found)
    assert checked["checked_label"][:] == [[3, 0, 0], [0, 0], None]
    assert checked_lists(checked).labels == found.labels


def test_rows_that_were_checked_earlier_stay(tmp_path):
    found = checked_lists(sets(), filled(tmp_path / "c.csv", sets(), {0: {"animal": "weather"}}, (0,)))
    (tmp_path / "d.csv").write_text(rows_to_check_csv(sets(), [2], found))
    again = checked_lists(sets(), tmp_path / "d.csv")
    assert (again.index.tolist(), again.labels, again.is_random) == ([0], [[1]], True)
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 3


def test_rows_that_moved_are_found(tmp_path):
    path = filled(tmp_path / "c.csv", tokens(), {}, (0,))
    assert checked_lists(tokens().select([2, 1, 0]), path).index.tolist() == [2]


def test_tags_without_spans_stand_one_for_each_word(tmp_path):
    rows = tokens(["NOUN", "VERB"], [[0, 0, 1], [0, -1], [0, 0]])
    found = checked_lists(rows, filled(tmp_path / "c.csv", rows, {0: {"NOUN NOUN VERB": "NOUN VERB VERB"}}))
    assert found.labels == [[0, 1, 1], [0, -1], [0, 0]]


@pytest.mark.parametrize("names", [("animal", "weather"), ("a;b", "c")])
def test_an_empty_set_that_was_looked_at_is_a_label(tmp_path, names):
    rows = sets(names)
    found = checked_lists(rows, filled(tmp_path / "c.csv", rows, {}))
    assert found.labels == [[0], [], [0, 1]]


def test_a_column_of_checked_lists():
    features = Features(
        {"text": Value("string"), "label": List(ClassLabel(names=["x", "y"])), "checked_label": List(Value("string"))}
    )
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [[0], [1]], "checked_label": [None, ["y", "x"]]}, features)
    found = checked_lists(rows)
    assert (found.index.tolist(), found.labels, found.is_random) == ([1], [[0, 1]], False)
    assert with_checked_lists(rows, found)["checked_label"][:] == [None, [0, 1]]
    assert checked_lists(sets()) is None


def test_positions_among_the_labelled_rows(tmp_path):
    rows = sets(labels=((0,), None, (0, 1)))
    path = tmp_path / "c.csv"
    path.write_text(rows_to_check_csv(rows, [0, 2]).replace(",,random", ",x,random"))
    among = checked_lists(rows, path).among(labelled_rows(rows))
    assert among.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "mark", "message"),
    [
        (
            {0: {"[Anna Lee](PER)": "[Anna Lee](ORG)"}},
            (0,),
            "line 2 of .* has 'B-ORG', which is not among",
        ),
        ({0: {" ran,,": " runs,,"}}, (0,), "has 'runs' where the word 'ran' is expected"),
        ({0: {"](PER)": ""}}, (0,), "where the sentence or an entity does not end"),
        ({}, (), "no row of .* is checked"),
    ],
)
def test_a_fault_is_one_sentence(tmp_path, changes, mark, message):
    with pytest.raises(ValueError, match=message):
        checked_lists(tokens(), filled(tmp_path / "c.csv", tokens(), changes, mark))


def test_a_row_that_is_not_there_or_checked_twice_is_refused(tmp_path):
    path = filled(tmp_path / "c.csv", sets(), {}, (0,))
    with pytest.raises(ValueError, match="that is not in the data"):
        checked_lists(sets().select([1, 2]), path)
    line = path.read_text().splitlines()[1]
    path.write_text(path.read_text() + "\n" + line.replace(",animal,x", ",weather,x"))
    with pytest.raises(ValueError, match="other checked labels for row 0"):
        checked_lists(sets(), path)


def test_tags_that_are_too_few_are_refused(tmp_path):
    rows = tokens(["NOUN", "VERB"], [[0, 0, 1], [0, 0], [0, 0]])
    path = filled(tmp_path / "c.csv", rows, {0: {"NOUN NOUN VERB": "NOUN VERB"}}, (0,))
    with pytest.raises(ValueError, match="2 checked tags for the 3 words of row 0"):
        checked_lists(rows, path)
