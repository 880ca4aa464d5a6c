"""Linear probes on frozen features: out-of-fold predictions, and logits after every epoch."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

from hf_noisy.core.types import Labels
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.near_copies import near_copy_groups

_INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_TINY = 1e-12


def probe_logits(
    features: Float[np.ndarray, "rows width"],
    labels: Labels,
    num_classes: int,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-2,
    batch_size: int = 64,
    seed: int = 0,
) -> Iterator[Float32[np.ndarray, "rows classes"]]:
    """Train a linear layer on the given labels; yields its logits for all rows after each epoch."""
    deviation = features.std(axis=0)
    scaled = torch.from_numpy(
        ((features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    )
    targets = torch.from_numpy(labels.astype(np.int64))
    layer = torch.nn.Linear(features.shape[1], num_classes)
    torch.nn.init.zeros_(layer.weight)  # the same start for every seed
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(scaled), generator=order).split(batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(scaled[rows]), targets[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            yield layer(scaled).numpy()


def out_of_fold_probabilities(
    features: Float[np.ndarray, "rows width"], labels: Labels, *, folds: int = 5, seed: int = 0
) -> Float64[np.ndarray, "rows classes"]:
    """Predictions of a logistic regression that was fitted neither on the row nor on its copies, `[rows, classes]`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels)
    if counts.min() < 2:
        raise ValueError(
            f"every class must have at least 2 rows for cross-validation, but {int((counts < 2).sum())} classes have "
            "one; drop these rows, or pass probabilities= a column of predictions"
        )
    split = PredefinedSplit(
        folds_of(near_copy_groups(directions(features, mean_direction(features))), labels, folds, seed)
    )
    with warnings.catch_warnings():
        # A class with fewer rows than folds is missing from some folds, but never held out completely.
        warnings.filterwarnings("ignore", message="Number of classes in training fold")
        models = (make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in _INVERSE_PENALTIES)
        candidates = [cross_val_predict(model, features, labels, cv=split, method="predict_proba") for model in models]
    rows = np.arange(len(labels))
    best = max(candidates, key=lambda predicted: float(np.log(predicted[rows, labels] + _TINY).mean()))
    return np.asarray(best, dtype=np.float64)


def folds_of(groups: Int64[np.ndarray, " rows"], labels: Labels, folds: int, seed: int) -> Int64[np.ndarray, " rows"]:
    """The stratified fold of each row; rows of a group share one, so that none is fitted on a copy's label."""
    from sklearn.model_selection import StratifiedKFold

    first = np.unique(groups)
    # A class that would be held out completely is spread over the folds, copies or not.
    alone = np.bincount(labels[first], minlength=labels.max() + 1) < 2
    groups = np.where(alone[labels], np.arange(len(labels)), groups)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    splits = min(folds, int(np.bincount(labels[first]).max()))
    fold = np.empty(len(first), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        split = StratifiedKFold(splits, shuffle=True, random_state=seed).split(first, labels[first])
        for number, (_, held_out) in enumerate(split):
            fold[held_out] = number
    return fold[group]
