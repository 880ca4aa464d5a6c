"""Estimates of the transition matrix, the probability of each given label for each true class, without true labels.

Every matrix is `T[i, j] = P(given = j | true = i)`: rows sum to 1. cleanlab's joint has the given class first:
transpose it.
"""

import numpy as np
from jaxtyping import Float64, Int64, Integer, Num

from hf_noisy.core.checks import class_counts, probability_blocks
from hf_noisy.core.types import Labels, Probabilities
from hf_noisy.detection.label_quality import confident_classes


def confident_joint(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, "classes classes"]:
    """Counts of rows by their confident class and their given label.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]` out of sample, each row sums to 1; may be memory-mapped, is read twice.

    Returns:
        `[true, given]`. The diagonal is at least 1, so that no class is empty; rows that pass no threshold are not
        counted. cleanlab's `compute_confident_joint(..., calibrate=False)` is its transpose.

    Raises:
        ValueError: If `probabilities` are not distributions, `labels` are not classes, or the shapes do not agree.

    Source: Northcutt et al. (2021), Eq. 1 and 2.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
        >>> confident_joint(np.array([0, 0, 1, 1]), rows).tolist()
        [[1, 0], [1, 1]]
    """
    found = confident_classes(labels, probabilities)
    joint = _count_pairs(found, labels, probabilities.shape[1])
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return joint


def calibrated_joint(
    joint: Num[np.ndarray, "classes classes"], class_counts: Integer[np.ndarray, " classes"]
) -> Float64[np.ndarray, "classes classes"]:
    """The joint scaled so that each given label has as many rows as in the data.

    Args:
        joint: `[true, given]`, as from [`confident_joint`].
        class_counts: `[classes]`, rows of each given label.

    Returns:
        `[true, given]`, expected rows: columns sum to `class_counts`. Unlike in cleanlab, they are not rounded.

    Raises:
        ValueError: If a given label that has rows was never counted, or an entry is negative or not finite.

    Source: Northcutt et al. (2021), Eq. 3, times the number of rows.

    Example:
        >>> import numpy as np
        >>> calibrated_joint(np.array([[3, 0], [1, 5]]), np.array([8, 10])).tolist()
        [[6.0, 0.0], [2.0, 10.0]]
    """
    _check_joint(joint)
    given = joint.sum(axis=0, dtype=np.float64)
    if bool(((given == 0) & (class_counts > 0)).any()):
        empty = int(np.argmax((given == 0) & (class_counts > 0)))
        raise ValueError(f"joint must count a row of every given label, but has none of class {empty}")
    scale = np.divide(class_counts, given, out=np.zeros(len(given)), where=given > 0)
    scaled: np.ndarray = joint * scale
    return scaled


def transition_matrix_from_joint(
    joint: Num[np.ndarray, "classes classes"],
) -> Float64[np.ndarray, "classes classes"]:
    """P(given | true) from the joint counts or probabilities.

    Args:
        joint: `[true, given]`, from [`calibrated_joint`]; raw counts are biased towards easy classes.

    Returns:
        `[true, given]`, row-stochastic.

    Raises:
        ValueError: If a true class has no row, or an entry is negative or not finite.

    Example:
        >>> import numpy as np
        >>> transition_matrix_from_joint(np.array([[6.0, 2.0], [0.0, 10.0]])).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    _check_joint(joint)
    true = joint.sum(axis=1, dtype=np.float64)
    if not true.all():
        empty = ", ".join(map(str, np.flatnonzero(true == 0)[:8]))
        raise ValueError(f"joint must hold a row of every true class, but has none of class {empty}; leave it out")
    matrix: np.ndarray = joint / true[:, None]
    return matrix


def confident_transition_matrix(
    labels: Labels, probabilities: Probabilities
) -> Float64[np.ndarray, "classes classes"]:
    """The transition matrix of confident learning: the calibrated confident joint, normalised by row.

    Args:
        labels: `[rows]`, given labels, every class among them.
        probabilities: `[rows, classes]` out of sample, each row sums to 1; may be memory-mapped, is read twice.

    Returns:
        `[true, given]`, row-stochastic.

    Raises:
        ValueError: As [`confident_joint`], or if a class has no row.

    Source: Northcutt et al. (2021), Eq. 1 to 3.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
        >>> confident_transition_matrix(np.array([0, 0, 1, 1]), rows).round(3).tolist()
        [[1.0, 0.0], [0.333, 0.667]]
    """
    joint = confident_joint(labels, probabilities)
    return transition_matrix_from_joint(calibrated_joint(joint, class_counts(labels, len(joint))))


def dual_t_transition_matrix(labels: Labels, probabilities: Probabilities) -> Float64[np.ndarray, "classes classes"]:
    """The dual-T estimate: a product of two matrices that are easier to estimate, through the predicted class.

    The first, P(predicted | true), is read off the anchor of each class: the row with its highest probability (the
    mean over ties; the published code takes a lower quantile). The second, P(given | predicted), is counted. Every
    class must have an anchor, a row that certainly belongs to it, and given and true class must be independent given
    the predicted class.

    It is meant for overconfident networks. If the probabilities of the given label are calibrated, the anchors alone
    are right, and the product counts the noise twice.

    Args:
        labels: `[rows]`, given labels.
        probabilities: `[rows, classes]`, a model's probabilities of the *given* label, each row sums to 1; may be
            memory-mapped.

    Returns:
        `[true, given]`, row-stochastic.

    Raises:
        ValueError: If a class is predicted for no row, or as [`confident_joint`].

    Source: Yao et al. (2020), Section 3 and Algorithm 1.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0, 0.0], [0.75, 0.25], [0.0, 1.0], [0.25, 0.75]])
        >>> dual_t_transition_matrix(np.array([0, 1, 1, 1]), rows).tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """
    blocks = probability_blocks(labels, probabilities)
    num_classes = probabilities.shape[1]
    predicted = np.empty(len(labels), dtype=np.int64)
    highest = np.full(num_classes, -np.inf)
    anchors = np.zeros((num_classes, num_classes))
    for block in blocks:
        predicted[block.rows] = block.values.argmax(axis=1)
        best = block.values.max(axis=0)
        anchors[best > highest] = 0.0
        highest = np.maximum(highest, best)
        for label in np.flatnonzero(best == highest):
            anchors[label] += block.values[block.values[:, label] == best[label]].sum(axis=0, dtype=np.float64)
    counted = _count_pairs(predicted, labels, num_classes)
    missing = np.flatnonzero(counted.sum(axis=1) == 0)
    if missing.size:
        names = ", ".join(map(str, missing[:8]))
        raise ValueError(f"probabilities must predict every class for some row, but never class {names}; train longer")
    to_predicted = anchors / anchors.sum(axis=1, keepdims=True)
    matrix: np.ndarray = to_predicted @ transition_matrix_from_joint(counted)
    return matrix


def _count_pairs(
    true: Int64[np.ndarray, " rows"], given: Integer[np.ndarray, " rows"], num_classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Number of rows of each pair `[true, given]`; negative true classes are not counted."""
    # In blocks, so that memory does not grow with the rows; the extra row is for negative classes.
    counts = np.zeros((num_classes + 1) * num_classes, dtype=np.int64)
    for start in range(0, len(true), 1 << 16):
        rows = slice(start, start + (1 << 16))
        pairs = (true[rows] + 1) * num_classes + given[rows].astype(np.int64, copy=False)
        counts += np.bincount(pairs, minlength=len(counts))
    return counts.reshape(num_classes + 1, num_classes)[1:]


def _check_joint(joint: Num[np.ndarray, "classes classes"]) -> None:
    if not np.isfinite(joint).all() or joint.min() < 0:
        raise ValueError("joint must hold finite counts of at least 0; pass what confident_joint returns")
