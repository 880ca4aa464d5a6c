"""The quality of given labels under the transition matrix that held-out labels support.

Counting predictions against labels takes confusions of the predictor for confusions of the labels, which ranks hard
rows of similar classes as wrong. The matrix of the highest likelihood explains only what the predictions do not, but
has many entries to overfit. So it is mixed with uniform noise, in the proportion that makes labels likely that it was
not fitted to. Under uniform noise alone, the ranking is that of the probability of the given label.
"""

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.types import Labels
from hf_noisy.detection.agreement import posterior_given_label

_STEPS = 30  # of EM; more change next to nothing
_FOLDS = 4
_SHARES = np.linspace(0, 1, 11)
_MAX_FITTED = 20_000  # rows, which bounds the time
_TINY = 1e-12


def label_quality(
    labels: Labels, probabilities: Float64[np.ndarray, "rows classes"], seed: int = 0
) -> Float64[np.ndarray, " rows"]:
    """The probability that each given label is right; `probabilities` must not have used the row's label."""
    given = np.asarray(labels, dtype=np.int64)
    posterior, _ = posterior_given_label(probabilities, given, likely_transition(given, probabilities, seed))
    return np.asarray(posterior[np.arange(len(given)), given])


def likely_transition(
    labels: Int64[np.ndarray, " rows"], probabilities: Float64[np.ndarray, "rows classes"], seed: int = 0
) -> Float64[np.ndarray, "classes classes"]:
    """`T[true, given]`: a mixture of uniform noise and of noise by class, by the likelihood of held-out labels."""
    rows = evenly_spaced(np.arange(len(labels)), _MAX_FITTED)
    given, predicted = labels[rows], probabilities[rows]
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    likelihood = np.zeros(len(_SHARES))
    for held_out in range(_FOLDS):
        fitted, others = fold != held_out, fold == held_out
        matrices = _uniform(given[fitted], predicted[fitted]), _by_class(given[fitted], predicted[fitted])
        uniform, by_class = (np.einsum("rc,cr->r", predicted[others], one[:, given[others]]) for one in matrices)
        likelihood += [np.log((1 - share) * uniform + share * by_class + _TINY).sum() for share in _SHARES]
    share = _SHARES[likelihood.argmax()]
    mixed = (1 - share) * _uniform(given, predicted) + share * _by_class(given, predicted)
    return np.asarray(mixed)


def _uniform(
    labels: Int64[np.ndarray, " rows"], probabilities: Float64[np.ndarray, "rows classes"]
) -> Float64[np.ndarray, "classes classes"]:
    """Noise of one rate, any other class being as likely, with the highest likelihood."""
    classes = probabilities.shape[1]
    own, rate = probabilities[np.arange(len(labels)), labels], 0.5
    for _ in range(_STEPS):
        wrong = rate / (classes - 1) * (1 - own)
        rate = float((wrong / np.maximum(wrong + (1 - rate) * own, _TINY)).mean())
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def _by_class(
    labels: Int64[np.ndarray, " rows"], probabilities: Float64[np.ndarray, "rows classes"]
) -> Float64[np.ndarray, "classes classes"]:
    """Noise of any form with the highest likelihood, with a pseudo-count of one row per true class."""
    classes = probabilities.shape[1]
    given = np.eye(classes)[labels]
    matrix = np.ones((classes, classes))
    for step in range(_STEPS + 1):
        # The first step counts the predictions themselves.
        joint = probabilities if step == 0 else probabilities * matrix[:, labels].T
        counts = (joint / np.maximum(joint.sum(1, keepdims=True), _TINY)).T @ given + 1 / classes
        matrix = counts / counts.sum(1, keepdims=True)
    return matrix
