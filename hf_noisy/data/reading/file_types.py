"""One file, by its ending: a table with a delimiter, JSON, Parquet or Excel."""

import codecs
import functools
import gzip
import logging
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_noisy.core.file_names import CONLL_ENDINGS, ENDINGS, STANDARD_INPUT, ending, is_readable
from hf_noisy.data.reading.conll_files import read_conll
from hf_noisy.data.reading.delimited_files import read_delimited
from hf_noisy.data.reading.json_files import read_json
from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows
from hf_noisy.data.reading.spreadsheets import read_spreadsheet
from hf_noisy.data.reading.text_encoding import decode
from hf_noisy.data.reading.wanted import Wanted

logger = logging.getLogger(__name__)

_JSON = (".json", ".jsonl", ".ndjson")
_PARQUET_MARK = b"PAR1"
# How files begin that hold something else than their names say.
_MISNAMED = {
    _PARQUET_MARK: "is a Parquet file; rename it to end in .parquet",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; unpack it, or rename it to end in .xlsx",
    b"\x1f\x8b": "is a gzip file; rename it to end in .gz",
    b"version https://git-lfs": "is a pointer of Git LFS, not the data; run git lfs pull",
    b"<!doctype html": "is a web page, not the data; download the data again",
    b"<html": "is a web page, not the data; download the data again",
}


def read_file(path: str | Path, wanted: Wanted) -> RawRows:
    """The rows of one file, or of the standard input (`-`)."""
    name = str(path)
    if name == STANDARD_INPUT:
        return _read_bytes(_standard_input(), "standard input", "", wanted)
    if not is_readable(Path(path)):
        hint = "; save it as .xlsx or .csv" if ending(Path(path)) == ".xls" else "; convert it"
        raise ValueError(f"'{name}' must end in {', '.join(ENDINGS)}, optionally with .gz{hint}")
    data = Path(path).read_bytes()
    if Path(path).suffix.lower() == ".gz":
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"'{name}' is no gzip file, or damaged ({error}); replace it") from None
    return _read_bytes(data, name, ending(Path(path)), wanted)


@functools.cache
def _standard_input() -> bytes:
    """What was piped into the process; a second reader finds it again."""
    return sys.stdin.buffer.read()


def _read_bytes(data: bytes, name: str, kind: str, wanted: Wanted) -> RawRows:
    if not data.strip():
        raise ValueError(f"'{name}' is empty")
    if kind in (".parquet", ".xlsx"):
        unused = [("delimiter", wanted.delimiter), ("encoding", wanted.encoding)]
    else:
        unused = [("delimiter", wanted.delimiter)] if kind in _JSON else []
    for option, value in unused:
        if value:
            logger.warning(f"{option}='{value}' has no effect on '{name}'")
    if data.startswith(_PARQUET_MARK) and kind in ("", ".parquet"):
        return _read_parquet(data, name)
    if kind == ".xlsx":
        return read_spreadsheet(data, name)
    start = data.removeprefix(codecs.BOM_UTF8)[:100].lstrip().lower()
    if fault := next((fault for mark, fault in _MISNAMED.items() if start.startswith(mark.lower())), None):
        raise ValueError(f"'{name}' {fault}")
    if kind == ".parquet":
        return _read_parquet(data, name)
    text = decode(data, name, wanted.encoding)
    if kind in _JSON or (not kind and text.lstrip()[:1] in ("{", "[")):
        return read_json(text, name, wanted)
    if kind in CONLL_ENDINGS or wanted.task == "tokens":
        return read_conll(text, name, wanted)
    return read_delimited(text, name, wanted, must_have_header=kind == ".txt")


def _read_parquet(data: bytes, name: str) -> RawRows:
    try:
        table = pq.read_table(pa.BufferReader(data))
        table.validate(full=True)
    except Exception as error:  # whatever becomes of a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"'{name}' is no Parquet file, or damaged ({reason})") from error
    if not len(table):
        raise ValueError(f"'{name}' holds no rows")
    for position, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.with_type(field.type.value_type), plain)
    return RawRows(table, Places([Part(name, "row", np.arange(len(table)))]))
