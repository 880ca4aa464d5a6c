"""Quality scores of given labels from predicted probabilities: 1 is best, 0 is worst.

The probabilities must come from a model that has not memorised the label of the row: from cross-validation, from an
early epoch, or as a mean over epochs.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hf_noisy.core.blocks import Block, labelled_blocks
from hf_noisy.core.checks import probability_blocks
from hf_noisy.core.types import Labels, Probabilities

# Tolerance of cleanlab when it compares a probability with a threshold.
_SLACK = 1e-6


def self_confidence(labels: Labels, probabilities: Probabilities) -> Float64[np.ndarray, " rows"]:
    """Probability of the given label.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped.

    Returns:
        `[rows]`, in [0, 1]; the higher, the better the label.

    Raises:
        ValueError: If `probabilities` are not distributions, `labels` are not classes, or the shapes do not agree.

    Example:
        >>> import numpy as np
        >>> self_confidence(np.array([1, 0]), np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
        [0.25, 0.5]
    """
    blocks = probability_blocks(labels, probabilities)
    quality = np.empty(len(labels))
    for block in blocks:
        quality[block.rows] = block.own()
    return np.minimum(quality, 1.0, out=quality)


def normalized_margin(labels: Labels, probabilities: Probabilities) -> Float64[np.ndarray, " rows"]:
    """Probability of the given label minus that of the best other class, scaled to [0, 1].

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped.

    Returns:
        `[rows]`, `(margin + 1) / 2`; above 0.5 the given label is the most probable one.

    Raises:
        ValueError: As [`self_confidence`].

    Source: Kuan and Mueller (2022).

    Example:
        >>> import numpy as np
        >>> normalized_margin(np.array([1, 0]), np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
        [0.25, 0.5]
    """
    blocks = probability_blocks(labels, probabilities)
    quality = np.empty(len(labels))
    for block in blocks:
        quality[block.rows] = block.own().astype(np.float64) - block.best_other()
    quality += 1
    quality /= 2
    return np.clip(quality, 0.0, 1.0, out=quality)


def confidence_weighted_entropy(labels: Labels, probabilities: Probabilities) -> Float64[np.ndarray, " rows"]:
    r"""Entropy of the row over the probability of its label, $x = H / p_y$, as the quality $\log(1 + x) / x$.

    H is divided by the logarithm of the number of classes. The quality is 1 for a certain prediction of the label, and
    0 if the label has probability 0.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped.

    Returns:
        `[rows]`, in [0, 1]; the higher, the better the label.

    Raises:
        ValueError: As [`self_confidence`].

    Source: Kuan and Mueller (2022). In cleanlab, a certain prediction of the label has quality 0.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
        >>> confidence_weighted_entropy(np.array([0, 0, 1]), rows).round(3).tolist()
        [1.0, 0.549, 0.0]
    """
    blocks = probability_blocks(labels, probabilities)
    quality = np.empty(len(labels))
    for block in blocks:
        own, entropy = block.own().astype(np.float64), _normalized_entropy(block)
        ratio = np.divide(entropy, own, out=np.full_like(own, np.inf), where=own > 0)
        inside = (ratio > 0) & (ratio < np.inf)
        quality[block.rows] = np.divide(np.log1p(ratio), ratio, out=(ratio == 0).astype(np.float64), where=inside)
    return quality


def confident_classes(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, " rows"]:
    """The class that each row confidently belongs to, by the thresholds of confident learning.

    The threshold of a class is its mean probability over the rows with that given label. A row that passes the
    threshold of one class belongs to it, a row that passes several belongs to its most probable class, as in cleanlab;
    the paper takes the most probable of those passed. No row belongs to a class without given labels.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped, is read twice.

    Returns:
        `[rows]`, class ids; -1 where no threshold is passed.

    Raises:
        ValueError: As [`self_confidence`].

    Source: Northcutt et al. (2021), Eq. 1 and 2.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
        >>> confident_classes(np.array([0, 0, 1, 1]), rows).tolist()
        [0, 1, 1, -1]
    """
    own = self_confidence(labels, probabilities)
    num_classes = probabilities.shape[1]
    classes = labels.astype(np.intp, copy=False)
    counts = np.bincount(classes, minlength=num_classes)
    sums = np.bincount(classes, weights=own, minlength=num_classes)
    thresholds = np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)
    # A threshold of 0 would be passed by every row.
    thresholds = np.maximum(thresholds, 2 * _SLACK) - _SLACK
    # Class k weighs `num_classes + k`: the sum of a row shows whether it passed no, one or several classes, and which.
    weights = np.arange(num_classes, 2 * num_classes, dtype=np.float32)
    found = np.empty(len(labels), dtype=np.int64)
    for block in labelled_blocks(labels, probabilities):
        passed = (block.values >= thresholds.astype(block.values.dtype)).astype(np.float32)
        code = np.einsum("rc,c->r", passed, weights)
        part = np.where(code > 0, code - num_classes, -1).astype(np.int64)
        several = np.flatnonzero(code >= 2 * num_classes)
        part[several] = block.values[several].argmax(axis=1)
        found[block.rows] = part
    return found


def confident_learning(labels: Labels, probabilities: Probabilities) -> Bool[np.ndarray, " rows"]:
    """Rows that confidently belong to another class than the given one: off the diagonal of the confident joint.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped, is read twice.

    Returns:
        `[rows]`, True where the given label is likely wrong.

    Raises:
        ValueError: As [`self_confidence`].

    Source: Northcutt et al. (2021), Section 3.2, CL method 2.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
        >>> confident_learning(np.array([0, 0, 1, 1]), rows).tolist()
        [False, True, False, False]
    """
    found = confident_classes(labels, probabilities)
    flagged: np.ndarray = (found >= 0) & (found != labels)
    return flagged


def suggested_labels(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, " rows"]:
    """The most probable class of each row; ties go to the given label.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, each row sums to 1; may be memory-mapped.

    Returns:
        `[rows]`, class ids.

    Raises:
        ValueError: As [`self_confidence`].

    Example:
        >>> import numpy as np
        >>> suggested_labels(np.array([1, 1]), np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
        [0, 1]
    """
    blocks = probability_blocks(labels, probabilities)
    suggested = np.empty(len(labels), dtype=np.int64)
    for block in blocks:
        best = block.values.argmax(axis=1)
        highest = block.values[np.arange(len(best)), best]
        suggested[block.rows] = np.where(block.own() == highest, block.labels, best)
    return suggested


def _normalized_entropy(block: Block) -> Float64[np.ndarray, " block"]:
    values = block.values
    logarithms = np.log(np.maximum(values, np.finfo(values.dtype).tiny))
    entropy: np.ndarray = -np.einsum("rc,rc->r", values, logarithms).astype(np.float64) / np.log(values.shape[1])
    return entropy.clip(min=0.0)
