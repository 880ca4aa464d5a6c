"""How many true classes are missing in sets of classes."""

from typing import Any

from hf_noisy.detection.cell_model import fit_cell_model
from hf_noisy.detection.noise_rate import NoiseRate


def estimate_missing_rate(labels: Any, probabilities: Any) -> NoiseRate:
    """The share of true classes that are not given, for `NoisyTrainer(missing_rate=)` and `best_threshold`.

    The rate assumes that classes are missing whatever the text is (see [`hf_noisy.detection.cell_model`][]); where
    mostly those are missing that are hard to predict, it is too low. The upper end assumes that every class is certain
    where it is most probable, and is mostly too high.

    Args:
        labels: `[rows, classes]`, zeros and ones: the given sets.
        probabilities: `[rows, classes]`, each class for itself (sigmoid), of models that did not train on the row.

    Returns:
        A [`NoiseRate`][hf_noisy.detection.NoiseRate] of `rate`, `low` and `high`, as shares of the true classes.

    Raises:
        ValueError: If the arguments are of other shapes, or hold no zeros and ones, or no probabilities.

    Source: ours, by the likelihood of the given labels; the upper end is by Elkan and Noto (2008), "Learning
    classifiers from only positive and unlabeled data", Section 3.

    Example:
        >>> import numpy as np
        >>> given = np.tile([[1, 0], [0, 1], [0, 0]], (100, 1))  # the third row of each has lost its class
        >>> probabilities = np.tile([[0.6, 0.01], [0.01, 0.6], [0.6, 0.01]], (100, 1))
        >>> round(estimate_missing_rate(given, probabilities).rate, 2)
        0.33
    """
    return NoiseRate(*fit_cell_model(labels, probabilities).missing_rate)
