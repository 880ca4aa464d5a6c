"""Small trajectories of clusters, written through the real store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dynamics.store import Trajectories


@dataclass
class Synthetic:
    """Trajectories, and what only their maker knows."""

    trajectories: Trajectories
    given: np.ndarray
    true: np.ndarray
    test_true: np.ndarray


def default_class(rate: float, classes: int) -> np.ndarray:
    """Transition of a rule that gives up: a share of every class is called class 0."""
    transition = np.eye(classes) * (1 - rate)
    transition[:, 0] += rate
    return transition


def symmetric(rate: float, classes: int) -> np.ndarray:
    return np.eye(classes) * (1 - rate) + (1 - np.eye(classes)) * rate / (classes - 1)


def draw_labels(true: np.ndarray, transition: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.minimum((rng.random(len(true))[:, None] > transition.cumsum(1)[true]).sum(1), len(transition) - 1)


def make_store(
    path: Path, arrays: dict[str, list[tuple[Any, Any]]], labels: dict[str, Any] | None = None, **manifest: Any
) -> Any:
    """A store of `(embeddings [branch, row, dim], logits [branch, row, class])` an epoch, by split."""
    first_embeddings, first_logits = next(iter(arrays.values()))[0]
    digests = {name: labels_digest(given) for name, given in (labels or {}).items()}
    splits = {
        name: {"rows": epochs[0][0].shape[1], "labels": digests.get(name), "fingerprint": ""}
        for name, epochs in arrays.items()
    }
    sizes = {"num_branches": len(first_logits), "num_classes": first_logits.shape[2], "dim": first_embeddings.shape[2]}
    trajectories = Trajectories.create(path, {**sizes, "dtype": "float32", "splits": splits, **manifest})
    for name, epochs in arrays.items():
        for epoch, (embeddings, logits) in enumerate(epochs, start=1):
            trajectories.write(name, epoch, embeddings.astype(np.float32), logits.astype(np.float32))
    return trajectories


def make(
    path: Path,
    transition: np.ndarray,
    *,
    rows: int = 300,
    epochs: int = 3,
    branches: int = 2,
    spread: float = 0.5,
    features: bool = True,
    seed: int = 0,
    absent: int | None = None,
    **manifest: Any,
) -> Synthetic:
    """Clusters by true label that the classifier finds early, with given labels drawn by a transition matrix.

    Args:
        path: Folder.
        transition: `[true, given]`.
        rows: Training rows; a third as many in the split `test`.
        epochs: Recorded.
        branches: Recorded.
        spread: Of a row around its cluster.
        features: Whether the encoder's features are stored.
        seed: Of everything.
        absent: Class that no row has, neither as true nor as given label.
        **manifest: Further entries of the manifest.
    """
    rng = np.random.default_rng(seed)
    classes, dim, width = len(transition), 6, 8
    present = np.array([c for c in range(classes) if c != absent])
    true = {"train": rng.choice(present, rows), "test": rng.choice(present, rows // 3)}
    given = draw_labels(true["train"], transition, rng)
    if absent is not None:
        given = np.where(given == absent, true["train"], given)
    centres, feature_centres = 2 * rng.normal(size=(classes, dim)), 2 * rng.normal(size=(classes, width))
    arrays: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "test": []}
    for split, labels in true.items():
        for _ in range(epochs):
            scatter = spread * rng.normal(size=(branches, len(labels), dim))
            logits = 2 * np.eye(classes)[labels] + rng.normal(size=(branches, len(labels), classes))
            arrays[split].append((centres[labels] + scatter, logits))
    trajectories = make_store(path, arrays, {"train": given}, **manifest)
    if features:
        for split, labels in true.items():
            scatter = spread * rng.normal(size=(len(labels), width))
            trajectories.write_features(split, (feature_centres[labels] + scatter).astype(np.float32))
    return Synthetic(trajectories, given, true["train"], true["test"])
