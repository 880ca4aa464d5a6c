"""Multinomial logistic regression with strong L2 on frozen features, for hard or soft labels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch.nn.functional import cross_entropy, linear

_STEPS = 60  # of L-BFGS; more do not change predictions


@dataclass(frozen=True)
class LinearHead:
    """Weights and bias of a fitted head."""

    weight: Float64[np.ndarray, "width classes"]
    bias: Float64[np.ndarray, " classes"]

    def logits(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Logits of the rows."""
        return np.asarray(features @ self.weight + self.bias, dtype=np.float64)


def fit_linear_head(
    features: Float[np.ndarray, "rows width"], targets: Float[np.ndarray, "rows classes"], penalty: float
) -> LinearHead:
    """Minimise the mean cross-entropy with the targets plus half the penalty times the squared weights."""
    # scikit-learn takes hard labels only, and rows repeated for every class would cost as many times the memory.
    x, y = torch.from_numpy(np.asarray(features, np.float32)), torch.from_numpy(np.asarray(targets, np.float32))
    # Products with so few columns take a fifth of the time in this layout.
    weight = x.new_zeros(y.shape[1], x.shape[1]).requires_grad_()
    bias = x.new_zeros(y.shape[1]).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = cross_entropy(linear(x, weight, bias), y) + penalty / 2 * weight.square().sum()
        torch.autograd.backward(value)
        return float(value.detach())

    with torch.enable_grad():
        optimizer.step(loss)
    return LinearHead(weight.detach().double().numpy().T, bias.detach().double().numpy())
