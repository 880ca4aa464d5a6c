"""Linear probes on frozen features: out-of-fold predictions, and logits after every epoch."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from hf_noisy.core.blocks import row_slices
from hf_noisy.core.types import Labels
from hf_noisy.detection.directions import directions_by_size, mean_direction
from hf_noisy.detection.near_copies import near_copy_groups

_INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_TINY = 1e-12
# Of an epoch. On 10 of 12 sets of 1,300 to 3,000 rows batches of 64 rows ranked wrong labels worse than 256.
_LEAST_STEPS, _MOST_STEPS = 12, 250
_SMALLEST, _BATCH = 64, 256
_EVALUATED = 1 << 22  # numbers read at once
_KEPT = 1 << 26  # standardised numbers in memory


def probe_logits(
    features: Float[np.ndarray, "rows width"],
    labels: Labels,
    num_classes: int,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-2,
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[Float32[np.ndarray, "rows classes"]]:
    """Train a linear layer on the given labels; yields its logits for all rows after each epoch.

    Batches are of 256 rows, of fewer or more if an epoch would have less than 12 or more than 250 of them.
    """
    if batch_size is None:
        batch_size = max(min(_BATCH, len(features) // _LEAST_STEPS), _SMALLEST, len(features) // _MOST_STEPS)
    lazy = _Standardised(features)
    scaled = lazy[:] if features.size <= _KEPT else lazy
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
        logits = np.empty((len(scaled), num_classes), dtype=np.float32)
        with torch.no_grad():
            for rows in row_slices(len(features), features.shape[1], _EVALUATED):
                logits[rows] = layer(scaled[rows]).numpy()
        yield logits


class _Standardised:
    """Features of mean 0 and deviation 1, made when their rows are indexed: a copy of all would take much memory."""

    def __init__(self, features: Float[np.ndarray, "rows width"]) -> None:
        blocks = row_slices(len(features), features.shape[1], _EVALUATED)
        self.features = features
        mean = sum(features[rows].sum(0, dtype=np.float64) for rows in blocks) / len(features)
        squares = sum(np.square(features[rows] - mean).sum(0) for rows in blocks) / len(features)
        dtype = np.result_type(features.dtype, np.float32)
        self.mean = mean.astype(dtype)
        self.scale = np.divide(1, np.sqrt(squares), out=np.ones(len(mean)), where=squares > 0).astype(dtype)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Tensor | slice) -> Float32[Tensor, "some width"]:
        values = self.features[rows.numpy() if isinstance(rows, Tensor) else rows] - self.mean
        values *= self.scale
        return torch.from_numpy(values.astype(np.float32, copy=False))


def out_of_fold_probabilities(
    features: Float[np.ndarray, "rows width"], labels: Labels, *, folds: int = 5, seed: int = 0
) -> Float64[np.ndarray, "rows classes"]:
    """Predictions of a logistic regression that was fitted neither on the row nor on its copies, `[rows, classes]`."""
    counts = np.bincount(labels)
    if counts.min() < 2:
        raise ValueError(
            f"every class must have at least 2 rows for cross-validation, but {int((counts < 2).sum())} classes have "
            "one; drop these rows, or pass probabilities= a column of predictions"
        )
    fold = folds_of(near_copy_groups(directions_by_size(features, mean_direction(features))), labels, folds, seed)
    rows, best, highest = np.arange(len(labels)), np.empty(0), -np.inf
    # From the strongest penalty: the likelihood of noisy labels has one maximum, and weak penalties take the longest.
    for inverse_penalty in _INVERSE_PENALTIES:
        predicted = _held_out(features, labels, fold, inverse_penalty)
        likelihood = float(np.log(predicted[rows, labels] + _TINY).mean())
        if likelihood < highest:
            break
        if likelihood > highest:
            best, highest = predicted, likelihood
    return best


def _held_out(
    features: Float[np.ndarray, "rows width"], labels: Labels, fold: Int64[np.ndarray, " rows"], inverse_penalty: float
) -> Float64[np.ndarray, "rows classes"]:
    """Predictions of each fold by a logistic regression on standardised features of the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    predicted = np.zeros((len(labels), int(labels.max()) + 1))
    for number in np.unique(fold):
        held = fold == number
        scaler, model = StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=1000)
        model.fit(scaler.fit_transform(features[~held]), labels[~held])
        # A class with fewer rows than folds is missing from some folds, but never held out completely.
        predicted[np.ix_(held, model.classes_)] = model.predict_proba(scaler.transform(features[held]))
    return predicted


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
