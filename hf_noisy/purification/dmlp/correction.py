"""The loop of DMLP: label correction by a ridge regression (IPC) alternates with a classifier (EAC).

The weights `W = (F'F + penalty)^-1 F'Y` are linear in the labels Y, so the gradient of a loss at Y is
`F (F'F + penalty)^-1 dL/dW`: two solves with one Cholesky factor, and nothing to differentiate through an inverse.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Integer
from torch import Tensor
from torch.nn.functional import one_hot

from hf_noisy.purification.dmlp.ridge import Scaling

_PENALTY = 1.0
_LABEL_LEARNING_RATE = 0.01
_HEAD_LEARNING_RATE, _HEAD_BATCH = 0.03, 500
_BETAS = (0.5, 0.999)


class Correction:
    """Corrects labels so that a ridge regression on them fits the clean rows, and trains a classifier on them."""

    # By default Adam updates an unconstrained label matrix, with steps that do not shrink with the number of rows;
    # `paper_exact` updates logits by gradient descent, which hardly changes a label. Each branch has its own labels,
    # classifier and fold of the clean rows. Every `overwrite_every` epochs the classifier's probabilities replace the
    # labels. Tu et al. (2023), Eq. 4 to 9, with eta_I = 0.01, eta_E = 1 and a ridge penalty of 1.

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
        """Correct the labels; `left_out` are log-probabilities of each clean row by the branches fitted without it."""
        self.scaling = Scaling.fit(features)
        self._clean = torch.from_numpy(self.scaling(clean_features))
        self._clean_labels = torch.from_numpy(clean_labels.astype(np.int64))
        folds = _folds(clean_labels, self.branches)
        self._folds = [torch.from_numpy(np.flatnonzero(folds == branch)) for branch in range(self.branches)]
        self._head = Head(self._clean.shape[1], self.branches, self.num_classes, float(self.paper_exact))
        chunks = self._chunks(len(features))
        labels = [self._start(given[rows]) for rows in chunks]
        ridges: list[InnerRidge | None] = [None] * len(chunks)
        for epoch in range(self.epochs):
            if epoch % self.overwrite_every == 0:
                optimizers = [torch.optim.Adam([label], lr=_LABEL_LEARNING_RATE, betas=_BETAS) for label in labels]
            for number, rows in enumerate(chunks):
                chunk = torch.from_numpy(self.scaling(features[rows]))
                ridge = ridges[number] = ridges[number] or InnerRidge.fit(chunk, _PENALTY)
                self._correct(ridge, chunk, labels[number], optimizers[number])
                self._head.epoch(chunk, self._targets(labels[number]))
            if (epoch + 1) % self.overwrite_every == 0 or epoch + 1 == self.epochs:
                for rows, label in zip(chunks, labels, strict=True):
                    label.copy_(self._head(torch.from_numpy(self.scaling(features[rows]))).exp())
        log_p = self._head(self._clean)
        self.left_out = _mean_of_others(log_p, torch.from_numpy(folds)).double().numpy()
        return self

    def log_probabilities(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Log of the mean probability over the branches, of any rows."""
        starts = range(0, len(features), self.chunk_rows)
        parts = (self.scaling(features[start : start + self.chunk_rows]) for start in starts)
        log_p = torch.cat([self._head(torch.from_numpy(part)) for part in parts])
        return _mean_probability(log_p).double().numpy()

    def _chunks(self, rows: int) -> list[slice]:
        # Every k-th row: chunks are alike even if the rows are sorted by label, and none is small.
        count = -(-rows // self.chunk_rows)
        return [slice(start, None, count) for start in range(count)]

    def _start(self, given: Integer[np.ndarray, " rows"]) -> Float[Tensor, "rows branches classes"]:
        labels = one_hot(torch.from_numpy(given.astype(np.int64)), self.num_classes).float()
        return labels[:, None].repeat(1, self.branches, 1)

    def _correct(
        self,
        ridge: "InnerRidge",
        chunk: Float[Tensor, "rows width"],
        labels: Float[Tensor, "rows branches classes"],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """One IPC step on the labels of a chunk, in place."""
        sigma = torch.softmax(labels, -1) if self.paper_exact else labels
        weights = ridge.weights(chunk, sigma.flatten(1)).unflatten(1, labels.shape[1:])
        loss_gradient = paper_loss_gradient if self.paper_exact else code_loss_gradient
        slopes = []
        for branch, fold in enumerate(self._folds):
            clean = self._clean[fold]
            slopes.append(clean.T @ loss_gradient(clean @ weights[:, branch], self._clean_labels[fold]))
        gradient = ridge.target_gradient(chunk, torch.cat(slopes, 1)).unflatten(1, labels.shape[1:])
        if self.paper_exact:
            labels.sub_(softmax_gradient(sigma, gradient), alpha=_LABEL_LEARNING_RATE)
        else:
            labels.grad = gradient
            optimizer.step()

    def _targets(self, labels: Float[Tensor, "rows branches classes"]) -> Float[Tensor, "rows branches classes"]:
        if self.paper_exact:
            return torch.softmax(labels, -1)
        return one_hot(labels.argmax(-1), self.num_classes).float()


@dataclass(frozen=True)
class InnerRidge:
    """Ridge regression from features to labels of a chunk: the Cholesky factor of `F'F + penalty I` (Eq. 4)."""

    factor: Float[Tensor, "width width"]

    @classmethod
    def fit(cls, features: Float[Tensor, "rows width"], penalty: float) -> "InnerRidge":
        """Factorise once for all label matrices over the same rows."""
        gram = features.T @ features
        gram.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed.item():
            raise ValueError(f"penalty={penalty} leaves the ridge regression singular; a larger one does not")
        return cls(factor)

    def weights(
        self, features: Float[Tensor, "rows width"], targets: Float[Tensor, "rows classes"]
    ) -> Float[Tensor, "width classes"]:
        """Ridge weights for these targets (Eq. 5)."""
        # In this order: a transposed tall matrix times few columns is up to eight times slower.
        return torch.cholesky_solve((targets.T @ features).T, self.factor)

    def target_gradient(
        self, features: Float[Tensor, "rows width"], weight_gradient: Float[Tensor, "width classes"]
    ) -> Float[Tensor, "rows classes"]:
        """Gradient of a loss at the targets, from its gradient at the weights."""
        return (torch.cholesky_solve(weight_gradient, self.factor).T @ features.T).T


class Head:
    """Linear softmax classifiers, one per branch, trained together by Adam (Eq. 8)."""

    # Cross-entropy on the logits: the published code applies softmax twice, which bounds its logits to [0, 1].

    def __init__(self, width: int, branches: int, num_classes: int, entropy_weight: float = 0.0) -> None:
        self.weight = torch.zeros(width, branches * num_classes)
        self.shape = (branches, num_classes)
        self.entropy_weight = entropy_weight
        self._optimizer = torch.optim.Adam([self.weight], lr=_HEAD_LEARNING_RATE, betas=_BETAS)

    def __call__(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows branches classes"]:
        """Log-probabilities."""
        return torch.log_softmax((features @ self.weight).unflatten(1, self.shape), -1)

    def epoch(self, features: Float[Tensor, "rows width"], labels: Float[Tensor, "rows branches classes"]) -> None:
        """One pass over the rows in order, in batches of 500, with soft or hard labels."""
        for batch, targets in zip(features.split(_HEAD_BATCH), labels.split(_HEAD_BATCH), strict=True):
            scores = (batch @ self.weight).unflatten(1, self.shape)
            gradient = torch.softmax(scores, -1) - targets
            if self.entropy_weight:
                gradient += self.entropy_weight * entropy_gradient(scores)
            self.weight.grad = (gradient.flatten(1).T @ batch).T / len(batch)
            self._optimizer.step()


def code_loss_gradient(
    scores: Float[Tensor, "clean classes"], labels: Int[Tensor, " clean"]
) -> Float[Tensor, "clean classes"]:
    """Gradient of the clean loss of the published code: mean cross-entropy and summed squared error."""
    # Its third term, which pulls the mean prediction towards balanced classes, is left out.
    onehot = one_hot(labels, scores.shape[1]).to(scores.dtype)
    return (torch.softmax(scores, 1) - onehot) / len(labels) + 2 * (scores - onehot)


def paper_loss_gradient(
    scores: Float[Tensor, "clean classes"], labels: Int[Tensor, " clean"]
) -> Float[Tensor, "clean classes"]:
    """Gradient of the clean loss of Eq. 6: mean squared error and mean entropy, of the softmax of the scores."""
    onehot = one_hot(labels, scores.shape[1]).to(scores.dtype)
    return (2 * (scores - onehot) + entropy_gradient(scores)) / len(labels)


def entropy_gradient(scores: Float[Tensor, "... classes"]) -> Float[Tensor, "... classes"]:
    """Gradient of the summed entropy of `softmax(scores)` at the scores."""
    log_p = torch.log_softmax(scores, -1)
    p = log_p.exp()
    return -p * (log_p - (p * log_p).sum(-1, keepdim=True))


def softmax_gradient(
    probabilities: Float[Tensor, "... classes"], gradient: Float[Tensor, "... classes"]
) -> Float[Tensor, "... classes"]:
    """Gradient at the logits, from the gradient at their softmax."""
    return probabilities * (gradient - (probabilities * gradient).sum(-1, keepdim=True))


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
