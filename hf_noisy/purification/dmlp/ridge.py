"""Ridge regression on class labels in closed form: DMLP's baseline, and its choice of trusted rows."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Integer
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_PENALTIES = np.logspace(-3, 2, 16)
_PART = 4096
_TRUSTED_SHARE, _FEWEST_TRUSTED = 0.05, 10  # of all rows; a class
_LEAST_LOG_TEMPERATURE, _MOST_LOG_TEMPERATURE = -1.0, 6.0


@dataclass(frozen=True)
class Scaling:
    """Scales columns to mean 0 and equal variance, and rows to a length of about 1; appends a column of ones."""

    # `factor` is one over the standard deviation and over the square root of the number of columns kept.
    mean: Float64[np.ndarray, " kept"]
    factor: Float64[np.ndarray, " kept"]
    kept: Integer[np.ndarray, " kept"]

    @classmethod
    def fit(cls, features: Float[np.ndarray, "rows width"]) -> "Scaling":
        """Measure the columns of finite features; constant ones are dropped with a warning."""
        mean = features.mean(0, dtype=np.float64)
        deviation = np.sqrt(sum(((part - mean) ** 2).sum(0) for part in _parts(features)) / len(features))
        varies = deviation > 1e-6 * np.maximum(np.abs(mean), deviation.max(initial=0.0))
        if not varies.any():
            raise ValueError(
                "features are the same in every row, so they carry no information about a label; pass other features"
            )
        if constant := int((~varies).sum()):
            warnings.warn(
                f"{constant} of {len(varies)} columns of features are constant and are not used", stacklevel=3
            )
        kept = np.flatnonzero(varies)
        return cls(mean[kept], 1.0 / (deviation[kept] * np.sqrt(len(kept))), kept)

    def __call__(self, features: Float[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows scaled"]:
        """The scaled columns and a column of ones."""
        scaled = np.ones((len(features), len(self.kept) + 1), np.float32)
        chosen = features if len(self.kept) == features.shape[1] else features[:, self.kept]
        np.multiply(chosen, self.factor.astype(np.float32), out=scaled[:, :-1], casting="unsafe")
        scaled[:, :-1] -= (self.mean * self.factor).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on one-hot labels; penalty and temperature have the highest leave-one-out likelihood."""

    # `left_out` are log-probabilities of each row from a fit to all others, by the leave-one-out residuals of linear
    # smoothers, (y - fitted) / (1 - leverage) (Allen, 1974).
    scaling: Scaling
    weight: Float64[np.ndarray, "scaled classes"]
    penalty: float
    temperature: float
    left_out: Float64[np.ndarray, "rows classes"]

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "rows width"],
        labels: Integer[np.ndarray, " rows"],
        num_classes: int,
        penalty: float | None = None,
    ) -> "Ridge":
        """Fit to the labels; a `penalty` of None chooses from 0.001 to 100."""
        scaling = Scaling.fit(features)
        scaled, targets = scaling(features).astype(np.float64), np.eye(num_classes)[labels]
        # Eigenvectors of the Gram matrix serve every penalty at once.
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        values = np.maximum(values, 0.0)
        rotated, moments = scaled @ vectors, vectors.T @ (scaled.T @ targets)
        best = None
        for candidate in _PENALTIES if penalty is None else [penalty]:
            left_out = _leave_one_out(rotated, moments, targets, values + candidate)
            temperature, loss = _fit_temperature(left_out, labels)
            if best is None or loss < best[0]:
                best = loss, float(candidate), temperature, left_out
        assert best is not None
        _, chosen, temperature, left_out = best
        weight = vectors @ (moments / (values + chosen)[:, None])
        return cls(scaling, weight, chosen, temperature, log_softmax(temperature * left_out, axis=1))

    def __call__(self, features: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, "rows classes"]:
        """Log-probabilities of the classes."""
        weight = self.weight.astype(np.float32)
        scores = np.concatenate([self.scaling(part) @ weight for part in _parts(features)]).astype(np.float64)
        return np.asarray(log_softmax(self.temperature * scores, axis=1))


def trusted_rows(
    features: Float[np.ndarray, "rows width"], given: Integer[np.ndarray, " rows"], num_classes: int
) -> Integer[np.ndarray, " trusted"]:
    """Indices of the rows whose given label is predicted from all other rows, the most confident of each class."""
    # These are easy rows: figures measured on them are optimistic, and noise that depends on the features remains.
    predicted = Ridge.fit(features, given, num_classes).left_out
    own = predicted[np.arange(len(given)), given]
    agrees = predicted.argmax(1) == given
    quota = max(_FEWEST_TRUSTED, round(_TRUSTED_SHARE * len(given) / num_classes))
    chosen = []
    for label in range(num_classes):
        rows = np.flatnonzero(agrees & (given == label))
        chosen.append(rows[np.argsort(-own[rows], kind="stable")[:quota]])
    trusted = np.sort(np.concatenate(chosen))
    if len(trusted) < 2:
        raise ValueError("clean='trusted' found no rows whose given label the features predict; pass clean_features")
    return trusted


def _parts(features: Float[np.ndarray, "rows width"]) -> Iterator[Float[np.ndarray, "_ width"]]:
    # Nothing of the size of all features is made.
    for start in range(0, len(features), _PART):
        yield features[start : start + _PART]


def _leave_one_out(
    rotated: Float64[np.ndarray, "rows scaled"],
    moments: Float64[np.ndarray, "scaled classes"],
    targets: Float64[np.ndarray, "rows classes"],
    penalised: Float64[np.ndarray, " scaled"],
) -> Float64[np.ndarray, "rows classes"]:
    leverage = (rotated**2 @ (1.0 / penalised))[:, None]
    fitted = rotated @ (moments / penalised[:, None])
    return np.asarray(targets - (targets - fitted) / np.maximum(1.0 - leverage, 1e-9))


def _fit_temperature(
    scores: Float64[np.ndarray, "rows classes"], labels: Integer[np.ndarray, " rows"]
) -> tuple[float, float]:
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(np.exp(log_temperature) * scores, axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(_LEAST_LOG_TEMPERATURE, _MOST_LOG_TEMPERATURE), method="bounded")
    return float(np.exp(found.x)), float(found.fun)
