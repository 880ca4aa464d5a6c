"""Which rows a noise changes: the draws that all noises share."""

import numpy as np
from jaxtyping import Bool, Float

from hf_noisy.rng import uniforms


def check_rate(rate: float) -> None:
    """Refuse a rate that is not a share of rows."""
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")


def noise_draws(seed: int, stream: str, num_rows: int) -> Float[np.ndarray, "rows draws"]:
    """Uniform numbers `[rows, 3]`: whether the row flips, where to, how likely it was to flip.

    Args:
        seed: Seed of the noise.
        stream: Name of the split, so that row 0 of two splits has two draws.
        num_rows: Number of rows.

    Returns:
        Array `[rows, 3]` in (0, 1), keyed by seed, stream and row.
    """
    return uniforms(seed, stream=f"label_noise/{stream}", index=np.arange(num_rows), size=3)


def choose(margins: Float[np.ndarray, " rows"], rate: float, exact: bool) -> Bool[np.ndarray, " rows"]:
    """Rows that flip: those with the largest margin, or, if not exact, those with a positive one.

    Args:
        margins: Probability of a flip minus a uniform number, `[rows]`.
        rate: Share of the rows that flip, in [0, 1).
        exact: Flip exactly `round(rate * rows)` rows.

    Returns:
        Whether each row flips, `[rows]`.

    Example:
        >>> choose(np.array([0.1, -0.2, 0.3]), rate=0.3, exact=True).tolist()
        [False, False, True]
    """
    if not exact:
        return margins > 0
    flips = np.zeros(len(margins), dtype=bool)
    count = round(rate * len(margins))
    if count:
        flips[np.argpartition(-margins, count - 1)[:count]] = True
    return flips
