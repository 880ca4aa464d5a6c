"""Linear classifiers with strong L2 on frozen features, for hard or soft labels and for sets of labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Shaped
from scipy.special import expit

_STEPS = 100  # of L-BFGS; more change no label
_GRADIENT = 3e-6  # the largest element at which it stops


@dataclass(frozen=True)
class LinearHead:
    """Weights and bias of a fitted head."""

    weight: Float64[np.ndarray, "width classes"]
    bias: Float64[np.ndarray, " classes"]

    def logits(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Logits of the rows."""
        return np.asarray(features @ self.weight + self.bias, dtype=np.float64)


def fit_linear_head(
    features: Float[np.ndarray, "rows width"],
    targets: Shaped[np.ndarray, "rows classes"],
    penalty: float,
    sigmoid: bool = False,
) -> LinearHead:
    """Minimise the mean cross-entropy with the targets plus half the penalty times the squared weights.

    With `sigmoid` it is a binary cross-entropy for each class, on sets or on probabilities of the classes.
    """
    # scikit-learn takes hard labels only, and rows repeated for every class would cost as many times the memory.
    from scipy.optimize import minimize

    x, y = np.asarray(features, np.float32), np.asarray(targets, np.float32)
    shape = (y.shape[1], x.shape[1] + 1)  # the last column is the bias
    sums = y.sum(axis=1, keepdims=True)

    # Where there are few rows, autograd would take most of the time.
    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        numbers = values.reshape(shape)
        weight, bias = numbers[:, :-1], numbers[:, -1]
        logits = x @ weight.T.astype(np.float32) + bias.astype(np.float32)
        if sigmoid:
            value, errors = np.logaddexp(0, logits).sum(dtype=np.float64), expit(logits)
        else:
            logits -= logits.max(axis=1, keepdims=True)
            errors = np.exp(logits)
            all_classes = errors.sum(axis=1, keepdims=True)
            value = (sums * np.log(all_classes)).sum(dtype=np.float64)
            errors *= sums / all_classes
        value -= (y * logits).sum(dtype=np.float64)
        errors -= y
        gradient = np.empty(shape)
        gradient[:, :-1] = errors.T @ x / len(x) + penalty * weight
        gradient[:, -1] = errors.mean(axis=0)
        return value / len(x) + penalty / 2 * (weight**2).sum(), gradient.ravel()

    options = {"maxiter": _STEPS, "gtol": _GRADIENT}
    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.fun):
        raise ValueError("a linear head needs finite features and targets, got others or too large ones")
    numbers = found.x.reshape(shape)
    return LinearHead(numbers[:, :-1].T.copy(), numbers[:, -1].copy())
