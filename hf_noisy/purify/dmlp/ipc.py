"""Intrinsic primary correction: labels follow the gradient of a clean loss through a ridge regression, in closed form.

The weights `W = (F'F + penalty)^-1 F'Y` are linear in the labels Y, so the gradient of a loss at Y is
`F (F'F + penalty)^-1 dL/dW`: two solves with one Cholesky factor, and nothing to differentiate through an inverse.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class InnerRidge:
    """The ridge regression from features to labels of one chunk of rows.

    Args:
        factor: `[width, width]`, lower Cholesky factor of `F'F + penalty I`.

    Source: DMLP (Tu et al., 2023), Eq. 4 and 5.

    Example:
        >>> features = torch.eye(2)
        >>> InnerRidge.fit(features, penalty=1.0).weights(features, torch.eye(2)).diagonal()
        tensor([0.5000, 0.5000])
    """

    factor: Float[Tensor, "width width"]

    @classmethod
    def fit(cls, features: Float[Tensor, "rows width"], penalty: float) -> "InnerRidge":
        """Factorise once; every label matrix over the same rows is then cheap.

        Raises:
            ValueError: If the features are collinear and the penalty does not help.
        """
        gram = features.T @ features
        gram.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed.item():
            raise ValueError(f"penalty={penalty} leaves the ridge regression singular; pass a larger one, such as 1.0")
        return cls(factor)

    def weights(
        self, features: Float[Tensor, "rows width"], targets: Float[Tensor, "rows classes"]
    ) -> Float[Tensor, "width classes"]:
        """Ridge weights for these targets (Eq. 5)."""
        # In this order, since the product of a transposed tall matrix with few columns is up to eight times slower.
        return torch.cholesky_solve((targets.T @ features).T, self.factor)

    def target_gradient(
        self, features: Float[Tensor, "rows width"], weight_gradient: Float[Tensor, "width classes"]
    ) -> Float[Tensor, "rows classes"]:
        """Gradient of a loss at the targets, from its gradient at the weights."""
        return (torch.cholesky_solve(weight_gradient, self.factor).T @ features.T).T


def code_loss_gradient(
    scores: Float[Tensor, "clean classes"], labels: Int[Tensor, " clean"]
) -> Float[Tensor, "clean classes"]:
    """Gradient of the clean loss of the published code: mean cross-entropy and summed squared error.

    Its third term, which pulls the mean prediction towards equal classes, is left out: classes need not be equal.
    """
    onehot = one_hot(labels, scores.shape[1]).to(scores.dtype)
    return (torch.softmax(scores, 1) - onehot) / len(labels) + 2 * (scores - onehot)


def paper_loss_gradient(
    scores: Float[Tensor, "clean classes"], labels: Int[Tensor, " clean"]
) -> Float[Tensor, "clean classes"]:
    """Gradient of the clean loss as printed: squared error and entropy, both averaged over the clean rows.

    The entropy is that of the softmax of the scores, since it is not defined for the scores themselves.

    Source: DMLP, Eq. 6.
    """
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
