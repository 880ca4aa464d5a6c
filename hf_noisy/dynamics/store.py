"""Training trajectories as files: one safetensors a split, epoch and branch, and a manifest."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

MANIFEST = "manifest.json"
FOLDER = "_trajectories"  # the underscore keeps Trainer.push_to_hub from publishing it
_FORMAT = 1
_FEATURES = "features.safetensors"
_FILE = re.compile(r"epoch-(\d+)-branch-(\d+)\.safetensors")


class Trajectories:
    """What training recorded, read lazily from its folder.

    Args:
        path: The folder, or the `output_dir` that holds it.

    Attributes:
        splits: Names of the recorded data sets.
        epochs: The epochs (from 1) recorded for every split and branch.
        num_branches, num_classes, dim: Sizes.

    Raises:
        FileNotFoundError: If there are no trajectories at `path`.

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
        self.manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        if self.manifest.get("format") != _FORMAT:
            raise ValueError(f"path {path} holds trajectories of format {self.manifest.get('format')}, not {_FORMAT}")
        self.num_branches: int = self.manifest["num_branches"]
        self.num_classes: int = self.manifest["num_classes"]
        self.dim: int = self.manifest["dim"]
        self.splits: list[str] = list(self.manifest["splits"])

    @classmethod
    def create(cls, path: str | Path, manifest: dict[str, Any]) -> "Trajectories":
        """Begin new trajectories in `path`, discarding those of an earlier run there."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        (path / MANIFEST).unlink(missing_ok=True)
        for old in path.glob("*/*"):
            if _FILE.fullmatch(old.name) or old.name == _FEATURES:
                old.unlink()
        write_atomically(path / MANIFEST, json.dumps({"format": _FORMAT, **manifest}, indent=1).encode())
        return cls(path)

    @property
    def epochs(self) -> list[int]:
        found: list[set[int]] = []
        for split in self.splits:
            per_branch: dict[int, set[int]] = {branch: set() for branch in range(self.num_branches)}
            for file in (self.path / split).glob("epoch-*"):
                if (match := _FILE.fullmatch(file.name)) and int(match[2]) in per_branch:
                    per_branch[int(match[2])].add(int(match[1]))
            found += per_branch.values()
        return sorted(set.intersection(*found)) if found else []

    @property
    def num_epochs(self) -> int:
        return len(self.epochs)

    def num_rows(self, split: str) -> int:
        return int(self._split(split)["rows"])

    def embeddings(self, split: str, epoch: int, branch: int) -> Float[np.ndarray, "rows dim"]:
        """What the classification head of `branch` saw after `epoch` (from 1), `[rows, dim]`, float32."""
        return self._read(split, epoch, branch, "embeddings")

    def logits(self, split: str) -> Float[np.ndarray, "epochs branches rows classes"]:
        """Logits of all recorded epochs, `[epochs, branches, rows, classes]`, float32."""
        branches = range(self.num_branches)
        return np.stack([[self._read(split, epoch, branch, "logits") for branch in branches] for epoch in self.epochs])

    def epoch_logits(self, split: str, branch: int = 0) -> Iterator[Float[np.ndarray, "rows classes"]]:
        """Logits of one branch `[rows, classes]`, an epoch at a time: what the scores of `detection` read."""
        return (self._read(split, epoch, branch, "logits") for epoch in self.epochs)

    def features(self, split: str) -> Float[np.ndarray, "rows width"] | None:
        """Pooled hidden states of the encoder before the first step, `[rows, width]`; None where there was none."""
        file = self.path / split / _FEATURES
        return load_file(file)["features"].astype(np.float32) if file.is_file() else None

    def check_labels(self, split: str, labels: Shaped[np.ndarray, " rows"]) -> None:
        """Refuse labels that are not those of the recorded rows.

        Raises:
            ValueError: If the digest of `labels` differs from the one recorded with the split.
        """
        recorded = self._split(split)
        if recorded["rows"] != len(labels) or recorded["labels"] not in (None, labels_digest(labels)):
            raise ValueError(
                f"trajectories at {self.path} belong to another dataset: split {split!r} has {recorded['rows']} rows "
                f"with other labels than the {len(labels)} given; pass the labels that training saw, in their order"
            )

    def write(
        self,
        split: str,
        epoch: int,
        embeddings: Float[np.ndarray, "branches rows dim"],
        logits: Float[np.ndarray, "branches rows classes"],
    ) -> None:
        """Write one epoch of a split; each file appears whole or not at all."""
        folder = self.path / split
        folder.mkdir(exist_ok=True)
        for branch in range(self.num_branches):
            target = folder / f"epoch-{epoch:03d}-branch-{branch}.safetensors"
            _save(target, {"embeddings": embeddings[branch], "logits": logits[branch]})

    def write_features(self, split: str, features: Float[np.ndarray, "rows width"]) -> None:
        """Write what the encoder saw before the first step."""
        (self.path / split).mkdir(exist_ok=True)
        _save(self.path / split / _FEATURES, {"features": features})

    def _split(self, split: str) -> dict[str, Any]:
        if split not in self.manifest["splits"]:
            raise ValueError(f"split {split!r} was not recorded; choose one of {', '.join(self.splits)}")
        recorded: dict[str, Any] = self.manifest["splits"][split]
        return recorded

    def _read(self, split: str, epoch: int, branch: int, name: str) -> Float[np.ndarray, "rows _"]:
        self._split(split)
        file = self.path / split / f"epoch-{epoch:03d}-branch-{branch}.safetensors"
        if not file.is_file():
            raise ValueError(f"epoch {epoch} of branch {branch} was not recorded; there are epochs {self.epochs}")
        with safe_open(file, framework="np") as stored:
            values: np.ndarray = stored.get_tensor(name)
        return values.astype(np.float32)


def labels_digest(labels: Shaped[np.ndarray, " rows"]) -> str:
    """SHA-256 of the labels in their order."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype=np.int64).tobytes()).hexdigest()


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    os.replace(temporary, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name and rename, so that a reader never sees half a file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
