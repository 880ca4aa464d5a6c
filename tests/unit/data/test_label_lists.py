"""Tags of tokens and sets of classes: every form in which files hold them, and files with faults."""

import json
import re

import datasets
import pytest
from datasets import ClassLabel, Dataset, List, Value

from hf_noisy.data import load_noisy_dataset
from hf_noisy.data.flat_labels import flat_tags, label_sets, task_of_labels
from hf_noisy.data.tags import Span, has_spans, sorted_tags, spans_of, strays, tags_of_spans

BIO = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
CONLL = (
    "-DOCSTART- -X- O O\n\n# id = 1\nAnna NNP x B-PER\nSmith NNP x I-PER\nran VBD x O\n\nto TO x O\nOslo NNP x B-LOC\n"
)


@pytest.fixture
def read(tmp_path):
    def reader(content, file="a.conll", **options):
        path = tmp_path / file
        if isinstance(content, Dataset):
            content.to_parquet(path)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return load_noisy_dataset(str(path), **options)["train"]

    return reader


def named(rows, column="label"):
    names = rows.features[column].feature.names
    return [None if one is None else [names[tag] if tag >= 0 else None for tag in one] for one in rows[column]]


def test_a_conll_file(read, caplog):
    rows = read(CONLL)
    assert rows["tokens"][:] == [["Anna", "Smith", "ran"], ["to", "Oslo"]]
    assert named(rows) == [["B-PER", "I-PER", "O"], ["O", "B-LOC"]]
    assert rows.features["label"] == List(ClassLabel(names=["O", "B-LOC", "B-PER", "I-PER"]))
    assert rows["2"][:] == [["NNP", "NNP", "VBD"], ["TO", "NNP"]]
    assert "1 comment lines and 1 lines -DOCSTART-" in caplog.text
    assert task_of_labels(rows) == "tokens"


def test_columns_of_a_conll_file_are_named_by_their_numbers(read):
    rows = read("B-X\tAnna\tO\nO\tran\tO\n", label_column="1", text_column="2", clean_column="3")
    assert rows["tokens"][:] == [["Anna", "ran"]]
    assert (named(rows), named(rows, "clean_label")) == ([["B-X", "O"]], [["O", "O"]])


@pytest.mark.parametrize("file", ["a.txt", "a.tsv", "a.csv", "A.CONLL", "a.bio", "a.iob2"])
def test_endings_of_conll_files(read, file):
    options = {} if file.lower().endswith(("conll", "bio", "iob2")) else {"task": "tokens"}
    assert named(read("a O\nb B-X\n\n\n \nc O", file, **options)) == [["O", "B-X"], ["O"]]


def test_tokens_that_are_easily_misread(read):
    # A hash as the first word; a line separator and a no-break space within words; quotes; Windows line ends.
    text = '#\tO\r\n#tag\tB-X\r\n\r\na\u2028b\tO\r\n\u00a0\tO\r\n"\tO\r\nNew York\tB-X\r\n'
    rows = read(text)
    assert rows["tokens"][:] == [["#", "#tag"], ["a\u2028b", "\u00a0", '"', "New York"]]
    assert named(rows)[0] == ["O", "B-X"]


def test_comments_with_as_many_columns_are_none_of_the_tags(read, caplog):
    assert read("# section one\na x O\nb x B-X\n").num_rows == 1
    assert "1 comment lines" in caplog.text


FAULTS = {
    "two widths": ("a O\nb\nc O\n", {}, "line 2 of '.*': 1 columns, where other lines have 2"),
    "one column": ("a\nb\n", {}, "no CoNLL file"),
    "no token": ("a\tO\n\tO\n", {}, "line 2 of '.*': no token"),
    "only documents": ("-DOCSTART- O\n\n-DOCSTART- O\n", {}, "holds no sentences"),
    "outside the scheme": ("a B-X\nb O\n\nc B_Y\n", {}, "line 4 of '.*': 'B_Y' is outside the scheme"),
    "no such column": ("a O\n", {"label_column": "3"}, "label_column must be the number of a column of '.*', 1 to 2"),
    "the same column": ("a O\n", {"clean_column": "1", "text_column": "1"}, "must be different columns"),
    "control characters": ("a B-\x1b[2J\nb O\n", {}, "line 1 of '.*': labels hold control characters"),
    "damaged": ("a O\n\x00 O", {}, "null character"),
    "more tags": ([{"tokens": ["a"], "label": ["O", "O"]}], {}, "line 1 .* 2 tags for 1 tokens"),
    "a missing word": ([{"tokens": ["a", None], "label": ["O", "B-X"]}], {}, "a word is missing"),
    "a string of words": ([{"tokens": "a b", "label": ["O", "O"]}], {"task": "tokens"}, "column 'tokens' is string"),
    "one tag": ([{"tokens": ["a"], "label": "O"}], {"task": "tokens"}, "column 'label' is string"),
    "no name": ([{"text": "a", "label": ["x", ""]}], {}, "line 1 .* a class without a name"),
    "neither": ([{"text": "a", "label": "x"}], {"task": "multi-label"}, "label_separator= .* label_columns="),
    "a number beside names": ([{"text": "a", "label": ["x", 3]}], {}, "column 'label' holds a list"),
    "not 0 or 1": ([{"text": "a", "x": 2, "y": 0}], {"label_columns": ["x", "y"]}, "line 1 .* 1 or 0, got 2"),
    "no such class": ([{"text": "a", "x": 1}], {"label_columns": ["x", "z"]}, "must be among text, x .* got 'z'"),
    "label exists": ([{"text": "a", "x": 1, "label": 1}], {"label_columns": ["x"]}, "make the column 'label'"),
    "twice": ([{"text": "a", "x": 1}], {"label_columns": ["x", "x"]}, "must be different columns"),
    "both forms": ([{"text": "a"}], {"label_columns": ["x"], "label_separator": ";"}, "two forms of the same"),
    "lists and separator": ([{"text": "a", "label": ["x"]}], {"label_separator": ";"}, "leave out label_separator"),
    "no task": ([{"text": "a", "label": ["x"]}], {"task": "tags"}, "task must be one of one-label, tokens"),
    "probabilities": ([{"text": "a", "label": [0.2, 0.7]}], {"task": "multi-label"}, "neither classes nor 0 and 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_one_sentence(read, name):
    content, options, message = FAULTS[name]
    with pytest.raises(ValueError, match=message) as caught:
        read(content, "a.conll" if isinstance(content, str) else "a.jsonl", **options)
    assert "\n" not in str(caught.value)


def test_ids_out_of_range(read):
    names = ["O", "B-X"]
    table = {"tokens": List(Value("string")), "label": List(Value("int64"))}
    rows = Dataset.from_dict({"tokens": [["a"], ["b", "c"]], "label": [[0], [-100, 2]]}, datasets.Features(table))
    declared = rows.with_format("arrow")[:].cast(
        datasets.Features({**table, "label": List(ClassLabel(names=names))}).arrow_schema
    )
    with pytest.raises(ValueError, match=r"row 1 of '.*': column 'label' holds the id 2, but its 2"):
        read(Dataset(declared), "a.parquet")


def test_class_labels_in_parquet_keep_their_order_and_missing_tags(read):
    features = datasets.Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=BIO[::-1]))})
    rows = read(Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[4, -1]]}, features), "a.parquet")
    assert rows.features["label"].feature.names == BIO[::-1]
    assert named(rows) == [["O", None]]
    assert flat_tags(rows).labels.tolist() == [4, -1]


def test_rows_without_tags_and_without_tokens(read, caplog):
    rows = read(
        [{"tokens": ["a", "b"], "label": None}, {"tokens": [], "label": []}, {"tokens": ["c"], "label": ["O"]}],
        "a.jsonl",
    )
    assert named(rows) == [None, [], ["O"]]
    assert "1 of 3 rows have no label: line 1 of" in caplog.text
    assert "1 of 3 sentences have no tokens: line 2 of" in caplog.text
    flat = flat_tags(rows)
    assert (flat.labels.tolist(), flat.offsets.tolist()) == ([-1, -1, 0], [0, 2, 2, 3])
    assert (flat.rows.tolist(), flat.positions().tolist()) == ([0, 0, 2], [0, 1, 0])


def test_entities_that_begin_without_b_are_kept_and_counted(read, caplog):
    rows = read("a I-X\nb I-X\nc O\nd I-Y\n\ne B-X\n")
    assert named(rows)[0] == ["I-X", "I-X", "O", "I-Y"]
    assert re.search(r"2 entities begin without B-, which is kept as it is: line 1 of", caplog.text)


def test_tags_without_a_scheme_stand_for_themselves(read):
    assert named(read("a NN\nb VB\n")) == [["NN", "VB"]]


SETS = [["x", "y"], [], ["x"]]
DECLARED = Dataset.from_dict(
    {"text": ["a", "b", "c"], "label": [[1, 0], [], [0]]},
    datasets.Features({"text": Value("string"), "label": List(ClassLabel(names=["x", "y"]))}),
)


@pytest.mark.parametrize(
    ("content", "file", "options"),
    [
        ([{"text": "a", "label": one} for one in SETS], "a.jsonl", {}),
        ([{"text": "a", "labels": one} for one in SETS], "a.jsonl", {}),
        ("text,label\na, y ; x\nb,\nc,x;\n", "a.csv", {"label_separator": ";"}),
        ("text,x,y\na,1,1\nb,0,0\nc,1,0\n", "a.csv", {"label_columns": ["x", "y"]}),
        ([{"text": "a", "x": "x" in one, "y": "y" in one} for one in SETS], "a.jsonl", {"label_columns": ["x", "y"]}),
        (DECLARED, "a.parquet", {}),
    ],
    ids=["lists", "labels", "separator", "columns", "true and false", "classes"],
)
def test_forms_of_label_sets(read, caplog, content, file, options):
    rows = read(content, file, **options)
    assert named(rows) == SETS
    assert task_of_labels(rows) == "multi-label"
    sets, known = label_sets(rows)
    assert sets.tolist() == [[True, True], [False, False], [True, False]]
    assert known.all()
    if "label_columns" not in options:
        assert "1 of 3 rows of" in caplog.text


def test_a_zero_or_one_for_each_class(read, caplog):
    rows = read(
        [{"text": "a", "label": [1.0, 0.0, 1.0]}, {"text": "b", "label": [0.0, 0.0, 0.0]}],
        "a.jsonl",
        task="multi-label",
    )
    assert named(rows) == [["0", "2"], []]
    assert "a 0 or 1 for each class" in caplog.text
    assert named(read([{"text": "a", "label": [0, 0, 1]}], "b.jsonl")) == [["2"]]
    assert named(read([{"text": "a", "label": [0, 1]}], "c.jsonl")) == [["0", "1"]]  # ids, each once


def test_sets_with_a_class_twice_or_of_several_splits(read, tmp_path, caplog):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.jsonl").write_text('{"text": "a", "label": ["y", "y"]}\n{"text": "b", "label": null}\n')
    (tmp_path / "d" / "test.jsonl").write_text('{"text": "c", "label": ["z"]}\n')
    splits = load_noisy_dataset(str(tmp_path / "d"))
    assert named(splits["train"]) == [["y"], None]
    assert named(splits["test"]) == [["z"]]
    assert "1 rows name a class twice" in caplog.text
    assert "no row of split 'train' has the label 'z'" in caplog.text


def test_spellings_are_merged_where_asked(read):
    rows = read(
        [{"text": "a", "label": ["Joy", "joy", "joy"]}, {"text": "b", "label": ["joy"]}], "a.jsonl", merge_labels=True
    )
    assert named(rows) == [["joy"], ["joy"]]


def test_a_label_separator_may_be_several_characters(read):
    assert named(read("text,label\na,x | y\n", "a.csv", label_separator=" | ", delimiter=",")) == [["x", "y"]]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["B-A", "I-A", "O", "B-A"], [(0, 2, "A"), (3, 4, "A")]),
        (["B-A", "B-A"], [(0, 1, "A"), (1, 2, "A")]),
        (["I-A", "I-B", "I-B"], [(0, 1, "A"), (1, 3, "B")]),
        (["S-A", "B-A", "I-A", "E-A", "I-A"], [(0, 1, "A"), (1, 4, "A"), (4, 5, "A")]),
        (["U-A", "B-A", "L-A", "O"], [(0, 1, "A"), (1, 3, "A")]),
        ([None, "B-A", None, "I-A"], [(1, 2, "A"), (3, 4, "A")]),
        ([], []),
    ],
)
def test_spans_of_tags(tags, spans):
    assert spans_of(tags) == [Span(*one) for one in spans]


def test_spans_and_tags_are_inverse():
    spans = [Span(0, 1, "A"), Span(1, 4, "B"), Span(5, 7, "A")]
    for names in (
        BIO[:1] + [f"{p}-{k}" for p in "BI" for k in "AB"],
        ["O"] + [f"{p}-{k}" for p in "BIES" for k in "AB"],
    ):
        tags = tags_of_spans(spans, 8, names)
        assert spans_of(tags) == spans
        assert {*tags} <= {*names}
    assert tags_of_spans([Span(0, 2, "A")], 2, ["O", "I-A"]) == ["I-A", "I-A"]
    assert tags_of_spans([Span(0, 2, "A")], 2, ["O", "B-A", "I-A", "L-A", "U-A"]) == ["B-A", "L-A"]


def test_names_of_tags():
    assert sorted_tags({"I-B", "B-B", "O", "B-A"}) == ["O", "B-A", "B-B", "I-B"]
    assert has_spans(["O", "B-A"])
    assert not has_spans(["O"])
    assert not has_spans(["NN", "B-A"])
    assert strays(["I-A", "I-A", "B-A", "I-B"]) == [0, 3]
