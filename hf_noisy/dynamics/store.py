"""Storage of trajectories: safetensors by split, epoch and branch, and a manifest with their checksums."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from safetensors import safe_open

from hf_noisy.core.blocks import row_slices
from hf_noisy.core.files import check_file_name, write_tensors
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dynamics.run_files import MANIFEST, RunFiles, new_run_id

FOLDER = "_trajectories"  # with an underscore, so that Trainer.push_to_hub does not upload it
_FEATURES = "features.safetensors"
_FIRST_ROWS = "first_rows.safetensors"
_FILE = re.compile(r"epoch-(\d+)-branch-(\d+)\.safetensors")
_BLOCK_BYTES = 1 << 25

# Some rows of a split: one range, or several.
Rows: TypeAlias = slice | Sequence[slice]
ALL = slice(None)


class Trajectories:
    """Training trajectories, read lazily from their folder.

    The manifest lists every complete file with its SHA-256; others are ignored; a missing or changed file is an error.
    An object shows what was recorded when it was created.

    Args:
        path: The folder, or the `output_dir` that contains it.

    Attributes:
        splits: Names of the recorded datasets.
        epochs: The epochs (from 1) recorded for every split and branch.
        num_branches, num_classes, dim: Sizes.
        encoder_trained: Whether weights below the heads were trained; False where that was not recorded.
        run: Id of the training.
        manifest: Sizes, `run`, and the description of each split.

    Raises:
        FileNotFoundError: If there are no trajectories at `path`.
        ValueError: If the manifest is damaged or of another format.

    Example:
        ```python
        trajectories = Trajectories("output/run")
        trajectories.embeddings("train", epoch=1, branch=0).shape  # [rows, dim]
        ```
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path if (path / MANIFEST).is_file() else path / FOLDER
        if not (self.path / MANIFEST).is_file():
            raise FileNotFoundError(f"path {path} holds no trajectories; train with a DynamicsRecorder first")
        self._files = RunFiles(self.path)
        self.manifest: dict[str, Any] = self._files.manifest
        self._check_manifest()
        self.num_branches: int = self.manifest["num_branches"]
        self.num_classes: int = self.manifest["num_classes"]
        self.dim: int = self.manifest["dim"]
        self.splits: list[str] = list(self.manifest["splits"])

    def _check_manifest(self) -> None:
        """Refuse a manifest that somebody made, with names that leave the folder or sizes that are none."""
        manifest = self.manifest
        splits = manifest.get("splits")
        sizes = [manifest.get(name) for name in ("num_branches", "num_classes", "dim")]
        rows = [one.get("rows") if isinstance(one, dict) else None for one in dict(splits or {}).values()]
        if not splits or not all(isinstance(size, int) and size > 0 for size in [*sizes, *rows]):
            raise ValueError(f"file '{self.path / MANIFEST}' holds no valid sizes; put it back, or record again")
        for split in splits:
            check_file_name(split, "name of a dataset")
        for file in self._files.digests:
            split, _, name = file.rpartition("/")
            if split not in splits or not (_FILE.fullmatch(name) or name in (_FEATURES, _FIRST_ROWS)):
                raise ValueError(f"file '{self.path / MANIFEST}' lists '{file}', which no recording writes")

    @classmethod
    def create(cls, path: str | Path, manifest: dict[str, Any]) -> "Trajectories":
        """Begin new trajectories in `path`, discarding those of an earlier run there."""
        path = Path(path)
        for split in manifest["splits"]:
            check_file_name(split, "name of a dataset")
        # The new manifest lists no files, so those of the earlier run are ignored from here on.
        RunFiles.create(path, {"run": new_run_id(), **manifest})
        trajectories = cls(path)
        trajectories._remove_unlisted()
        return trajectories

    @property
    def run(self) -> str:
        return self._files.run

    @property
    def epochs(self) -> list[int]:
        found: dict[str, set[int]] = {f"{s}/{b}": set() for s in self.splits for b in range(self.num_branches)}
        for name in self._files.digests:
            split, _, file = name.rpartition("/")
            if match := _FILE.fullmatch(file):
                found[f"{split}/{int(match[2])}"].add(int(match[1]))
        return sorted(set.intersection(*found.values())) if found else []

    @property
    def encoder_trained(self) -> bool:
        return bool(self.manifest.get("encoder_trained", False))

    @property
    def num_epochs(self) -> int:
        return len(self.epochs)

    def num_rows(self, split: str) -> int:
        return int(self._split(split)["rows"])

    def embeddings(
        self, split: str, epoch: int, branch: int, rows: Rows = ALL, out: np.ndarray | None = None
    ) -> Float[np.ndarray, "rows dim"]:
        """Inputs of the head of `branch` after `epoch` (from 1), `[rows, dim]`, float32; into `out` if given."""
        return self._read_epoch(split, epoch, branch, "embeddings", rows, out)

    def logits(self, split: str) -> Float[np.ndarray, "epochs branches rows classes"]:
        """Logits of all recorded epochs, `[epochs, branches, rows, classes]`, float32."""
        branches = range(self.num_branches)
        return np.stack(
            [[self._read_epoch(split, epoch, branch, "logits") for branch in branches] for epoch in self.epochs]
        )

    def branch_logits(
        self, split: str, epoch: int, branch: int, rows: Rows = ALL
    ) -> Float[np.ndarray, "rows classes"]:
        """Logits of `branch` after `epoch` (from 1), `[rows, classes]`, float32."""
        return self._read_epoch(split, epoch, branch, "logits", rows)

    def cell_logits(self, split: str) -> Float[np.ndarray, "epochs branches rows 2"]:
        """Logits of the cells (example, class) of multi-label classification, `[epochs, branches, rows, 2]`."""
        logits = self.logits(split)
        return np.stack([np.zeros_like(logits), logits], -1).reshape(*logits.shape[:2], -1, 2)

    def first_rows(self, split: str) -> Int64[np.ndarray, " bounds"] | None:
        """The number of the first row of each example, `[examples + 1]`; None where each example is one row."""
        self._split(split)
        name = f"{split}/{_FIRST_ROWS}"
        if name not in self._files.digests:
            return None
        with safe_open(self._files.verified(name), framework="np") as stored:
            return np.asarray(stored.get_tensor("first_rows"))

    def features(self, split: str, rows: Rows = ALL) -> Float[np.ndarray, "rows width"] | None:
        """Pooled hidden states of the encoder before the first step, `[rows, width]`; None if not recorded."""
        self._split(split)
        name = f"{split}/{_FEATURES}"
        return self._read(name, "features", rows) if name in self._files.digests else None

    def check_labels(self, split: str, labels: Shaped[np.ndarray, " rows"]) -> None:
        """Raise `ValueError` if labels are not those of the recorded rows."""
        recorded = self._split(split)
        if recorded["rows"] != len(labels) or recorded["labels"] not in (None, labels_digest(labels)):
            raise ValueError(
                f"trajectories at {self.path} belong to another dataset: split {split!r} has {recorded['rows']} rows "
                f"with other labels than the {len(labels)} given; pass the labels used in training, in their order"
            )

    def write(
        self,
        split: str,
        epoch: int,
        embeddings: Float[np.ndarray, "branches rows dim"],
        logits: Float[np.ndarray, "branches rows classes"],
    ) -> None:
        """Write one epoch of a split, all branches."""
        rows, branches = self.num_rows(split), self.num_branches
        for name, array, width in (("embeddings", embeddings, self.dim), ("logits", logits, self.num_classes)):
            if array.shape != (expected := (branches, rows, width)):
                raise ValueError(f"{name} of split {split!r} must be {expected} as in the manifest, got {array.shape}")
        names = {_epoch_file(split, epoch, branch): branch for branch in range(branches)}
        self._write({name: {"embeddings": embeddings[b], "logits": logits[b]} for name, b in names.items()})

    def write_features(self, split: str, features: Float[np.ndarray, "rows width"]) -> None:
        """Write the pooled features of the encoder before the first step."""
        if len(features) != self.num_rows(split):
            raise ValueError(
                f"features of split {split!r} must have {self.num_rows(split)} rows as in the manifest, got "
                f"{len(features)}"
            )
        self._write({f"{split}/{_FEATURES}": {"features": features}})

    def write_first_rows(self, split: str, first_rows: Int64[np.ndarray, " bounds"]) -> None:
        """Write where the rows of each example begin."""
        self._write({f"{split}/{_FIRST_ROWS}": {"first_rows": first_rows}})

    def drop_after(self, epoch: int) -> None:
        """Drop what was recorded after `epoch`, and that epoch too if one of its files is missing."""

        def stays(name: str) -> bool:
            recorded = int(match[1]) if (match := _FILE.fullmatch(name.rpartition("/")[2])) else 0
            return recorded < epoch or (recorded == epoch and (self.path / name).is_file())

        self._files.keep(list(filter(stays, self._files.digests)))
        self._remove_unlisted()

    def _write(self, files: dict[str, dict[str, np.ndarray]]) -> None:
        self._files.write({name: functools.partial(_save, tensors) for name, tensors in files.items()})

    def _remove_unlisted(self) -> None:
        """Remove our files that the manifest does not list, such as temporary files of a killed run."""
        for file in [*self.path.glob("*/*"), *self.path.glob(f".{MANIFEST}.*")]:
            written = re.sub(r"^\.(.+)\.[0-9a-f]{8}\.tmp$", r"\1", file.name)
            ours = _FILE.fullmatch(written) or written in (_FEATURES, _FIRST_ROWS, MANIFEST)
            if ours and f"{file.parent.name}/{file.name}" not in self._files.digests:
                file.unlink(missing_ok=True)

    def _split(self, split: str) -> dict[str, Any]:
        if split not in self.manifest["splits"]:
            raise ValueError(f"split {split!r} was not recorded; choose one of {', '.join(self.splits)}")
        recorded: dict[str, Any] = self.manifest["splits"][split]
        return recorded

    def _read_epoch(
        self, split: str, epoch: int, branch: int, name: str, rows: Rows = ALL, out: np.ndarray | None = None
    ) -> Float[np.ndarray, "rows _"]:
        self._split(split)
        file = _epoch_file(split, epoch, branch)
        if file not in self._files.digests:
            raise ValueError(f"epoch {epoch} of branch {branch} was not recorded; there are epochs {self.epochs}")
        return self._read(file, name, rows, out)

    def _read(self, file: str, name: str, rows: Rows, out: np.ndarray | None = None) -> Float[np.ndarray, "rows _"]:
        with safe_open(self._files.verified(file), framework="np") as stored:
            tensor = stored.get_slice(name)
            num_rows, width = tensor.get_shape()
            if num_rows != self.num_rows(file.rpartition("/")[0]):
                raise ValueError(
                    f"file '{self.path / file}' has {num_rows} rows, other than the manifest; record again"
                )
            ranges = row_ranges(rows, num_rows)
            count = sum(stop - start for start, stop in ranges)
            values = np.empty((count, width), np.float32) if out is None else out
            end = 0
            for start, stop in ranges:
                begin, end = end, end + stop - start
                # torch converts float16 with a CPU instruction, numpy in software.
                torch.from_numpy(values[begin:end]).copy_(torch.from_numpy(tensor[start:stop]))
        if not np.isfinite(values).all():
            raise ValueError(f"file '{self.path / file}' holds numbers that are not finite; record again")
        return values


def _save(tensors: dict[str, np.ndarray], path: Path) -> str:
    return write_tensors(path, tensors)


def row_blocks(num_rows: int, width: int) -> list[slice]:
    """Slices that cover all rows, each of at most 32 MiB in float32."""
    return row_slices(num_rows, width, _BLOCK_BYTES // 4)


def row_ranges(rows: Rows, num_rows: int) -> list[tuple[int, int]]:
    """Start and stop of each range."""
    ranges = [part.indices(num_rows) for part in ([rows] if isinstance(rows, slice) else rows)]
    if any(step != 1 for _, _, step in ranges):
        raise ValueError(f"rows must be ranges without a step, got {rows}; pass one range for each run of rows")
    return [(start, max(start, stop)) for start, stop, _ in ranges]


def _epoch_file(split: str, epoch: int, branch: int) -> str:
    return f"{split}/epoch-{epoch:03d}-branch-{branch}.safetensors"
