"""Scores of a row from its logits over the epochs, reading one epoch and one block of rows at a time.

The distance of a row to the centroid of its given label is a similar score: `hf_noisy.dynamics.scores`.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.blocks import Block, labelled_blocks
from hf_noisy.core.checks import check_scores
from hf_noisy.core.types import Labels


class DataMap(NamedTuple):
    """Statistics of the probability of the given label over the epochs.

    Attributes:
        confidence: `[rows]`, its mean, in [0, 1].
        variability: `[rows]`, its standard deviation, in [0, 0.5].
        correctness: `[rows]`, share of the epochs in which the given label was the most probable class.
        forgetting: `[rows]`, how often it was the most probable class in one epoch but not in the next; 0 also for a
            row that was never learned, with correctness 0.
    """

    confidence: Float64[np.ndarray, " rows"]
    variability: Float64[np.ndarray, " rows"]
    correctness: Float64[np.ndarray, " rows"]
    forgetting: Int64[np.ndarray, " rows"]


def aum(labels: Labels, logits: Iterable[np.ndarray]) -> Float64[np.ndarray, " rows"]:
    """Area under the margin: logit of the given label minus the highest other logit, averaged over epochs.

    Args:
        labels: `[rows]`, given labels.
        logits: `[rows, classes]` of each epoch: an array `[epochs, rows, classes]`, memory-mapped or not, or a
            generator that reads one epoch at a time.

    Returns:
        `[rows]`, in units of logits, unbounded; the higher, the better the label.

    Raises:
        ValueError: If there is no epoch, the epochs differ in shape, or a logit is not finite.

    Source: Pleiss et al. (2020), Eq. 1 and 2.

    Example:
        >>> import numpy as np
        >>> aum(np.array([0]), np.array([[[2.0, 0.0]], [[3.0, 4.0]]])).tolist()
        [0.5]
    """
    total, epochs = np.zeros(len(labels)), 0
    for blocks in _epochs(labels, logits):
        epochs += 1
        for block in blocks:
            total[block.rows] += block.own().astype(np.float64) - block.best_other()
    return total / epochs


def data_map(labels: Labels, logits: Iterable[np.ndarray]) -> DataMap:
    """Confidence, variability, correctness and forgetting of each row's given label.

    Args:
        labels: `[rows]`, given labels.
        logits: As in [`aum`].

    Returns:
        A [`DataMap`]. A given label that shares the highest logit does not count as the most probable class.

    Raises:
        ValueError: As [`aum`].

    Source: Swayamdipta et al. (2020), Section 2, for the first three; Toneva et al. (2019), Section 3, for forgetting.

    Example:
        >>> import numpy as np
        >>> logits = np.log(np.array([[[0.8, 0.2]], [[0.4, 0.6]]]))
        >>> [column.round(3).tolist() for column in data_map(np.array([0]), logits)]
        [[0.6], [0.2], [0.5], [1]]
    """
    num_rows, epochs = len(labels), 0
    mean, squares = np.zeros(num_rows), np.zeros(num_rows)
    correct, forgotten = np.zeros(num_rows, dtype=np.int64), np.zeros(num_rows, dtype=np.int64)
    before = np.zeros(num_rows, dtype=bool)
    for blocks in _epochs(labels, logits):
        epochs += 1
        for block in blocks:
            rows, own, other = block.rows, block.own(), block.best_other()
            highest = np.maximum(own, other)
            sums = np.einsum("rc->r", np.exp(block.values - highest[:, None]))
            probability = (np.exp(own - highest) / sums).astype(np.float64)
            # Welford's algorithm: one pass, and exactly 0 variance for equal probabilities.
            change = probability - mean[rows]
            mean[rows] += change / epochs
            squares[rows] += change * (probability - mean[rows])
            right = own > other
            correct[rows] += right
            forgotten[rows] += before[rows] & ~right
            before[rows] = right
    return DataMap(mean, np.sqrt(squares / epochs), correct / epochs, forgotten)


def _epochs(labels: Labels, logits: Iterable[np.ndarray]) -> Iterator[Iterator[Block]]:
    """The blocks of every epoch, checked."""
    shape: tuple[int, ...] | None = None
    for number, values in enumerate(logits):
        check_scores(labels, values, name=f"logits of epoch {number}")
        if shape is not None and values.shape != shape:
            raise ValueError(f"logits must have the shape {shape} of the first epoch, got {values.shape} in {number}")
        shape = values.shape
        yield (_finite(block, number) for block in labelled_blocks(labels, values))
    if shape is None:
        raise ValueError("logits must hold at least one epoch, got none; record training first")


def _finite(block: Block, epoch: int) -> Block:
    if not np.isfinite(block.values).all():
        row = block.rows.start + int(np.argmin(np.isfinite(block.values).all(axis=1)))
        raise ValueError(f"logits must be finite, got NaN or infinity in epoch {epoch}, row {row}; drop that epoch")
    return block
