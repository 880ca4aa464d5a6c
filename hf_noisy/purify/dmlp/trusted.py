"""Rows whose given label may stand in for a clean one."""

import numpy as np
from jaxtyping import Float, Integer

from hf_noisy.purify.dmlp.ridge import Ridge

_SHARE = 0.05
_FEWEST = 10


def trusted_rows(
    features: Float[np.ndarray, "rows width"], given: Integer[np.ndarray, " rows"], num_classes: int
) -> Integer[np.ndarray, " trusted"]:
    """Rows whose given label is also what all other rows predict, the surest of each class.

    Five rows in a hundred, as many of every class, and at least 10 of each where so many agree. They are easy rows:
    what is measured on them flatters, and noise that follows the features passes.

    Args:
        features: `[rows, width]`, finite.
        given: `[rows]`, given labels.
        num_classes: Number of classes.

    Returns:
        Indices of the rows, ascending.

    Raises:
        ValueError: If fewer than two rows agree.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(100, 2)) + 5 * (np.arange(100) % 2)[:, None]
        >>> chosen = trusted_rows(features, np.arange(100) % 2, num_classes=2)
        >>> np.bincount(chosen % 2).tolist()
        [10, 10]
    """
    predicted = Ridge.fit(features, given, num_classes).left_out
    own = predicted[np.arange(len(given)), given]
    agrees = predicted.argmax(1) == given
    quota = max(_FEWEST, round(_SHARE * len(given) / num_classes))
    chosen = []
    for label in range(num_classes):
        rows = np.flatnonzero(agrees & (given == label))
        chosen.append(rows[np.argsort(-own[rows], kind="stable")[:quota]])
    trusted = np.sort(np.concatenate(chosen))
    if len(trusted) < 2:
        raise ValueError("clean='trusted' found no rows whose given label the features predict; pass clean_features")
    return trusted
