"""The trajectory vector `w` of a row: what its embedding was, epoch after epoch."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from hf_noisy.dynamics.store import Trajectories


@dataclass
class TrajectoryVectors:
    """Builds `w` from trajectories: the embeddings of all epochs, and the pretrained encoder's features.

    Each epoch's block is centred and scaled by what the training rows showed, so that no epoch outweighs another; the
    features count as much as all epochs together. With `raw`, `w` is the plain concatenation of the embeddings, as
    published.

    Args:
        epochs: The epochs read, from 1.
        means: `[epochs, branches, dim]`, mean of the training rows.
        scales: `[epochs, branches]`, root mean square of the centred training rows.
        feature_mean: `[width]`; None where the encoder recorded no features, or with `raw`.
        feature_scale: Root mean square of the centred features.
    """

    epochs: list[int]
    means: Float[np.ndarray, "epochs branches dim"]
    scales: Float[np.ndarray, "epochs branches"]
    feature_mean: Float[np.ndarray, " width"] | None = None
    feature_scale: float = 1.0

    @classmethod
    def fit(cls, trajectories: Trajectories, split: str = "train", *, raw: bool = False) -> "TrajectoryVectors":
        """Measure means and scales on the training rows."""
        epochs, branches = trajectories.epochs, range(trajectories.num_branches)
        means = np.zeros((len(epochs), len(branches), trajectories.dim), np.float32)
        scales = np.ones((len(epochs), len(branches)), np.float32)
        if raw:
            return cls(epochs, means, scales)
        for position, epoch in enumerate(epochs):
            for branch in branches:
                means[position, branch], scales[position, branch] = _moments(
                    trajectories.embeddings(split, epoch, branch)
                )
        features = trajectories.features(split)
        if features is None:
            return cls(epochs, means, scales)
        feature_mean, feature_scale = _moments(unit_rows(features))
        return cls(epochs, means, scales, feature_mean, float(feature_scale))

    @property
    def dim(self) -> int:
        """Length of `w`."""
        width = 0 if self.feature_mean is None else len(self.feature_mean)
        return int(self.means.shape[0] * self.means.shape[2]) + width

    def __call__(self, trajectories: Trajectories, split: str) -> Float32[Tensor, "branch rows dim"]:
        """`w` of every row of a split, for every branch.

        Raises:
            ValueError: If the trajectories lack an epoch, a branch or features that the fit had.
        """
        width = self.means.shape[2]
        if (trajectories.num_branches, trajectories.dim) != (self.means.shape[1], width):
            raise ValueError(
                f"trajectories have {trajectories.num_branches} branches of {trajectories.dim} dimensions, but the "
                f"fit had {self.means.shape[1]} of {width}; use those of the same training"
            )
        w = torch.empty(trajectories.num_branches, trajectories.num_rows(split), self.dim)
        for position, epoch in enumerate(self.epochs):
            block = slice(position * width, (position + 1) * width)
            for branch in range(trajectories.num_branches):
                embeddings = trajectories.embeddings(split, epoch, branch) - self.means[position, branch]
                w[branch, :, block] = torch.from_numpy(embeddings / self.scales[position, branch])
        if self.feature_mean is not None:
            features = trajectories.features(split)
            if features is None:
                raise ValueError(f"trajectories hold no features of split {split!r}; record it from the first step on")
            if features.shape[1] != len(self.feature_mean):
                raise ValueError(
                    f"trajectories have features of width {features.shape[1]}, but the fit had "
                    f"{len(self.feature_mean)}; use those of the same training"
                )
            weight = np.sqrt(len(self.epochs) * width / len(self.feature_mean)) / self.feature_scale
            w[:, :, len(self.epochs) * width :] = torch.from_numpy((unit_rows(features) - self.feature_mean) * weight)
        return w


def _moments(rows: Float32[np.ndarray, "rows width"]) -> tuple[Float32[np.ndarray, " width"], np.float32]:
    mean = rows.mean(0)
    scale = np.sqrt(((rows - mean) ** 2).mean())
    return mean, np.float32(scale if scale > 0 else 1.0)


def unit_rows(rows: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    """Rows divided by their length; a row of zeros stays."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
