"""Extrinsic auxiliary correction: a linear classifier that learns the corrected labels and then replaces them."""

import torch
from jaxtyping import Float
from torch import Tensor

from hf_noisy.purify.dmlp.ipc import entropy_gradient

_BATCH = 500
_LEARNING_RATE = 0.03
_BETAS = (0.5, 0.999)


class Head:
    """Linear softmax classifiers, one a branch, trained together by Adam.

    Cross-entropy on the logits: the published code takes a softmax twice, which bounds its logits to [0, 1].

    Args:
        width: Features, the column of ones among them.
        branches: Number of classifiers.
        num_classes: Number of classes.
        entropy_weight: Weight of the entropy of the prediction (Eq. 8); 0 is plain cross-entropy.

    Source: DMLP (Tu et al., 2023), Eq. 8.

    Example:
        >>> head, features = Head(2, 1, 2), torch.eye(2)
        >>> for _ in range(200):
        ...     head.epoch(features, labels=torch.eye(2)[:, None])
        >>> head(features)[:, 0].argmax(1).tolist()
        [0, 1]
    """

    def __init__(self, width: int, branches: int, num_classes: int, entropy_weight: float = 0.0) -> None:
        self.weight = torch.zeros(width, branches * num_classes)
        self.shape = (branches, num_classes)
        self.entropy_weight = entropy_weight
        self._optimizer = torch.optim.Adam([self.weight], lr=_LEARNING_RATE, betas=_BETAS)

    def __call__(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows branches classes"]:
        """Log-probabilities."""
        return torch.log_softmax((features @ self.weight).unflatten(1, self.shape), -1)

    def epoch(self, features: Float[Tensor, "rows width"], labels: Float[Tensor, "rows branches classes"]) -> None:
        """One pass over the rows in their order, 500 rows a step, towards soft or hard labels."""
        for batch, targets in zip(features.split(_BATCH), labels.split(_BATCH), strict=True):
            scores = (batch @ self.weight).unflatten(1, self.shape)
            gradient = torch.softmax(scores, -1) - targets
            if self.entropy_weight:
                gradient += self.entropy_weight * entropy_gradient(scores)
            self.weight.grad = (gradient.flatten(1).T @ batch).T / len(batch)
            self._optimizer.step()
