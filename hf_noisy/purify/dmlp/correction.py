"""The loop of DMLP: IPC and EAC by turns, over chunks of rows."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Integer
from torch import Tensor
from torch.nn.functional import one_hot

from hf_noisy.purify.dmlp.eac import Head
from hf_noisy.purify.dmlp.ipc import InnerRidge, code_loss_gradient, paper_loss_gradient, softmax_gradient
from hf_noisy.purify.dmlp.ridge import Scaling

_PENALTY = 1.0
_LABEL_RATE = 0.01
_BETAS = (0.5, 0.999)


class Correction:
    """Corrects labels by what clean rows say, and keeps the classifier that learned them.

    By default a label matrix without constraints moves by Adam, whose steps do not shrink with the number of rows;
    `paper_exact` moves logits by plain gradient steps, which hardly change a label. Features are scaled (see
    [`Scaling`]) chunk by chunk, so that nothing of the size of all features is made.

    Args:
        num_classes: Number of classes.
        branches: Label matrices and classifiers; clean row i takes part in branch i mod branches, counted by class.
        epochs: Passes over the rows.
        overwrite_every: Epochs between two replacements of the labels by the classifier's probabilities.
        chunk_rows: Largest number of rows of one ridge regression.
        paper_exact: Follow Eq. 4 to 9 as printed.

    Source: Tu et al. (2023), Eq. 4 to 9, with eta_I = 0.01, eta_E = 1 and a ridge penalty of 1.
    """

    def __init__(
        self,
        num_classes: int,
        branches: int = 2,
        epochs: int = 100,
        overwrite_every: int = 20,
        chunk_rows: int = 7000,
        paper_exact: bool = False,
    ) -> None:
        self.num_classes, self.branches, self.epochs = num_classes, branches, epochs
        self.overwrite_every, self.chunk_rows, self.paper_exact = overwrite_every, chunk_rows, paper_exact

    def fit(
        self,
        features: Float[np.ndarray, "rows width"],
        given: Integer[np.ndarray, " rows"],
        clean_features: Float[np.ndarray, "clean width"],
        clean_labels: Integer[np.ndarray, " clean"],
    ) -> "Correction":
        """Correct the given labels.

        Args:
            features: `[rows, width]`.
            given: `[rows]`, given labels.
            clean_features: `[clean, width]`.
            clean_labels: `[clean]`.

        Returns:
            Itself, with `left_out` `[clean, classes]`: log-probabilities of each clean row by the branches that it
            took no part in (by all, where there is one branch).
        """
        self.scaling = Scaling.fit(features)
        self._clean = torch.from_numpy(self.scaling(clean_features))
        self._clean_labels = torch.from_numpy(clean_labels.astype(np.int64))
        folds = _folds(clean_labels, self.branches)
        self._folds = [torch.from_numpy(np.flatnonzero(folds == branch)) for branch in range(self.branches)]
        self._head = Head(self._clean.shape[1], self.branches, self.num_classes, float(self.paper_exact))
        chunks = self._chunks(len(features))
        labels = [self._start(given[rows]) for rows in chunks]
        factors: list[InnerRidge | None] = [None] * len(chunks)
        for epoch in range(self.epochs):
            if epoch % self.overwrite_every == 0:
                movers = [torch.optim.Adam([label], lr=_LABEL_RATE, betas=_BETAS) for label in labels]
            for number, rows in enumerate(chunks):
                chunk = torch.from_numpy(self.scaling(features[rows]))
                inner = factors[number] = factors[number] or InnerRidge.fit(chunk, _PENALTY)
                self._correct(inner, chunk, labels[number], movers[number])
                self._head.epoch(chunk, self._targets(labels[number]))
            if (epoch + 1) % self.overwrite_every == 0 or epoch + 1 == self.epochs:
                for rows, label in zip(chunks, labels, strict=True):
                    label.copy_(self._head(torch.from_numpy(self.scaling(features[rows]))).exp())
        log_p = self._head(self._clean)
        self.left_out = _mean_of_others(log_p, torch.from_numpy(folds)).double().numpy()
        return self

    def log_probabilities(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Log of the mean probability over the branches, of any rows."""
        parts = [self._head(torch.from_numpy(self.scaling(part))) for part in self._pieces(features)]
        return _mean_probability(torch.cat(parts)).double().numpy()

    def _pieces(self, features: Float[np.ndarray, "rows width"]) -> Iterator[Float[np.ndarray, "_ width"]]:
        for start in range(0, len(features), self.chunk_rows):
            yield features[start : start + self.chunk_rows]

    def _chunks(self, rows: int) -> list[slice]:
        # Every k-th row: each chunk is alike even if the rows are sorted by label, and none is small.
        count = -(-rows // self.chunk_rows)
        return [slice(start, None, count) for start in range(count)]

    def _start(self, given: Integer[np.ndarray, " rows"]) -> Float[Tensor, "rows branches classes"]:
        labels = one_hot(torch.from_numpy(given.astype(np.int64)), self.num_classes).float()
        return labels[:, None].repeat(1, self.branches, 1)

    def _correct(
        self,
        inner: InnerRidge,
        chunk: Float[Tensor, "rows width"],
        labels: Float[Tensor, "rows branches classes"],
        mover: torch.optim.Optimizer,
    ) -> None:
        """One IPC step on the labels of a chunk, in place."""
        sigma = torch.softmax(labels, -1) if self.paper_exact else labels
        weights = inner.weights(chunk, sigma.flatten(1)).unflatten(1, labels.shape[1:])
        of_loss = paper_loss_gradient if self.paper_exact else code_loss_gradient
        slopes = []
        for branch, fold in enumerate(self._folds):
            clean = self._clean[fold]
            slopes.append(clean.T @ of_loss(clean @ weights[:, branch], self._clean_labels[fold]))
        gradient = inner.target_gradient(chunk, torch.cat(slopes, 1)).unflatten(1, labels.shape[1:])
        if self.paper_exact:
            labels.sub_(softmax_gradient(sigma, gradient), alpha=_LABEL_RATE)
        else:
            labels.grad = gradient
            mover.step()

    def _targets(self, labels: Float[Tensor, "rows branches classes"]) -> Float[Tensor, "rows branches classes"]:
        if self.paper_exact:
            return torch.softmax(labels, -1)
        return one_hot(labels.argmax(-1), self.num_classes).float()


def _folds(labels: Integer[np.ndarray, " clean"], count: int) -> Integer[np.ndarray, " clean"]:
    """Rows of each class dealt out in turn."""
    folds = np.empty(len(labels), np.int64)
    order = np.argsort(labels, kind="stable")
    folds[order] = np.arange(len(labels)) % count
    return folds


def _mean_probability(log_p: Float[Tensor, "rows branches classes"]) -> Float[Tensor, "rows classes"]:
    return torch.logsumexp(log_p, 1) - math.log(log_p.shape[1])


def _mean_of_others(
    log_p: Float[Tensor, "rows branches classes"], folds: Int[Tensor, " rows"]
) -> Float[Tensor, "rows classes"]:
    branches = log_p.shape[1]
    if branches == 1:
        return log_p[:, 0]
    others = torch.arange(branches)[None] != folds[:, None]
    return _mean_probability(log_p[others].unflatten(0, (len(log_p), branches - 1)))
