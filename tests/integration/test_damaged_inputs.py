"""Damaged inputs at the command line: each ends in an output or in one sentence, and nothing of them runs."""

import gzip
import io
import json
import resource
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data.checked import checked_rows, write_checked
from hf_noisy.data.row_digest import row_digests

FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect"}
PIECES = [b"\x00", b'"', b"\r\n", b",", b"\xff\xfe", b"[" * 3000, b"{" * 50, b"-1e999", b"\x1b[2J", b"=1+1", b"../"]
PIECES += [b"cos\nsystem\n(S'false'\ntR.", b'{"__class__": "os.system"}', b"'" * 7, b"9" * 400, b"\xe2\x80\xae"]
TEXTS = ["plain", 'with "quotes", and a comma', "zwei Wörter", "line\nend", "", "=SUM(A1)"]
events: list[str] = []
listening = [False]


@pytest.fixture(scope="module", autouse=True)
def _listens():
    sys.addaudithook(lambda event, _: events.append(event) if listening[0] and event in FORBIDDEN else None)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """A folder for each kind of file that is read, with the file to damage first by name."""
    root = tmp_path_factory.mktemp("inputs")
    rows = [{"text": TEXTS[row % 6], "label": "ab"[row % 2]} for row in range(24)]
    table = Dataset.from_list(rows)
    lines = [json.dumps(row) for row in rows]
    made = {name: root / name / f"rows.{name}" for name in ("csv", "jsonl", "json", "parquet", "csv.gz", "xlsx")}
    for path in made.values():
        path.parent.mkdir()
    table.to_csv(made["csv"])
    made["jsonl"].write_text("\n".join(lines))
    made["json"].write_text(json.dumps(rows))
    table.to_parquet(made["parquet"])
    table.to_pandas().to_excel(made["xlsx"], index=False)
    made["csv.gz"].write_bytes(gzip.compress(made["csv"].read_bytes()))
    made |= {"list": root / "list" / "a.csv", "image": root / "image" / "3.png", "decisions": root / "d" / "a.csv"}
    for name in ("list", "image"):
        made[name].parent.mkdir()
        for row in range(12):
            Image.new("RGB", (6, 6), (20 * row, 9, 9)).save(made[name].parent / f"{row}.png")
        listed = "".join(f"{row}.png,{'ab'[row % 2]}\n" for row in range(12))
        (made[name].parent / "a.csv").write_text("image,label\n" + listed)
    made["decisions"].parent.mkdir()
    shutil.copy(made["csv"], made["decisions"].parent / "rows.csv")
    encoded = table.class_encode_column("label")
    digest = row_digests(encoded.select([0]))[0]
    made["decisions"].write_text(f"row,digest,label_given,label,decision\n0,{digest},a,b,relabel\n")
    made["checked"] = root / "c" / "checked.csv"
    made["checked"].parent.mkdir()
    shutil.copy(made["csv"], made["checked"].parent / "rows.csv")
    write_checked(made["checked"], encoded, checked_rows(encoded, np.where(np.arange(24) < 6, 0, -1)))
    return made


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        position = int(rng.integers(len(found) + 1))
        kind = int(rng.integers(6))
        if kind == 0 and found:
            found[min(position, len(found) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            found[position:position] = PIECES[int(rng.integers(len(PIECES)))]
        elif kind == 2:
            del found[position : position + int(rng.integers(1, 40))]
        elif kind == 3:
            found[position : position + 8] = rng.bytes(8)
        elif kind == 4:
            found = found[:position]
        else:
            found[position:position] = found[position : position + int(rng.integers(1, 200))]
    return bytes(found)


def damaged_within(content: bytes, rng: np.random.Generator) -> bytes:
    """An Excel file with damage in one of the files that it packs, which the checksums of the archive do not tell."""
    packed, found = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    sheets = [name for name in packed.namelist() if "sheet" in name.lower() or "xl/" in name]
    spoilt = str(rng.choice(sheets if rng.random() < 0.8 else packed.namelist()))
    with zipfile.ZipFile(found, "w") as archive:
        for name in packed.namelist():
            inner = packed.read(name)
            archive.writestr(name, damaged(inner, rng) if name == spoilt else inner)
    return found.getvalue()


def command(kind: str, folder: Path, name: str) -> list[str]:
    output = ["--output", str(folder / "out")]
    if kind == "decisions":
        return ["apply", str(folder / name), str(folder / "rows.csv"), *output]
    if kind == "checked":
        return ["check", str(folder / "rows.csv"), "--checked", str(folder / name), *output]
    source = folder / ("a.csv" if kind == "image" else name)
    return ["inject", str(source), *output, "--noise-rate", "0.25"]


def run_damaged(inputs: dict[str, Path], scratch: Path, numbers: range) -> dict[int, int]:
    """How many commands ended with which exit code."""
    codes: dict[int, int] = {}
    events.clear()
    for number in numbers:
        rng = np.random.default_rng([7, number])
        kind = str(rng.choice(list(inputs)))
        source, folder = inputs[kind], scratch / str(number)
        shutil.copytree(source.parent, folder)
        damage = damaged_within if kind == "xlsx" and number % 4 else damaged
        (folder / source.name).write_bytes(damage(source.read_bytes(), rng))
        listening[0] = True
        found = CliRunner().invoke(app, command(kind, folder, source.name))
        listening[0] = False
        assert found.exit_code in (0, 2), f"{number} {kind}: {found.exception!r}"
        assert "Traceback" not in found.output, f"{number} {kind}: {found.output}"
        assert "\x1b" not in found.output, f"{number} {kind}: {found.output!r}"
        if found.exit_code == 2:
            assert not (folder / "out").exists(), f"{number} {kind}"
            assert found.output.splitlines()[-1].startswith("hf-noisy: "), f"{number} {kind}: {found.output}"
        codes[found.exit_code] = codes.get(found.exit_code, 0) + 1
        shutil.rmtree(folder)
    assert events == []
    return codes


def test_whole_inputs_are_read(inputs, tmp_path):
    for kind, source in inputs.items():
        shutil.copytree(source.parent, tmp_path / kind)
        found = CliRunner().invoke(app, command(kind, tmp_path / kind, source.name))
        assert found.exit_code == 0, f"{kind}: {found.output} {found.exception!r}"


def test_a_hundred_damaged_inputs(inputs, tmp_path):
    codes = run_damaged(inputs, tmp_path, range(100))
    assert codes.keys() == {0, 2}


@pytest.mark.slow
def test_ten_thousand_damaged_inputs(inputs, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = run_damaged(inputs, tmp_path, range(100, 10_000))
    assert min(codes.values()) > 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes; 1 GB over the libraries
