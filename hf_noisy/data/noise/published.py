"""Replay: given labels from a published file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hf_noisy.core.checks import check_labels
from hf_noisy.core.types import Labels
from hf_noisy.data.noise.kind import Noise, TrueRows
from hf_noisy.data.noise.label_file import read_label_file, whole_numbers


@dataclass(frozen=True, eq=False)
class ReplayNoise(Noise):
    """Labels become those of a published file, row by row; nothing is drawn.

    Args:
        labels: Given labels `[rows]` in the order of the dataset, or a file of them: `.npy`; `.npz`; `.pt` or `.pth`,
            a tensor, a list or a dictionary of them; `.json`, a list as DivideMix writes it; `.txt`, one label a line.
        key: Name of the labels, if the file holds several arrays.
        clean_key: Name of the true labels in the same file: compared with those of the dataset, to detect rows in
            another order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold labels; when applied, if their number or range does not fit the dataset.

    Example:
        >>> import numpy as np
        >>> ReplayNoise([1, 1, 0]).apply(np.array([0, 1, 0]), num_classes=2).tolist()
        [1, 1, 0]
    """

    labels: str | Path | Sequence[int] | Shaped[np.ndarray, "..."]
    key: str | None = None
    clean_key: str | None = None
    rate: float | None = field(default=None, init=False)
    kind: str = field(default="replay", init=False)

    def __post_init__(self) -> None:
        file, clean = None, None
        if isinstance(self.labels, str | Path):
            file = Path(self.labels).name
            given = read_label_file(self.labels, self.key)
            clean = None if self.clean_key is None else read_label_file(self.labels, self.clean_key)
        elif self.key is not None or self.clean_key is not None:
            raise ValueError("key and clean_key are for files; leave them out, or pass the path of a file")
        else:
            given = whole_numbers(self.labels, "labels of noise.replay")
        # Read once, here: the record must not change with the file.
        for name, value in (("_file", file), ("_labels", given), ("_clean", clean)):
            object.__setattr__(self, name, value)

    def _given(self, true: TrueRows) -> Labels:
        labels, num_classes = true.labels, true.num_classes
        given, clean, name = self._stored
        if len(given) != len(labels):
            raise ValueError(f"{name} has {len(given)} labels, but the dataset has {len(labels)} rows")
        check_labels(given, num_classes, name=name)
        if clean is not None and not np.array_equal(clean, labels):
            raise ValueError(
                f"{name} has true labels under '{self.clean_key}' that differ from the dataset's; put both into "
                "the same order"
            )
        return given.copy()

    def settings(self) -> dict[str, Any]:
        given, _, _ = self._stored
        digest = hashlib.sha256(given.astype("<i8").tobytes()).hexdigest()
        return {"kind": self.kind, "rate": None, "file": vars(self)["_file"], "key": self.key, "sha256": digest}

    @property
    def _stored(self) -> tuple[np.ndarray, np.ndarray | None, str]:
        file, given, clean = (vars(self)[name] for name in ("_file", "_labels", "_clean"))
        return given, clean, "labels of noise.replay" if file is None else f"label file '{file}'"
