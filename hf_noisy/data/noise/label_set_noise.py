"""Noise of sets of classes: true classes that are missing, and spurious ones, for each class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset
from jaxtyping import Bool, Float64

from hf_noisy.core.checks import check_rate
from hf_noisy.core.rng import uniforms
from hf_noisy.data.flat_labels import TaskName, as_label_lists, label_sets
from hf_noisy.data.noise.list_noise import ListNoise

Rates = float | Sequence[int | float] | np.ndarray


@dataclass(frozen=True)
class LabelSetNoise(ListNoise):
    """True classes are left out of the sets, and wrong ones put in.

    Counts are exact: `round(missing * positives)` of all true classes of all rows, or of each class where there is a
    share for each. The same holds for spurious classes.

    Args:
        missing: P(not given | true), in [0, 1): one share, or one for each class.
        spurious: P(given | not true), in [0, 1): one share, or one for each class. Most cells are not true, so a small
            share is many classes: the number of rows times classes counts.

    Raises:
        ValueError: If a share is not in [0, 1).

    Example:
        >>> LabelSetNoise(missing=0.4).settings()["missing"]
        0.4
    """

    missing: Rates = 0.0
    spurious: Rates = 0.0
    kind: str = field(default="label_sets", init=False)
    task: ClassVar[TaskName] = "multi-label"

    def __post_init__(self) -> None:
        for name in ("missing", "spurious"):
            for rate in np.atleast_1d(getattr(self, name)).tolist():
                check_rate(rate, name, "0.4 is 40 % of the cells")

    def apply(self, dataset: Dataset, column: str, seed: int, stream: str) -> tuple[pa.Array, dict[str, Any]]:
        """Noisy sets, and the numbers of changed cells."""
        true, known = label_sets(dataset, column)
        draws = uniforms(seed, stream=f"label_set_noise/{stream}", index=np.arange(len(true)), size=true.shape[1])
        labelled = known[:, None]
        missing = _chosen(true & labelled, draws, self.missing, "missing")
        spurious = _chosen(~true & labelled, draws, self.spurious, "spurious")
        counts = {"missing_cells": int(missing.sum()), "spurious_cells": int(spurious.sum())}
        return as_label_lists((true & ~missing) | spurious, known), counts

    def settings(self) -> dict[str, Any]:
        """The settings for the record in a dataset, as JSON values."""
        rates = {name: np.asarray(getattr(self, name)).tolist() for name in ("missing", "spurious")}
        return {**rates, "kind": self.kind}


def _chosen(
    cells: Bool[np.ndarray, "rows classes"], draws: Float64[np.ndarray, "rows classes"], rates: Rates, name: str
) -> Bool[np.ndarray, "rows classes"]:
    """The cells with the lowest draws: a share of all of them, or of those of each class."""
    found = np.zeros_like(cells)
    if np.ndim(rates) == 0:
        places = np.argwhere(cells)
        count = round(float(np.asarray(rates)) * len(places))
        first = places[np.argsort(draws[cells], kind="stable")[:count]]
        found[first[:, 0], first[:, 1]] = True
        return found
    if len(np.asarray(rates)) != cells.shape[1]:
        raise ValueError(f"{name} must be one share, or one for each of the {cells.shape[1]} classes, got {rates}")
    for label, rate in enumerate(np.asarray(rates).tolist()):
        rows = np.flatnonzero(cells[:, label])
        found[rows[np.argsort(draws[rows, label], kind="stable")[: round(rate * len(rows))]], label] = True
    return found
