"""How many given labels are wrong, estimated without a true one."""

import warnings

import numpy as np
from jaxtyping import Float


def estimate_noise_rate(scores: Float[np.ndarray, " rows"], seed: int = 0) -> float:
    """Share of the rows in the upper component of a mixture of two Gaussians.

    Args:
        scores: `[rows]`, the higher, the more suspicious the given label.
        seed: Of the starting points of the mixture.

    Returns:
        A rate in `[0, 1)`. The mixture always finds two groups, so a clean data set is not estimated at 0.

    Raises:
        ValueError: If there are fewer than 4 rows or a score is not finite.

    Example:
        >>> import numpy as np
        >>> normal = np.random.default_rng(0).normal
        >>> round(estimate_noise_rate(np.concatenate([normal(0, 1, 800), normal(8, 1, 200)])), 2)
        0.2
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(scores) < 4 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be at least 4 finite numbers, got {len(scores)}; pass noise_rate yourself")
    if np.ptp(scores) == 0:
        return 0.0
    column = scores.astype(np.float64)[:, None]
    mixture = GaussianMixture(2, n_init=3, random_state=seed)
    with warnings.catch_warnings():
        # Few distinct scores leave nothing to converge to; the shares are still what was asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(column)
    upper = int(np.argmax(mixture.means_[:, 0]))
    return float(min(mixture.predict_proba(column)[:, upper].mean(), 1.0 - 1.0 / len(scores)))


def check_noise_rate(noise_rate: float | None) -> None:
    """Refuse a rate outside [0, 1).

    Raises:
        ValueError: If it is given and outside.
    """
    if noise_rate is not None and not 0.0 <= noise_rate < 1.0:
        raise ValueError(f"noise_rate must be in [0, 1), got {noise_rate}; pass None to have it estimated")
