"""The trajectory vector `w` of a row: its embeddings of all epochs, one after the other."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from hf_noisy.dynamics.store import ALL, Rows, Trajectories, row_blocks, row_ranges

_ROWS_IN_CACHE = 256


@dataclass
class TrajectoryVectors:
    """Makes `w` from trajectories: the embeddings of all epochs, and the pretrained encoder's features."""

    # Blocks are centred and scaled, so that no epoch dominates; features weigh as much as all epochs together. With
    # `raw`, `w` is the plain concatenation of the embeddings, as published.
    epochs: list[int]  # from 1
    means: Float[np.ndarray, "epochs branches dim"]  # of the training rows
    scales: Float[np.ndarray, "epochs branches"]  # root mean square of the centred training rows
    feature_mean: Float[np.ndarray, " width"] | None = None  # None without recorded features, or with `raw`
    feature_scale: float = 1.0  # root mean square of the centred features

    @classmethod
    def fit(
        cls, trajectories: Trajectories, split: str = "train", *, raw: bool = False, with_features: bool = True
    ) -> "TrajectoryVectors":
        """Measure means and scales on the training rows."""
        epochs, branches = trajectories.epochs, range(trajectories.num_branches)
        means = np.zeros((len(epochs), len(branches), trajectories.dim), np.float32)
        scales = np.ones((len(epochs), len(branches)), np.float32)
        if raw:
            return cls(epochs, means, scales)
        for position, epoch in enumerate(epochs):
            for branch in branches:
                means[position, branch], scales[position, branch] = _moments(
                    trajectories.embeddings(split, epoch, branch, rows)
                    for rows in row_blocks(trajectories.num_rows(split), trajectories.dim)
                )
        first = trajectories.features(split, slice(0, 1)) if with_features else None
        if first is None:
            return cls(epochs, means, scales)
        feature_mean, feature_scale = _moments(
            unit_rows(recorded_features(trajectories, split, rows))
            for rows in row_blocks(trajectories.num_rows(split), first.shape[1])
        )
        return cls(epochs, means, scales, feature_mean, float(feature_scale))

    @property
    def dim(self) -> int:
        """Length of `w`."""
        width = 0 if self.feature_mean is None else len(self.feature_mean)
        return int(self.means.shape[0] * self.means.shape[2]) + width

    def __call__(
        self, trajectories: Trajectories, split: str, rows: Rows = ALL, out: Tensor | None = None
    ) -> Float32[Tensor, "branch rows dim"]:
        """`w` of all rows of a split or of some ranges of them, written to the start of `out` if given."""
        width = self.means.shape[2]
        if (trajectories.num_branches, trajectories.dim) != (self.means.shape[1], width):
            raise ValueError(
                f"trajectories have {trajectories.num_branches} branches of {trajectories.dim} dimensions, but the "
                f"fit had {self.means.shape[1]} of {width}; use those of the same training"
            )
        num_rows = sum(stop - start for start, stop in row_ranges(rows, trajectories.num_rows(split)))
        w = torch.empty(trajectories.num_branches, num_rows, self.dim) if out is None else out[:, :num_rows]
        for position, epoch in enumerate(self.epochs):
            block = slice(position * width, (position + 1) * width)
            for branch in range(trajectories.num_branches):
                # In place, as allocating new arrays would cost more than reading.
                embeddings = trajectories.embeddings(split, epoch, branch, rows, out=w[branch, :, block].numpy())
                for start in range(0, num_rows, _ROWS_IN_CACHE):
                    embeddings[start : start + _ROWS_IN_CACHE] -= self.means[position, branch]
                    embeddings[start : start + _ROWS_IN_CACHE] /= self.scales[position, branch]
        if self.feature_mean is not None:
            features = recorded_features(trajectories, split, rows)
            if features.shape[1] != len(self.feature_mean):
                raise ValueError(
                    f"trajectories have features of width {features.shape[1]}, but the fit had "
                    f"{len(self.feature_mean)}; use those of the same training"
                )
            weight = np.sqrt(len(self.epochs) * width / len(self.feature_mean)) / self.feature_scale
            w[:, :, len(self.epochs) * width :] = torch.from_numpy((unit_rows(features) - self.feature_mean) * weight)
        return w


@dataclass
class StoredVectors:
    """`w` of a split left on disk: the VAE reads from it what fits in memory."""

    vectors: TrajectoryVectors
    trajectories: Trajectories
    split: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Branches, rows and length of `w`."""
        return self.trajectories.num_branches, self.trajectories.num_rows(self.split), self.vectors.dim

    @property
    def row_bytes(self) -> int:
        """Bytes per row, all branches, in float32."""
        return 4 * self.shape[0] * self.shape[2]

    def read(self, rows: Rows, out: Tensor | None = None) -> Float32[Tensor, "branch rows dim"]:
        """`w` of some rows, as [`TrajectoryVectors`] builds it."""
        return self.vectors(self.trajectories, self.split, rows, out)


def recorded_features(trajectories: Trajectories, split: str, rows: Rows) -> Float32[np.ndarray, "rows width"]:
    """Features of the encoder before the first step, `[rows, width]`."""
    features = trajectories.features(split, rows)
    if features is None:
        raise ValueError(f"trajectories have no features of split {split!r}; record it from the first step on")
    return features


def _moments(blocks: Iterable[Float32[np.ndarray, "_ width"]]) -> tuple[Float32[np.ndarray, " width"], np.float32]:
    """Mean of the rows and root mean square of the centred rows, in one pass over the blocks."""
    count, mean, squares = 0, np.zeros(1), 0.0
    for rows in blocks:
        own = rows.mean(0)
        apart = own - mean if count else np.zeros(1)
        own_squares = float(((rows - own) ** 2).mean()) * rows.size
        # The parallel variance update of Chan, Golub and LeVeque (1983).
        squares += own_squares + float((apart**2).sum()) * count * len(rows) / (count + len(rows))
        mean = (count * mean + len(rows) * own.astype(np.float64)) / (count + len(rows))
        count += len(rows)
    scale = np.sqrt(np.float32(squares / (count * mean.size)))
    return mean.astype(np.float32), np.float32(scale if scale > 0 else 1.0)


def unit_rows(rows: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    """Rows divided by their length; a row of zeros stays."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
