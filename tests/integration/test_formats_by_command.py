"""Every command on every kind of source, as a new user types it: what goes in comes out."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from hf_noisy.cli.app import app

CLASSES = ("Küche", "Übriges")
WORDS = {"Küche": ("crème", "jalapeño", "Brot", "à"), "Übriges": ("Mond", "Ørsted", "Sonne", "Tür")}
ROWS, TEST_ROWS, WRONG = 48, 12, (4, 17, 30)
SENTENCES = [
    " ".join(WORDS[CLASSES[row % 2]][(row + step) % 4] for step in range(3)) + f" {row}" for row in range(ROWS)
]
LABELS: list[str | None] = [CLASSES[(row + (row in WRONG)) % 2] for row in range(ROWS)]
IDS = [f"{row:04d}" for row in range(ROWS)]


class Source(NamedTuple):
    words: list[Any]  # as typed after the command
    texts: list[str] | None = SENTENCES
    labels: list[str | None] = LABELS
    column: str | None = "id"
    values: list[Any] = IDS
    test: bool = False


def write_table(path: Path, header: list[str], *columns: Any, delimiter=",", encoding="utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(header)
        rows.writerows(zip(*columns, strict=True))
    return path


def semicolons_in_cp1252(folder: Path) -> Source:
    header = ["id", "Bewertung", "Klasse"]
    path = write_table(folder / "a.csv", header, IDS, SENTENCES, LABELS, delimiter=";", encoding="cp1252")
    return Source([path, "--text-column", "Bewertung", "--label-column", "Klasse"])


def nested_json_lines(folder: Path) -> Source:
    rows = zip(IDS, SENTENCES, LABELS, strict=True)
    lines = [{"id": one, "message": {"body": text}, "meta": {"label": label}} for one, text, label in rows]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return Source([folder / "a.jsonl", "--text-column", "message.body", "--label-column", "meta.label"])


def parquet_with_a_dictionary(folder: Path) -> Source:
    labels = pa.array(LABELS).dictionary_encode()
    pq.write_table(pa.table({"id": IDS, "text": SENTENCES, "label": labels}), folder / "a.parquet")
    return Source([folder / "a.parquet"])


def train_and_test(folder: Path) -> Source:
    (folder / "a").mkdir()
    write_table(folder / "a" / "train.csv", ["id", "text", "label"], IDS, SENTENCES, LABELS)
    part = slice(TEST_ROWS)
    write_table(folder / "a" / "test.csv", ["id", "text", "label"], IDS[part], SENTENCES[part], LABELS[part])
    return Source([folder / "a"], test=True)


def images_with_a_broken_one(folder: Path) -> Source:
    rng = np.random.default_rng(0)
    for row, label in enumerate(LABELS):
        (folder / "a" / str(label)).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (8, 8, 3)) + 180 * np.eye(3, dtype=int)[row % 2]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "a" / str(label) / f"{row:02d}.png")
    (folder / "a" / CLASSES[0] / "99.png").write_bytes(b"no image")
    return Source([folder / "a", "--skip-unreadable"], None, sorted(LABELS, key=str), None)


def numbers(folder: Path) -> Source:
    rng = np.random.default_rng(0)
    sizes, weights = (np.arange(ROWS) % 2 * 4 + rng.normal(size=(2, ROWS))).round(3)
    path = write_table(folder / "a.csv", ["id", "size", "weight", "kind"], IDS, sizes, weights, LABELS)
    words = [path, "--feature-columns", "size,weight", "--label-column", "kind"]
    return Source(words, None, column="size", values=sizes.tolist())


def a_third_without_labels(folder: Path) -> Source:
    labels = [None if row % 3 == 1 else label for row, label in enumerate(LABELS)]
    write_table(folder / "a.csv", ["id", "text", "label"], IDS, SENTENCES, [label or "" for label in labels])
    return Source([folder / "a.csv"], labels=labels)


FORMATS: list[Callable[[Path], Source]] = [
    semicolons_in_cp1252,
    nested_json_lines,
    parquet_with_a_dictionary,
    train_and_test,
    images_with_a_broken_one,
    numbers,
    a_third_without_labels,
]


@pytest.fixture(params=FORMATS, ids=lambda one: one.__name__)
def source(request, tmp_path) -> Source:
    return request.param(tmp_path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A folder with a tiny encoder that knows the words."""
    folder = tmp_path_factory.mktemp("encoder")
    words = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sum(WORDS.values(), ())])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def done(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


def model_of(source: Source, encoder: Path) -> list[Any]:
    return [] if source.texts is None else ["--model", encoder]


def names(rows: Any, column: str) -> list[str | None]:
    return [None if label is None else rows.features[column].int2str(label) for label in rows[column]]


def read_back(folder: Path, source: Source, given: str) -> Any:
    """The written training rows, which hold what the source holds, like the test rows."""
    splits = load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))
    rows, summary = splits["train"], json.loads((folder / "summary.json").read_text("utf-8"))
    assert names(rows, given) == source.labels
    assert source.texts is None or rows["text"][:] == source.texts
    assert source.column is None or rows[source.column][:] == source.values
    assert summary.get("unreadable_rows_left_out", 0) == ("--skip-unreadable" in source.words)
    assert ("test" in splits) == source.test
    if source.test:
        assert splits["test"]["text"][:] == SENTENCES[:TEST_ROWS]
        assert names(splits["test"], "label") == LABELS[:TEST_ROWS]
    return rows


def test_audit_and_apply(source, encoder, tmp_path):
    out = tmp_path / "audited"
    done("audit", *source.words, *model_of(source, encoder), "--output", out)
    rows = read_back(out, source, "label")
    labelled = [row for row, label in enumerate(source.labels) if label is not None]
    assert [value is not None for value in rows["label_suspected"]] == [label is not None for label in source.labels]
    page = (out / "report.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["classes"] == list(CLASSES)
    shown = {one["row"]: one for one in data["rows"]}
    chosen = [row for row in labelled if row in shown][:2]
    decisions = [["row", "digest", "label_given", "label", "decision"]]
    for row, decision in zip(chosen, ("relabel", "drop"), strict=True):
        given = source.labels[row]
        other = CLASSES[1 - CLASSES.index(given)]
        decisions.append([row, shown[row]["digest"], given, other if decision == "relabel" else given, decision])
    write_table(tmp_path / "decisions.csv", decisions[0], *zip(*decisions[1:], strict=True))
    done("apply", tmp_path / "decisions.csv", *source.words, "--output", tmp_path / "applied")
    splits = load_dataset(str(tmp_path / "applied"), cache_dir=str(tmp_path / "cache"))
    kept = [row for row in range(len(source.labels)) if row != chosen[1]]
    expected = [decisions[1][3] if row == chosen[0] else source.labels[row] for row in kept]
    assert names(splits["train"], "label") == expected
    assert names(splits["dropped"], "label") == [source.labels[chosen[1]]]
    assert not source.test or names(splits["test"], "label") == LABELS[:TEST_ROWS]


@pytest.mark.slow
def test_purify(source, encoder, tmp_path):
    done("purify", *source.words, *model_of(source, encoder), "--output", tmp_path / "out", "--purifier", "knn")
    rows = read_back(tmp_path / "out", source, "label_given")
    for given, new, changed in zip(rows["label_given"], rows["label"], rows["label_changed"], strict=True):
        assert changed is None if given is None else changed == (given != new)
        assert given is not None or new is None
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["summary"]
    assert summary["class_names"] == list(CLASSES)
    assert summary["changed"] == sum(map(bool, rows["label_changed"]))
    assert (tmp_path / "out" / "report.html").is_file()


def test_inject(source, tmp_path):
    done("inject", *source.words, "--noise-rate", 0.25, "--output", tmp_path / "out")
    rows = read_back(tmp_path / "out", source, "clean_label")
    known = [(true, label) for true, label in zip(rows["clean_label"], rows["label"], strict=True) if true is not None]
    assert sum(true != label for true, label in known) == round(0.25 * len(known))
    assert rows["label"].count(None) == source.labels.count(None)


@pytest.mark.slow
def test_train(source, encoder, tmp_path):
    words = ["train", *source.words, *model_of(source, encoder), "--output", tmp_path / "out"]
    words += ["--num_train_epochs", 1, "--max_train_samples", 24, "--use_cpu", "true"]
    if "--feature-columns" in source.words:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert (result.exit_code, "--feature-columns belongs to the other commands" in result.stderr) == (2, True)
        return
    reports = [line for line in done(*words).splitlines() if line.startswith("hf-noisy:")]
    assert len(set(reports)) == len(reports)  # although the data are read twice
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert set(config["id2label"].values()) == set(CLASSES)
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert 0 <= results["test_accuracy_last"] <= 1
    assert not source.test or results["num_test"] == TEST_ROWS
