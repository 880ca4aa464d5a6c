import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy.data.checked_list_file import rows_to_check_csv
from hf_noisy.data.checked_lists import checked_lists, with_checked_lists
from hf_noisy.data.decision_lines import COLUMNS
from hf_noisy.data.labelled_rows import labelled_rows
from hf_noisy.data.row_digest import row_digests

TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
SENTENCES = [["Anna", "Lee", "ran"], ["to", "[Oslo"], ["-", "x"]]


def tokens(names=TAGS, labels=((1, 2, 0), (0, 3), (0, 0))):
    features = {"tokens": List(Value("string")), "label": List(ClassLabel(names=names))}
    return Dataset.from_dict({"tokens": SENTENCES, "label": list(labels)}, Features(features))


def sets(names=("animal", "weather"), labels=((0,), (), (0, 1))):
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=list(names)))})
    return Dataset.from_dict({"text": ["=a", "b", "c"], "label": list(labels)}, features)


def values(found):
    return [one.tolist() for one in found.values]


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
    assert values(found) == [[3, 0, 0], [0, 0]]
    assert len(found.random()) == 2
    assert with_checked_lists(tokens(), found)["checked_labels"][:] == [[3, 0, 0], [0, 0], None]


def test_rows_that_were_checked_earlier_stay(tmp_path):
    found = checked_lists(sets(), filled(tmp_path / "c.csv", sets(), {0: {"animal": "weather"}}, (0,)))
    (tmp_path / "d.csv").write_text(rows_to_check_csv(sets(), [2], found))
    again = checked_lists(sets(), tmp_path / "d.csv")
    assert (again.index.tolist(), values(again), len(again.random())) == ([0], [[0, 1]], 1)
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 3


def test_rows_that_moved_are_found(tmp_path):
    path = filled(tmp_path / "c.csv", tokens(), {}, (0,))
    assert checked_lists(tokens().select([2, 1, 0]), path).index.tolist() == [2]


def test_tags_without_spans_stand_one_for_each_word(tmp_path):
    rows = tokens(["NOUN", "VERB"], [[0, 0, 1], [0, -1], [0, 0]])
    found = checked_lists(rows, filled(tmp_path / "c.csv", rows, {0: {"NOUN NOUN VERB": "NOUN VERB VERB"}}))
    assert values(found) == [[0, 1, 1], [0, -1], [0, 0]]


@pytest.mark.parametrize("names", [("animal", "weather"), ("a;b", "c"), ("[a]", "[b"), (" a", "c")])
def test_an_empty_set_that_was_looked_at_is_a_label(tmp_path, names):
    rows = sets(names)
    found = checked_lists(rows, filled(tmp_path / "c.csv", rows, {}))
    assert values(found) == [[1, 0], [0, 0], [1, 1]]


def test_a_column_of_checked_lists():
    features = Features(
        {"text": Value("string"), "label": List(ClassLabel(names=["x", "y"])), "checked_label": List(Value("string"))}
    )
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [[0], [1]], "checked_label": [None, ["y", "x"]]}, features)
    found = checked_lists(rows)
    assert (found.index.tolist(), values(found), found.random()) == ([1], [[1, 1]], None)
    marked = with_checked_lists(rows, found)
    assert marked["checked_labels"][:] == [None, [1, 1]]
    assert "checked_label" not in marked.column_names
    assert checked_lists(sets()) is None


@pytest.mark.parametrize("missing", [-1, -100, None])
def test_a_checked_tag_that_is_missing_is_no_class(missing):
    rows = tokens()
    for feature in (rows.features["label"], List(Value("int64"))):
        checked = rows.add_column("checked_label", [None, [missing, 0], None], feature=feature)
        assert values(checked_lists(checked)) == [[-1, 0]]


def test_true_and_false_are_no_classes():
    checked = sets().add_column("checked_label", [None, [True], None], feature=List(Value("bool")))
    with pytest.raises(ValueError, match="column 'checked_label' in row 1 has 'True', which is not among the classes"):
        checked_lists(checked)


@pytest.mark.parametrize("mark", ["only 1 3", "only 1, 3", "Only 1;3 "])
def test_single_words_that_were_checked(tmp_path, mark):
    text = rows_to_check_csv(tokens(), [0])
    (tmp_path / "c.csv").write_text(text.replace(",,random", f',"{mark}",random'))
    found = checked_lists(tokens(), tmp_path / "c.csv")
    assert (values(found), found.random()) == ([[1, -1, 0]], None)


@pytest.mark.parametrize(
    ("mark", "message"),
    [("only", "put numbers after only"), ("only 1 x", "put numbers after only"), (" ", "no row of .* is checked")],
)
def test_a_mark_that_says_nothing_is_refused(tmp_path, mark, message):
    text = rows_to_check_csv(tokens(), [0])
    (tmp_path / "c.csv").write_text(text.replace(",,random", f",{mark},random"))
    with pytest.raises(ValueError, match=message):
        checked_lists(tokens(), tmp_path / "c.csv")


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
    with pytest.raises(ValueError, match=r"line 2 of .* has 2 checked tags for 3 words"):
        checked_lists(rows, path)


def decisions(path, rows, lines):
    """`decisions.csv` of a report: row, place in the row, given, new, decision."""
    digests = row_digests(rows)
    listed = [",".join(COLUMNS)]
    for row, place, given, new, decision in lines:
        listed.append(f"{row},{digests[row]}:{place},{given},{new},{decision}")
    path.write_text("\n".join(listed))
    return path


def test_decisions_on_spans_check_their_words_alone(tmp_path):
    lines = [(0, "0-2", "B-PER I-PER", "B-LOC O", "relabel"), (1, "1-2", "B-LOC", "B-LOC", "keep")]
    found = checked_lists(tokens(), decisions(tmp_path / "d.csv", tokens(), lines))
    assert (found.index.tolist(), values(found), found.random()) == ([0, 1], [[3, 0, -1], [-1, 3]], None)
    assert with_checked_lists(tokens(), found)["checked_labels"][:] == [[3, 0, -100], [-100, 3], None]


def test_decisions_on_cells_check_their_classes_alone(tmp_path):
    rows = sets(labels=(None, (), (0, 1)))  # numbers in the report are those of the rows with a label
    lines = [(1, 1, "not weather", "weather", "relabel"), (2, 0, "animal", "animal", "keep")]
    found = checked_lists(rows, decisions(tmp_path / "d.csv", rows, lines))
    assert (found.index.tolist(), values(found)) == ([1, 2], [[-1, 1], [1, -1]])
    assert with_checked_lists(rows, found)["checked_labels"][:] == [None, [-100, 1], [1, -100]]


@pytest.mark.parametrize("kind", ["tokens", "sets"])
def test_single_labels_that_were_checked_stay_in_the_file_of_the_next_rows(kind, tmp_path):
    rows = tokens() if kind == "tokens" else sets()
    line = (0, "0-1", "B-PER", "O", "relabel") if kind == "tokens" else (0, 1, "not weather", "weather", "relabel")
    found = checked_lists(rows, decisions(tmp_path / "d.csv", rows, [line]))
    (tmp_path / "c.csv").write_text(rows_to_check_csv(rows, [2], found))
    again = checked_lists(rows, tmp_path / "c.csv")
    assert (again.index.tolist(), values(again), again.random()) == ([0], values(found), None)
    # Drawn at random later: it counts as random once it is checked as a whole.
    text = rows_to_check_csv(rows, [0], found)
    assert len(text.splitlines()) == 2
    (tmp_path / "c.csv").write_text(text)
    assert checked_lists(rows, tmp_path / "c.csv").random() is None
    (tmp_path / "c.csv").write_text(text.replace("only 1", "x").replace("only 2", "x"))
    whole = checked_lists(rows, tmp_path / "c.csv")
    assert (len(whole.random()), (whole.values[0] >= 0).all()) == (1, True)


def test_a_number_beyond_the_labels_and_no_decision_are_refused(tmp_path):
    path = filled(tmp_path / "c.csv", sets(), {}, (0,))
    path.write_text(path.read_text().replace(",x,", ",only 1 3,"))
    with pytest.raises(ValueError, match=r"line 2 of .* has 'only 1 3', but the row has 2 labels"):
        checked_lists(sets(), path)
    with pytest.raises(ValueError, match="has no decision"):
        checked_lists(sets(), decisions(tmp_path / "d.csv", sets(), []))
