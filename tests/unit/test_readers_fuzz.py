"""Damaged files of every reader but the trajectories (`dynamics/test_store_fuzz.py`) and the pickles of CIFAR."""

import csv
import gzip
import io
import json

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from hf_noisy.cli.manifest import read_manifest, write_manifest
from hf_noisy.cli.recipes import keyword_arguments
from hf_noisy.core.file_names import MANIFEST
from hf_noisy.data import load_noisy_dataset, read_checked
from hf_noisy.data.annotation_tools import exported_labels
from hf_noisy.data.decision_lines import read_decisions
from hf_noisy.data.noise.label_file import read_label_file
from hf_noisy.dygen.pipeline import DyGen
from tests.fuzz import fuzz, outcome
from tests.unit.dygen.synthetic import make, symmetric


def dygen_values(folder):
    loaded = DyGen.from_pretrained(folder)
    arrays = {"prior": loaded.prior, "suspects": loaded.suspects, "means": loaded.vectors.means}
    arrays |= {name: value.numpy() for name, value in loaded.vae.state_dict().items()}
    return arrays | {"config": vars(loaded.config), "scale": loaded.vectors.feature_scale}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dygen")
    made = make(folder / "run", symmetric(0.3, 3), rows=60, epochs=2)
    DyGen.fit(made.trajectories, made.given, 0.3, vae_epochs=1, show_progress=False).save_pretrained(folder / "saved")
    return folder / "saved"


def test_a_saved_dygen_is_read_right_or_refused(saved, tmp_path):
    assert fuzz(saved, tmp_path / "copies", dygen_values, times=60) > 40


@pytest.mark.slow
def test_a_saved_dygen_at_length(saved, tmp_path):
    assert fuzz(saved, tmp_path / "copies", dygen_values, times=2000, seed=1) > 1500


def test_weights_of_another_save_are_refused(saved, tmp_path):
    first, second = DyGen.from_pretrained(saved), DyGen.from_pretrained(saved)
    second.prior = second.prior[:, ::-1].copy()
    for name, one in (("a", first), ("b", second)):
        one.save_pretrained(tmp_path / name)
    (tmp_path / "a" / "dygen.safetensors").write_bytes((tmp_path / "b" / "dygen.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"dygen\.safetensors' is damaged or of another run"):
        DyGen.from_pretrained(tmp_path / "a")


@pytest.mark.parametrize("broken", ["write_tensors", "write_sealed"])
def test_a_full_disk_leaves_the_earlier_dygen(saved, tmp_path, monkeypatch, broken):
    first = DyGen.from_pretrained(saved)
    first.save_pretrained(tmp_path)
    expected = dygen_values(tmp_path)
    first.prior = first.prior[:, ::-1].copy()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"hf_noisy.dygen.pipeline.{broken}", refuse)
    with pytest.raises(OSError, match=r"dygen\.safetensors' was not written.*the disk is full"):
        first.save_pretrained(tmp_path)
    np.testing.assert_equal(dygen_values(tmp_path), expected)
    assert len(list(tmp_path.iterdir())) == 2


# Files that people write and mend by hand have no checksum: whatever is in them, the answer is a list or one sentence.


def bytes_of(text: str, number: int) -> bytes:
    rng, content = np.random.default_rng(number), bytearray(text.encode())
    for _ in range(int(rng.integers(1, 4))):
        position = int(rng.integers(len(content)))
        how = int(rng.integers(4))
        if how == 0:
            content[position] ^= 1 << int(rng.integers(8))
        elif how == 1:
            content[position:position] = rng.bytes(2)
        elif how == 2:
            del content[position : position + 3]
        else:
            content[position] = rng.choice(list(b'\x00,"\r\n-[{'))
    return bytes(content)


RESULT = {"from_name": "checked_label", "value": {"choices": ["a"]}}
EXPORTED = [
    {"data": {"digest": "d1", "row": 1}, "annotations": [{"result": [RESULT]}]},
    {"annotation_id": 3, "digest": "d1", "checked_label": [{"choices": ["a"]}]},
    {"fields": {"text": "t"}, "metadata": {"digest": "d2"}, "responses": {"checked_label": [{"value": "a"}]}},
]


@pytest.mark.parametrize("odd", ["null", "3", '"a"', "[]", "{}", "[3]"])
@pytest.mark.parametrize(
    "piece", ['{"choices": ["a"]}', '["a"]', '[{"value": "a"}]', '{"digest": "d1", "row": 1}', '"d2"', '"a"']
)
def test_an_export_of_another_form_is_read_or_refused(piece, odd):
    exported = json.loads(json.dumps(EXPORTED).replace(piece, odd))
    for item in exported:
        _, said = outcome(lambda item=item: list(exported_labels([item])))
        assert said is None or "\n" not in said


CHECKED = Dataset.from_dict({"text": ["t"], "label": [0]})
DECISIONS = "row,digest,label_given,label,decision\r\n0,d1,a,b,relabel\r\n3,d2,b,b,keep\r\n12,d3,a,a,drop\r\n"


@pytest.mark.parametrize("number", range(40))
@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("decisions.csv", DECISIONS, read_decisions),
        ("export.json", json.dumps(EXPORTED), lambda path: read_checked(path, CHECKED)),
        ("labels.json", "[0, 1, 2, 1]", read_label_file),
        ("labels.txt", "0\n1\n2\n", read_label_file),
    ],
    ids=["decisions", "export", "json", "txt"],
)
def test_files_written_by_hand_are_read_or_refused(name, text, read, number, tmp_path):
    (tmp_path / name).write_bytes(bytes_of(text, number))
    _, said = outcome(lambda: read(tmp_path / name))
    assert said is None or name in said or "of the decisions" in said


def npy(path):
    np.save(path, np.arange(5))


def npz(path):
    np.savez_compressed(path, labels=np.arange(5))


def pt(path):
    import torch

    torch.save(torch.arange(5), path)


@pytest.mark.parametrize(("suffix", "write"), [(".npy", npy), (".npz", npz), (".pt", pt)])
def test_damaged_label_files_are_refused_in_one_sentence(suffix, write, tmp_path):
    # No checksum of ours, so a flipped bit may be another label (.npy, .pt); what must not come is any other error.
    path = tmp_path / f"labels{suffix}"
    write(path)
    whole = path.read_bytes()
    for number in range(60):
        rng, content = np.random.default_rng(number), bytearray(whole)
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content[: len(content) if number % 2 else int(rng.integers(len(content)))])
        _, said = outcome(lambda: read_label_file(path))
        assert said is None or f"labels{suffix}' " in said


ROW = {"text": "one two", "label": 1, "weak_label": 0, "weak_votes": [0, -1]}


@pytest.mark.parametrize("damage", ["cut", "flip", "no JSON", "no text"])
def test_rows_in_damaged_archives_are_refused(damage, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    lines = {"no JSON": "{", "no text": json.dumps({"label": 1})}.get(damage, json.dumps(ROW))
    content = bytearray(gzip.compress("\n".join([json.dumps(ROW)] * 50 + [lines]).encode(), mtime=0))
    content[len(content) // 2] ^= 4 if damage == "flip" else 0
    (tmp_path / "train.jsonl.gz").write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with pytest.raises((ValueError, OSError)) as caught:
        load_noisy_dataset("chemprot", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", range(30))
def test_a_damaged_manifest_is_none_of_ours(number, tmp_path):
    write_manifest(tmp_path, "run", None, complete=True)
    whole = read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(bytes_of((tmp_path / MANIFEST).read_text(), number))
    assert read_manifest(tmp_path) in (None, whole)


@pytest.mark.parametrize(
    "text", ["__import__('os').system('false')", "open('x')", "1 + 1", "[" * 90, "{}" * 9, "\x00"]
)
def test_arguments_of_a_recipe_are_values_and_never_run(text):
    assert keyword_arguments([f"q={text}"]) == {"q": text}


TABLE = {"text": ["one, two", 'he said "hi"', "four\nfive"], "label": ["x", "y", "x"], "id": ["001", "2", "3"]}


def table_bytes(name: str) -> bytes:
    file = io.BytesIO()
    if name.endswith(".csv"):
        text = io.StringIO()
        csv.writer(text).writerows([TABLE, *zip(*TABLE.values(), strict=True)])
        return text.getvalue().encode()
    if name.endswith(".jsonl"):
        rows = (dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True))
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if name.endswith(".parquet"):
        pq.write_table(pa.table(TABLE), file)
    else:
        book = openpyxl.Workbook()
        for row in [list(TABLE), *zip(*TABLE.values(), strict=True)]:
            book.active.append(row)
        book.save(file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.xlsx"])
def test_a_damaged_table_is_read_or_refused_by_name(name, tmp_path):
    whole = table_bytes(name)
    for number in range(100):
        rng, content = np.random.default_rng(number), bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        (tmp_path / name).write_bytes(content[: int(rng.integers(len(content)))] if number % 3 == 0 else content)
        _, said = outcome(lambda: load_noisy_dataset(str(tmp_path / name)))
        assert said is None or ("\n" not in said and name in said), (number, said)
