"""Cached vectors of an encoder in Arrow files, found by the content of the rows."""

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.table import MemoryMappedTable
from jaxtyping import Float32, Int64

from hf_noisy.core.columns import FEATURES
from hf_noisy.core.files import clear_os_errors, replacing

_KEY = "key"
_BLOCK = 10_000  # rows gathered at once


class FeatureFiles:
    """The files of one encoder with its settings, in a folder that may hold those of others.

    A part holds the vectors of some keys. A column holds the features of the rows of a dataset in their order, with
    the keys if the features of a row are the vector of its key; then it serves as a part too.
    """

    def __init__(self, folder: Path, encoder: str) -> None:
        self.folder, self.prefix = folder, f"features-{encoder[:20]}"
        self.chunks: list[Float32[np.ndarray, "_ width"]] = []  # memory-mapped
        self.keys: pa.Array = pa.array([], pa.binary(16))  # of the rows of the chunks
        self.seen: set[Path] = set()
        self.parts: list[Path] = []

    def column_path(self, inputs: list[pa.Array]) -> Path:
        """The file of the column of rows with a key in each of the `inputs`."""
        return self.folder / f"{self.prefix}-{_digest(*inputs)}.arrow"

    def read(self) -> None:
        """Read the files that have come since."""
        for path in sorted(set(self.folder.glob(f"{self.prefix}-*.arrow")) - self.seen):
            # A file that another process removes at this moment, or that is damaged, counts as missing.
            with suppress(OSError, pa.ArrowInvalid):
                table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
                self.seen.add(path)
                if _KEY not in table.column_names:
                    continue
                self.chunks += [_vectors(chunk) for chunk in table[FEATURES].chunks]
                self.keys = pa.concat_arrays([self.keys, *table[_KEY].chunks])
                if path.name.startswith(f"{self.prefix}-part-"):
                    self.parts.append(path)

    def find(self, keys: pa.Array) -> Int64[np.ndarray, " keys"]:
        """The positions of the vectors of some keys, -1 for those that are missing."""
        found = pc.index_in(keys, value_set=self.keys).fill_null(-1)
        return np.asarray(found).astype(np.int64)

    def vectors(self, positions: Int64[np.ndarray, " rows"]) -> Float32[np.ndarray, "rows width"]:
        """The vectors at some positions."""
        starts = np.cumsum([0, *map(len, self.chunks)])
        chunk = np.searchsorted(starts, positions, side="right") - 1
        found = np.empty((len(positions), self.chunks[0].shape[1]), np.float32)
        for number in np.unique(chunk):
            rows = chunk == number
            found[rows] = self.chunks[number][positions[rows] - starts[number]]
        return found

    def add(self, keys: pa.Array, vectors: Float32[np.ndarray, "keys width"]) -> None:
        """Write a part."""
        self._write(self.folder / f"{self.prefix}-part-{_digest(keys)}.arrow", vectors, keys)

    def write_column(self, path: Path, inputs: list[pa.Array], combine: Callable[..., np.ndarray]) -> None:
        """Write the column of rows with a key in each of the `inputs`; `combine` makes features of their vectors."""
        found = [self.find(keys) for keys in inputs]
        # One batch is read without a copy. It is put together in a file, as it may not fit in memory.
        with clear_os_errors(path), tempfile.TemporaryFile(dir=self.folder) as scratch:
            for start in range(0, len(found[0]), _BLOCK):
                block = combine(*(self.vectors(positions[start : start + _BLOCK]) for positions in found))
                scratch.write(np.ascontiguousarray(block).data)
            scratch.flush()
            vectors = np.memmap(scratch, np.float32, "r", shape=(len(found[0]), block.shape[1]))
            self._write(path, vectors, inputs[0] if len(inputs) == 1 else None)

    def remove_parts(self) -> None:
        """Remove the parts that were read, once a column holds their vectors with their keys."""
        for part in self.parts:
            with suppress(OSError):
                part.unlink()

    def _write(self, path: Path, vectors: Float32[np.ndarray, "rows width"], keys: pa.Array | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = {FEATURES: pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])}
        batch = pa.record_batch(columns if keys is None else {_KEY: keys, **columns})
        with replacing(path) as temporary, pa.ipc.new_stream(str(temporary), batch.schema) as writer:
            writer.write_batch(batch)


def column_of(path: Path, name: str) -> datasets.Dataset:
    """The features in a file as a dataset with one memory-mapped column."""
    table = MemoryMappedTable.from_file(str(path)).select([FEATURES]).rename_columns([name])
    return datasets.Dataset(table, fingerprint=hashlib.sha256(f"{path.name} {name}".encode()).hexdigest()[:16])


def _vectors(chunk: pa.FixedSizeListArray) -> Float32[np.ndarray, "_ width"]:
    return np.asarray(chunk.flatten()).reshape(len(chunk), -1)


def _digest(*inputs: pa.Array) -> str:
    parts = [hashlib.sha256(b"".join(keys.to_pylist())).digest() for keys in inputs]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:20]
