"""Inputs as people have them, each with what a user would hope for: the rows, or a sentence."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Content = str | bytes | Callable[[Path], None]


class Case(NamedTuple):
    name: str
    files: dict[str, Content]  # one file, or a folder of several
    texts: list[Any] | None = None  # what is read; None: refused
    labels: list[Any] | None = None  # names of classes, None where there is none
    message: str = ""  # pattern of the sentence of a refusal, or of a report
    options: dict[str, Any] = {}  # noqa: RUF012
    split: str = "train"
    folder: bool = False


def one(name: str, content: Content, texts=None, labels=None, message="", file="a.csv", **options: Any) -> Case:
    return Case(name, {file: content}, texts, labels, message, options)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(table: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table(table), path, **options)


def saved(rows: datasets.Dataset) -> Callable[[Path], None]:
    return lambda path: rows.to_parquet(path)


def sheet(*rows: list[Any], sheets: int = 1) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import openpyxl

        book = openpyxl.Workbook()
        for number in range(sheets - 1):
            book.create_sheet(f"more {number}")
        for row in rows:
            book.worksheets[0].append(row)
        book.save(path)

    return write


def png(value: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode())


TWO, AB = "text,label\na,x\nb,y\n", (["a", "b"], ["x", "y"])
CLASSES = datasets.ClassLabel(names=["x", "y", "z"])
FEATURES = datasets.Features({"text": datasets.Value("string"), "label": CLASSES})

DELIMITED = [
    one("plain", TWO, *AB),
    one("semicolons", "text;label\na;x\nb;y\n", *AB),
    one("tabs in .csv", "text\tlabel\na\tx\nb\ty\n", *AB),
    one("bars", "text|label\na|x\nb|y\n", *AB),
    one("tsv", "text\tlabel\na\tx\nb\ty\n", *AB, file="a.tsv"),
    one("commas in .tsv", TWO, *AB, file="a.tsv"),
    one("semicolons, commas in texts", "text;label\na, b;x\nc, d, e;y\n", ["a, b", "c, d, e"], ["x", "y"]),
    one("commas, semicolons in texts", "text,label\na; b,x\nc; d; e,y\n", ["a; b", "c; d; e"], ["x", "y"]),
    one("own delimiter", "text^label\na^x\nb^y\n", *AB, delimiter="^"),
    one("tab by name", "text\tlabel\na\tx\nb\ty\n", *AB, delimiter="tab"),
    one("two-character delimiter", TWO, message="delimiter='[|][|]' must be one character", delimiter="||"),
    one("wrong delimiter", TWO, message="text_column must be one of text,label .*a.csv", delimiter=";"),
    one("text table", "text\tlabel\na\tx\nb\ty\n", *AB, file="a.txt"),
    one("text without a table", "hello\nworld\n", message="'.*a.txt' is no table.*line 1", file="a.txt"),
    one("upper-case ending", TWO, *AB, file="A.CSV"),
    one("brackets in the name", TWO, *AB, file="data[1].csv"),
    one("star in the name", TWO, *AB, file="a*b.csv"),
    one("spaces and quotes in the name", TWO, *AB, file="my 'best' data.csv"),
    one("dots in the name", TWO, *AB, file="data.v1.2.csv"),
    one("gzip", zipped(TWO), *AB, file="a.csv.gz"),
    one("gzip in upper case", zipped(TWO), *AB, file="A.CSV.GZ"),
    one("damaged gzip", zipped(TWO)[:20], message="'.*a.csv.gz' is no gzip file, or damaged", file="a.csv.gz"),
    one("no gzip", TWO, message="'.*a.csv.gz' is no gzip file, or damaged", file="a.csv.gz"),
    one("Windows line ends", TWO.replace("\n", "\r\n"), *AB),
    one("old Mac line ends", TWO.replace("\n", "\r"), *AB),
    one("no line end at the end", TWO.rstrip(), *AB),
    one("blank lines", "\ntext,label\n\na,x\n\nb,y\n\n", *AB),
    one("Excel's first line", "sep=;\ntext;label\na;x\nb;y\n", *AB),
    one("byte order mark", b"\xef\xbb\xbf" + TWO.encode(), *AB),
    one("UTF-16", TWO.encode("utf-16"), *AB),
    one("UTF-32", TWO.encode("utf-32"), *AB),
    one("UTF-16 without a mark", TWO.encode("utf-16-le"), message="line 1 of '.*a.csv' holds a null char.*encoding="),
    one("UTF-16 by name", TWO.encode("utf-16-le"), *AB, encoding="utf-16-le"),
    one("cp1252", "text;label\nschön;x\ngroß;y\n".encode("cp1252"), ["schön", "groß"], ["x", "y"], "read as cp1252"),
    *(
        one(f"cp1252, {language}", f"text;label\n{text};x\nb;y\n".encode("cp1252"), [text, "b"], ["x", "y"], report)
        for language, text, report in [
            (
                "French",
                "Le café était très bon, où êtes-vous passé à Noël?",
                "; .* those of line 2, pass",
            ),
            ("Portuguese", "A lição não é fácil, o coração dos irmãos é bom", "read as cp1252"),
            ("Spanish", "El niño comió jalapeños mañana", "read as cp1252"),
            ("Italian", "Perché la città è così bella? Sarà virtù", "read as cp1252"),
            ("Swedish", "På ön går älgen över ängen", "read as cp1252"),
            ("English", "the café’s crème – “quoted”, with jalapeño", "read as cp1252"),  # noqa: RUF001
        ]
    ),
    one(
        "Polish",
        "text;label\nZażółć gęślą jaźń, książka jest piękna, proszę państwa;x\nb;y\n".encode("cp1250"),
        ["Zażółć gęślą jaźń, książka jest piękna, proszę państwa", "b"],
        ["x", "y"],
        "read as cp1250",
    ),
    one("Parquet named CSV", b"PAR1\0\0\0PAR1", message="'.*a.csv' is a Parquet file; rename it to end in .parquet"),
    one("zip named CSV", b"PK\x03\x04\0\0", message="'.*a.csv' is a zip archive or a spreadsheet; unpack it"),
    one("gzip named CSV", zipped(TWO), message="'.*a.csv' is a gzip file; rename it to end in .gz"),
    one("a web page", "<!DOCTYPE html>\n<html>404</html>", message="'.*a.csv' is a web page, not the data"),
    one("a web page as JSON", "\n<html>404</html>", message="'.*a.jsonl' is a web page", file="a.jsonl"),
    one(
        "Git LFS",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        message="'.*a.parquet' is a pointer of Git LFS, not the data; run git lfs pull",
        file="a.parquet",
    ),
    one(
        "cp1252 by name",
        "text,label\nschön €,x\nb,y\n".encode("cp1252"),
        ["schön €", "b"],
        ["x", "y"],
        encoding="cp1252",
    ),
    one(
        "Cyrillic",
        "text,label\nФильм был очень хорош и мне понравился,да\nПлохой,нет\n".encode("cp1251"),  # noqa: RUF001
        ["Фильм был очень хорош и мне понравился", "Плохой"],
        ["да", "нет"],
        "read as cp1251",
    ),
    one(
        "one bad byte in UTF-8",
        "text,label\nschön und größer,x\n".encode() + b"b\xe4d,y\n",
        message="line 3 of '.*a.csv' is not UTF-8, but other lines are",
    ),
    one(
        "wrong encoding",
        "text,label\nschön,x\n".encode("cp1252"),
        message="line 2 .*not.*utf-8.*encoding=",
        encoding="utf-8",
    ),
    one("unknown encoding", TWO, message="encoding='klingon' is not among", encoding="klingon"),
    one("binary", b"\x00\x01\x02text,label\n", message="line 1 of '.*a.csv' holds a null character"),
    one("empty", "", message="'.*a.csv' is empty"),
    one("only blank lines", "\n\n", message="'.*a.csv' is empty"),
    one("only a header", "text,label\n", message="'.*a.csv' has a header but no rows"),
    one("no header", "good film,x\nbad film,y\n", message="text_column must be one of good film, x .*a.csv"),
    one("no text column", "review,label\na,x\n", message="text_column must be one of review, label"),
    one("no label column", "text,stars\na,x\n", message="label_column must be one of text, stars"),
    one("spaces in the header", " text , label \na,x\nb,y\n", *AB),
    one("header twice", "text,label,label\na,x,y\n", message="line 1 of '.*a.csv' names the column 'label' twice"),
    one("index column", ",text,label\n0,a,x\n1,b,y\n", *AB),
    one("delimiter at the end of lines", "text,label,\na,x,\nb,y,\n", *AB),
    one("too many fields", "text,label\na,x\nb, c,y\nd,e,x\n", message="lines 3 and 4 of '.*a.csv': not the 2 fields"),
    one("too few fields", "text,label\na\nb,y\n", message="line 2 of '.*a.csv': not the 2 fields"),
    one("many uneven lines", "text,label\n" + "a\n" * 15, message="lines 2, 3, .* 10 and 11 of '.*' and 5 more"),
    one("quoted", 'text,label\n"a, ""b""\nc",x\nd,y\n', ['a, "b"\nc', "d"], ["x", "y"]),
    one("quotes within a field", 'text,label\nhe said "hi",x\nb,y\n', ['he said "hi"', "b"], ["x", "y"]),
    one(
        "quotes by backslash",
        'text,label\n"a \\"b\\"",x\nc,y\n',
        ['a "b"', "c"],
        ["x", "y"],
        "backslashes before quotes",
    ),
    one(
        "a word in quotes first",
        'text\tlabel\n"Great" film\tx\nbad\ty\n',
        ['"Great" film', "bad"],
        ["x", "y"],
        "quotes as ordinary characters.*line 2",
        "a.tsv",
    ),
    one(
        "quotes that swallow rows",
        'text,label\n"I like,x\nb,y\nc,x\n"d,y\n',
        ['"I like', "b", "c", '"d'],
        ["x", "y", "x", "y"],
        "line 2 of",
    ),
    one(
        "quotes that swallow rows and close",
        'text,label\n"I like,x\nb,y\nc",x\nd,y\n',
        ['"I like', "b", 'c"', "d"],
        ["x", "y", "x", "y"],
        "line 2 of '.*' begins a quoted field that holds whole rows",
    ),
    one(
        "quotes that swallow rows with commas",
        'text,label\n"I like, really,x\nb,y\n"c,x\n',
        message="line 2 of '.*a.csv' begins a quoted field that .*; double the quotes",
    ),
    one("a quote that never ends", 'text,label\n"a,x\nb, c,y\n', message="line 2 of '.*a.csv' begins a quoted field"),
    one("long text", "text,label\n" + "w " * 200_000 + ",x\nb,y\n", ["w " * 200_000, "b"], ["x", "y"]),
    one(
        "words of missing values",
        "text,label\nNA,x\nnull,y\nNone,x\nnan,y\n",
        ["NA", "null", "None", "nan"],
        list("xyxy"),
    ),
    one("classes of missing values", "text,label\na,None\nb,NA\n", ["a", "b"], ["None", "NA"]),
    one("leading zeros", "text,label\na,001\nb,002\n", ["a", "b"], ["001", "002"]),
    one("numbers in order", "text,label\na,10\nb,9\n", ["a", "b"], ["10", "9"]),
    one("labels as floats", "text,label\na,1.0\nb,2.0\n", ["a", "b"], ["1.0", "2.0"]),
    one("half stars", "text,label\na,3.5\nb,4\n", ["a", "b"], ["3.5", "4"]),
    one("true and false", "text,label\na,True\nb,false\n", ["a", "b"], ["True", "false"]),
    one(
        "missing labels",
        "text,label\na,x\nb,\nc,y\nd,\n",
        list("abcd"),
        ["x", None, "y", None],
        "2 of 4 .* lines 3 and 5 of",
    ),
    one("labels of spaces", "text,label\na,x\nb,  \nc,y\n", list("abc"), ["x", None, "y"], "line 3 of"),
    one("no label at all", "text,label\na,\nb,\n", message="no row of '.*a.csv' has a label"),
    one(
        "spaces around labels", "text,label\na,x \nb, y\nc,x\n", list("abc"), list("xyx"), "spaces around labels.*'x '"
    ),
    one(
        "case of labels",
        "text,label\na,Human\nb,human\n",
        ["a", "b"],
        ["Human", "human"],
        "differ by case.*merge_labels",
    ),
    one(
        "case merged",
        "text,label\na,Human\nb,human\nc,human\n",
        list("abc"),
        ["human"] * 3,
        "merged",
        merge_labels=True,
    ),
    one(
        "Unicode forms",
        "text,label\na,caf\u00e9\nb,cafe\u0301\n",
        ["a", "b"],
        ["caf\u00e9", "cafe\u0301"],
        "Unicode form only",
    ),
    one("inner spaces", "text,label\na,x  y\nb,x y\n", ["a", "b"], ["x  y", "x y"], "differ by case, spaces"),
    one(
        "some texts empty",
        "text,label\na,x\n,y\n ,x\n",
        ["a", "", " "],
        list("xyx"),
        "2 of 3 texts are empty: lines 3 and 4",
    ),
    one("all texts empty", "text,label\n,x\n,y\n", message="text_column 'text' of '.*a.csv' holds no text, all 2"),
    one(
        "numbers as texts",
        "price,label\n3,x\n4.5,y\n",
        ["3", "4.5"],
        ["x", "y"],
        "'price' .* holds numbers",
        text_column="price",
    ),
    one(
        "measurements as labels",
        "text,label\n" + "".join(f"t,{i}.5\n" for i in range(60)),
        message="60 different.*line 2 of",
    ),
    one("other names", "Review,Stars\na,x\nb,y\n", *AB, text_column="Review", label_column="Stars"),
    one("one column for both", TWO, message="must be different columns", text_column="label", label_column="label"),
    one("unknown column", TWO, message="label_column must be one of text, label .*got 'star'", label_column="star"),
    one(
        "name taken", "text,label,gold\na,x,y\n", message="label_column='gold' cannot be renamed", label_column="gold"
    ),
    one("true labels elsewhere", "text,label,gold\na,x,y\nb,y,y\n", ["a", "b"], ["x", "y"], clean_column="gold"),
    one(
        "names exchanged",
        "text,label,weak\na,y,x\nb,y,y\n",
        ["a", "b"],
        ["x", "y"],
        clean_column="label",
        label_column="weak",
    ),
    one("true labels in part", "text,label,clean_label\na,x,\nb,y,y\n", ["a", "b"], ["x", "y"]),
    one("checked labels in part", "text,label,checked_label\na,x,\nb,y,x\n", ["a", "b"], ["x", "y"]),
    one("unknown checked label", "text,label,checked_label\na,x,\nb,y,q\n", message="'q' in line 3 of '.*a.csv'"),
    one("pairs", "p,h,label\na,c,x\nb,d,y\n", ["a", "b"], ["x", "y"], text_column=["p", "h"]),
    one("three texts", "p,h,label\na,c,x\n", message="one column, or two for pairs", text_column=["p", "h", "label"]),
    one("image beside texts", "text,label,image\na,x,i.png\nb,y,\n", *AB, message="'image' .* 'image_path'"),
    one("a column called row", "row,text,label\n5,a,x\n6,b,y\n", *AB),
    one("unknown ending", TWO, message="must end in .csv, .tsv", file="a.doc"),
    one("old Excel", TWO, message="must end in .*save it as .xlsx or .csv", file="a.xls"),
    one("options of others", TWO, message="is a file, which takes no sep", sep=";"),
]
JSON = [
    one("lines", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}), *AB, file="a.jsonl"),
    one("other ending", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}), *AB, file="a.NDJSON"),
    one("array", json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]), *AB, file="a.json"),
    one("columns", json.dumps({"text": ["a", "b"], "label": ["x", "y"]}), *AB, file="a.json"),
    one(
        "columns of pandas",
        json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}),
        *AB,
        file="a.json",
    ),
    one("rows in an object", json.dumps({"v": 1, "data": [{"text": "a", "label": "x"}]}), ["a"], ["x"], file="a.json"),
    one("one row", json.dumps({"text": "a", "label": "x"}), ["a"], ["x"], file="a.json"),
    one("empty lines file", "", message="'.*a.jsonl' is empty", file="a.jsonl"),
    one("empty array", "[]", message="'.*a.json' holds no rows", file="a.json"),
    one("blank lines in JSON", '{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\n\n', *AB, file="a.jsonl"),
    one(
        "broken line",
        '{"text": "a", "label": 1}\n{"text": "b"',
        message="line 2 of '.*a.jsonl': no JSON",
        file="a.jsonl",
    ),
    one("broken array", '[{"text": "a"},\n{"text"]', message="line 2 of '.*a.json' is no JSON", file="a.json"),
    one("no objects", "[1, 2]", message="rows 0 and 1 of '.*a.json': no JSON object", file="a.json"),
    one(
        "a list among lines",
        '{"text": "a", "label": 1}\n[1]\n',
        message="line 2 of '.*': no JSON object",
        file="a.jsonl",
    ),
    one("deep", "[" * 100_000, message="a.json' is nested too deeply", file="a.json"),
    one(
        "a number among texts",
        lines({"text": 'who wrote "x"', "label": "y"}, {"text": 3, "label": "y"}),
        ['who wrote "x"', "3"],
        ["y", "y"],
        "column 'text' of '.*a.jsonl' holds values of several kinds",
        file="a.jsonl",
    ),
    one(
        "mixed labels",
        lines({"text": "a", "label": "HUMAN"}, {"text": "b", "label": 0}),
        ["a", "b"],
        ["HUMAN", "0"],
        file="a.jsonl",
    ),
    one(
        "whole numbers with gaps",
        lines({"text": "a", "label": 1}, {"text": "b", "label": None}),
        ["a", "b"],
        ["1", None],
        file="a.jsonl",
    ),
    one(
        "Booleans",
        lines({"text": "a", "label": True}, {"text": "b", "label": False}),
        ["a", "b"],
        ["True", "False"],
        file="a.jsonl",
    ),
    one("NaN", '{"text": "a", "label": NaN}\n{"text": "b", "label": 1}\n', ["a", "b"], [None, "1"], file="a.jsonl"),
    one(
        "a key missing",
        lines({"text": "a", "label": "x"}, {"text": "b"}),
        ["a", "b"],
        ["x", None],
        "line 2 of",
        file="a.jsonl",
    ),
    one(
        "a text missing",
        lines({"text": "a", "label": "x"}, {"label": "y"}),
        ["a", ""],
        ["x", "y"],
        "line 2 of",
        file="a.jsonl",
    ),
    one("nested", lines({"t": {"body": "a"}, "label": "x"}), ["a"], ["x"], text_column="t.body", file="a.jsonl"),
    one(
        "no such nested name",
        lines({"t": {"body": "a"}, "label": "x"}),
        message="text_column must be one of t.body, label \\(.*a.jsonl'\\), got 't.bdoy'",
        text_column="t.bdoy",
        file="a.jsonl",
    ),
    one(
        "a delimiter of JSON",
        lines({"text": "a", "label": "x"}),
        ["a"],
        ["x"],
        "delimiter=';' has no effect on '.*a.jsonl'",
        file="a.jsonl",
        delimiter=";",
    ),
    one(
        "a delimiter and encoding of Parquet",
        parquet({"text": ["a"], "label": ["x"]}),
        ["a"],
        ["x"],
        "delimiter=';' has no effect on .*\n.*encoding='cp1252' has no effect on '.*a.parquet'",
        file="a.parquet",
        delimiter=";",
        encoding="cp1252",
    ),
    *(
        one(
            f"feature columns {columns}",
            'size,width,kind\n1.5,"1,5",x\n2,"2,0",y\n',
            message=message,
            feature_columns=columns.split(),
            label_column="kind",
        )
        for columns, message in {
            "size widht": "feature_columns must be among size, width, kind \\(.*a.csv'\\), got 'widht'",
            "size kind": "feature_columns must not hold labels, got 'kind'; leave them out",
            "size width": "must hold numbers with a decimal point: 'width' holds texts such as '1,5'",
        }.items()
    ),
    one("nested label", lines({"text": "a", "m": {"l": "x"}}), ["a"], ["x"], label_column="m.l", file="a.jsonl"),
    one(
        "an object as text",
        lines({"text": {"body": "a"}, "label": 1}),
        message="text_column 'text' .* name one of text.body",
        file="a.jsonl",
    ),
    one(
        "an object as label",
        lines({"text": "a", "label": {"l": "x"}}),
        message="pass label_column= with one of label.l",
        file="a.jsonl",
    ),
    one(
        "several labels",
        lines({"text": "a", "label": ["x"]}, {"text": "b", "label": ["x", "y"]}),
        message="'label' of '.*a.jsonl' holds lists of labels; pass task='multi-label'",
        file="a.jsonl",
        task="one-label",
    ),
    one("soft labels", lines({"text": "a", "label": [0.5, 0.5]}), message="holds soft labels", file="a.jsonl"),
    one(
        "lists beside labels",
        lines({"text": "a", "label": "x"}, {"text": "b", "label": ["x"]}),
        message="line 2 of '.*' holds a list",
        file="a.jsonl",
    ),
    one(
        "half a character",
        '{"text": "\\ud83d", "label": "x"}\n',
        message="line 1 of '.*': column 'text' holds half a char",
        file="a.jsonl",
    ),
    one("huge numbers", lines({"text": "a", "label": 10**30}), ["a"], [str(10**30)], file="a.jsonl"),
    one(
        "odd other column",
        lines({"text": "a", "label": "x", "m": 1}, {"text": "b", "label": "y", "m": [2]}),
        *AB,
        message="column 'm' .* several kinds",
        file="a.jsonl",
    ),
    one(
        "JSON in cp1252",
        '{"text": "schön", "label": "x"}'.encode("cp1252"),
        ["schön"],
        ["x"],
        "cp1252",
        file="a.jsonl",
    ),
    one("JSON with a mark", b"\xef\xbb\xbf" + b'{"text": "a", "label": "x"}', ["a"], ["x"], file="a.jsonl"),
]
TYPED = [
    one("Parquet", parquet({"text": ["a", "b"], "label": ["x", "y"]}), *AB, file="a.parquet"),
    one(
        "a dictionary column",
        parquet({"text": ["a", "b"], "label": pa.array(["x", "y"]).dictionary_encode()}),
        *AB,
        file="a.parquet",
    ),
    one(
        "long strings",
        parquet({"text": pa.array(["a", "b"], pa.large_string()), "label": [1, 2]}),
        ["a", "b"],
        ["1", "2"],
        file="a.parquet",
    ),
    one(
        "whole numbers as floats",
        parquet({"text": ["a", "b"], "label": [1.0, None]}),
        ["a", "b"],
        ["1", None],
        file="a.parquet",
    ),
    one(
        "declared classes",
        saved(datasets.Dataset.from_dict({"text": ["a", "b"], "label": [2, 0]}, FEATURES)),
        ["a", "b"],
        ["z", "x"],
        file="a.parquet",
    ),
    one(
        "declared, -1 for none",
        saved(datasets.Dataset.from_dict({"text": ["a", "b"], "label": [2, -1]}, FEATURES)),
        ["a", "b"],
        ["z", None],
        "row 1 of",
        file="a.parquet",
    ),
    one(
        "lists in Parquet",
        parquet({"text": ["a"], "label": [["x", "y"]]}),
        message="holds lists of labels; pass task='multi-label'",
        file="a.parquet",
        task="one-label",
    ),
    one(
        "bytes as texts", parquet({"text": [b"a"], "label": ["x"]}), message="holds bytes, no texts", file="a.parquet"
    ),
    one("no Parquet", b"PAR1 and more", message="'.*a.parquet' is no Parquet file", file="a.parquet"),
    one(
        "empty Parquet",
        parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}),
        message="holds no rows",
        file="a.parquet",
    ),
    one("Excel", sheet(["text", "label"], ["a", "x"], ["b", "y"]), *AB, file="a.xlsx"),
    one("numbers in Excel", sheet(["text", "label"], ["a", 1], [2, 2]), ["a", "2"], ["1", "2"], file="a.xlsx"),
    one(
        "blank rows in Excel",
        sheet(["text", "label"], [], ["a", "x"], ["b", None]),
        ["a", "b"],
        ["x", None],
        "row 4 of",
        file="a.XLSX",
    ),
    one("sheets", sheet(["text", "label"], ["a", "x"], sheets=2), message="has 2 sheets", file="a.xlsx"),
    one("no Excel", b"text,label", message="'.*a.xlsx' is no .xlsx file", file="a.xlsx"),
    one("empty Excel", sheet(["text", "label"]), message="'.*a.xlsx' has no rows", file="a.xlsx"),
]


def folder(
    name: str, files: dict[str, Content], texts=None, labels=None, message="", split="train", **options
) -> Case:
    return Case(name, files, texts, labels, message, options, split, folder=True)


NO_LABELS = "text,id\nc,7\n"
FOLDERS = [
    folder(
        "train and test",
        {"train.csv": TWO, "test.csv": "text,label\nc,x\n"},
        *AB,
        message="train: train.csv; test: test.csv",
    ),
    folder("its test", {"train.csv": TWO, "test.csv": "text,label\nc,x\n"}, ["c"], ["x"], split="test"),
    folder(
        "two files of one split",
        {"a.csv": TWO, "b.csv": "text,label\nc,x\n"},
        list("abc"),
        list("xyx"),
        "train: a.csv, b.csv",
    ),
    folder("an extra file", {"train.csv": TWO, "extra.csv": TWO}, *AB, message="left out of .*: extra.csv"),
    folder(
        "files of two kinds",
        {"a.csv": TWO, "c.csv": TWO, "b.jsonl": lines({"text": "c", "label": "x"})},
        list("abab"),
        list("xyxy"),
        "left out of .*: b.jsonl",
    ),
    folder(
        "names of splits in upper case",
        {"Train.csv": TWO, "Test.CSV": "text,label\nc,x\n", "Notes.csv": TWO},
        *AB,
        message="train: Train.csv; test: Test.CSV\n.*left out of .*: Notes.csv",
    ),
    folder(
        "the test split in upper case",
        {"Train.csv": TWO, "Test.CSV": "text,label\nc,x\n"},
        ["c"],
        ["x"],
        split="test",
    ),
    folder(
        "images of splits in upper case",
        {f"{split}/{label}/{label}.png": png() for split in ("Train", "Test") for label in "xy"},
        message="the folders Test, Train of '.*' are splits only in lower case; rename them, such as Test to test",
    ),
    folder(
        "a class in test only",
        {"train.csv": TWO, "test.csv": "text,label\na,x\nc,z\nd,0\n"},
        *AB,
        message="no row of split 'train' has the label 'z', '0' of lines 3 and 4 of '.*test.csv'",
    ),
    folder("tsv and upper case", {"train.TSV": "text\tlabel\na\tx\nb\ty\n"}, *AB),
    folder(
        "true labels in one file", {"a.csv": TWO, "b.csv": "text,label,clean_label\nc,x,y\n"}, list("abc"), list("xyx")
    ),
    folder("true labels in one split", {"train.csv": TWO, "test.csv": "text,label,clean_label\nc,x,y\n"}, *AB),
    folder(
        "a test without labels",
        {"train.csv": TWO, "test.csv": NO_LABELS},
        ["c"],
        [None],
        "no row of .*test.csv' has a label",
        "test",
    ),
    folder(
        "a file without texts",
        {"a.csv": TWO, "b.csv": "review,label\nc,x\n"},
        message="b.csv' has no column 'text', which the other files have, but review",
    ),
    folder("other columns differ", {"a.csv": "text,label,n\na,x,1\n", "b.csv": "text,label,n\nb,y,z\n"}, *AB),
    folder(
        "kinds differ",
        {"a.jsonl": lines({"text": "a", "label": 1}), "b.jsonl": lines({"text": "b", "label": "y"})},
        ["a", "b"],
        ["1", "y"],
        "several kinds",
    ),
    folder(
        "lines of two files",
        {"a.csv": TWO, "b.csv": "text,label\nc,\n"},
        list("abc"),
        ["x", "y", None],
        "line 2 of '.*b.csv'",
    ),
    folder("an empty file", {"train.csv": TWO, "test.csv": ""}, message="'.*test.csv' is empty"),
    folder("in data/", {"data/train-00000-of-00001.parquet": parquet({"text": ["a", "b"], "label": ["x", "y"]})}, *AB),
    folder("notes beside", {"a.csv": TWO, "notes.txt": "read me"}, *AB, message="left out of .*: notes.txt"),
    folder("Excel files", {"train.xlsx": sheet(["text", "label"], ["a", "x"], ["b", "y"])}, *AB),
    folder("nothing", {"notes.md": "read me"}, message="holds no file that ends in"),
    folder("brackets in a folder", {"x[1]/a.csv": TWO}, *AB, message=r"train: x\[1\]/a.csv"),
]
IMAGES = [
    folder("images by class", {"cat/1.png": png(1), "dog/2.png": png(2)}, [1, 1], ["cat", "dog"]),
    folder(
        "an image cut short",
        {"cat/1.png": png(1), "dog/2.png": png(2)[:90]},
        message="1 of 2 images.*2.png.*skip_unreadable=True",
    ),
    folder(
        "left out",
        {"cat/1.png": png(1), "dog/2.png": png(2)[:90]},
        [1],
        ["cat"],
        "left out: 1 of 2.*2.png",
        skip_unreadable=True,
    ),
    folder(
        "all cut short",
        {"cat/1.png": png(1)[:90], "dog/2.png": b"x"},
        message="none of the images",
        skip_unreadable=True,
    ),
    folder("no image at all", {"cat/1.png": png(1), "dog/2.png": b"hello"}, message="2.png': no known image format"),
    folder(
        "a table beside",
        {"cat/1.png": png(1), "dog/2.png": png(2), "labels.csv": TWO},
        [1, 1],
        ["cat", "dog"],
        "left out of .*labels.csv",
    ),
]
PATHS = [
    Case(
        "paths beside the table",
        {"a.csv": "image,label\ni/1.png,x\n2.png,y\n", "i/1.png": png(1), "2.png": png(2)},
        [1, 1],
        ["x", "y"],
    ),
    Case(
        "an empty path",
        {"a.csv": "image,label\n1.png,x\n,y\n", "1.png": png(1)},
        message="no image.*line 3 of '.*a.csv'",
    ),
    Case(
        "a missing image",
        {"a.csv": "image,label\n1.png,x\n2.png,y\n", "1.png": png(1)},
        message="2.png' is not there.*line 3 of",
    ),
    Case(
        "missing images left out",
        {"a.csv": "image,label\n1.png,x\n2.png,y\n", "1.png": png(1)},
        [1],
        ["x"],
        "left out.*line 3",
        {"skip_unreadable": True},
    ),
    Case(
        "numbers as images", {"a.jsonl": lines({"image": 3, "label": "x"})}, message="column 'image' of .* holds int64"
    ),
    Case(
        "other image column",
        {"a.csv": "file,label\n1.png,x\n", "1.png": png(1)},
        [1],
        ["x"],
        "",
        {"image_column": "file"},
    ),
]
CASES = [*DELIMITED, *JSON, *TYPED, *FOLDERS, *IMAGES, *PATHS]


def make(case: Case, folder: Path) -> Path:
    """Write the files; the source to read."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder if case.folder else folder / next(iter(case.files))
