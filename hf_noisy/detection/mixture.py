"""Small-loss mixtures: the probability that a row is clean, from the distribution of the losses."""

import warnings
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64

from hf_noisy.core.blocks import evenly_spaced

MAX_FITTED = 20_000  # larger data is fitted on so many quantiles


def small_loss(
    losses: Float[np.ndarray, " rows"], components: Literal["gaussian", "beta"] = "gaussian", seed: int = 0
) -> Float64[np.ndarray, " rows"]:
    """Probability that a row belongs to the component of small losses in a mixture of two.

    Losses are clipped to the means of the two components: otherwise the wider component would have the higher density
    at both ends, and the smallest losses would look wrong.

    Args:
        losses: `[rows]`, cross-entropy with the given label (nats), of an epoch before memorisation or as a mean over
            epochs.
        components: `"gaussian"`, or `"beta"` for losses that are concentrated near 0.
        seed: Seed of the initialisation of the Gaussian mixture.

    Returns:
        `[rows]`, in [0, 1]; the higher, the better the label. All 1 if all losses are equal. The mixture always finds
        two groups, so in clean data the harder rows look wrong.

    Raises:
        ValueError: If there are fewer than 4 rows, a loss is not finite, or `components` is not known.

    Source: Gaussian DivideMix (Li et al., 2020), Section 3.1; beta Arazo et al. (2019), Section 3.1.

    Example:
        >>> import numpy as np
        >>> small_loss(np.array([0.1, 0.2, 0.15, 0.12, 3.0, 3.2])).round(2).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    _check(losses, components)
    low, high = float(losses.min()), float(losses.max())
    if low == high:
        return np.ones(len(losses))
    scaled = (losses.astype(np.float64) - low) / (high - low)
    fitted = evenly_spaced(np.sort(scaled), MAX_FITTED)
    return _gaussian(scaled, fitted, seed) if components == "gaussian" else _beta(scaled, fitted)


def two_gaussians(values: Float64[np.ndarray, " rows"], **settings: Any) -> Any:
    """A fitted mixture of two Gaussians."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        # With few distinct values it may not converge; the shares can still be used.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(2, **settings).fit(values[:, None])


def _check(losses: Any, components: str) -> None:
    if components not in ("gaussian", "beta"):
        raise ValueError(f"components must be gaussian or beta, got {components!r}")
    if not isinstance(losses, np.ndarray) or losses.dtype.kind != "f" or losses.ndim != 1 or len(losses) < 4:
        got = f"{losses.dtype} of {losses.shape}" if isinstance(losses, np.ndarray) else type(losses).__name__
        raise ValueError(f"losses must be a numpy array of at least 4 real numbers, one per row, got {got}")
    if not np.isfinite(losses).all():
        row = int(np.argmin(np.isfinite(losses)))
        raise ValueError(f"losses must be finite, got {losses[row]} in row {row}; drop an epoch that diverged")


def _gaussian(
    scaled: Float64[np.ndarray, " rows"], fitted: Float64[np.ndarray, " fitted"], seed: int
) -> Float64[np.ndarray, " rows"]:
    # The floor of the variance is DivideMix's; sklearn's default tolerance stops too early if the groups overlap.
    mixture = two_gaussians(fitted, reg_covar=5e-4, tol=1e-6, max_iter=500, random_state=seed)
    means = mixture.means_[:, 0]
    between = np.clip(scaled, means.min(), means.max())
    clean: np.ndarray = mixture.predict_proba(between[:, None])[:, np.argmin(means)]
    return clean


def _beta(
    scaled: Float64[np.ndarray, " rows"], fitted: Float64[np.ndarray, " fitted"], steps: int = 100
) -> Float64[np.ndarray, " rows"]:
    """EM whose M-step matches the weighted mean and variance of each component."""
    from scipy.special import betaln, expit

    # Clipped to the 5 % and 95 % quantiles, as in the paper, so that one large loss does not squeeze all others to 0.
    low, high = np.quantile(fitted, [0.05, 0.95])
    if low == high:
        low, high = 0.0, 1.0
    parameters = [(0.5, 1.0, 2.0), (0.5, 2.0, 1.0)]

    def unit(values: np.ndarray) -> np.ndarray:
        between: np.ndarray = ((values - low) / (high - low)).clip(1e-4, 1 - 1e-4)
        return between

    def first_share(values: np.ndarray) -> np.ndarray:
        """Probability of the first component."""
        logs = [
            np.log(share) + (a - 1) * np.log(values) + (b - 1) * np.log1p(-values) - betaln(a, b)
            for share, a, b in parameters
        ]
        share: np.ndarray = expit(logs[0] - logs[1])
        return share

    points = unit(fitted)
    for _ in range(steps):
        first = first_share(points)
        parameters = [_matched(points, weights) for weights in (first, 1 - first)]
    means = [a / (a + b) for _, a, b in parameters]
    first = first_share(unit(scaled).clip(min(means), max(means)))
    return first if means[0] <= means[1] else 1 - first


def _matched(
    points: Float64[np.ndarray, " rows"], weights: Float64[np.ndarray, " rows"]
) -> tuple[float, float, float]:
    """Share, a and b of the beta distribution with the weighted mean and variance of the points."""
    total = max(float(weights.sum()), 1e-12)
    mean = float(np.clip(weights @ points / total, 1e-4, 1 - 1e-4))
    variance = max(float(weights @ (points - mean) ** 2 / total), 1e-6)
    concentration = max(mean * (1 - mean) / variance - 1, 1e-2)
    return total / len(points), mean * concentration, (1 - mean) * concentration
