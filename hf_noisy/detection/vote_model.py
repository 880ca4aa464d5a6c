r"""The posterior of the true labels from votes and, if there are any, from the texts or images.

Each annotator has a confusion matrix $\theta_j$, shrunk towards that of all annotators, so that few answers say
little. An encoder's prediction $p(y \mid x)$, learned from the posterior and made for each row without its own votes,
is one more annotator with half a vote:

$$p(y \mid v, x) \propto \pi_y^{1/2} \Big(\frac{p(y \mid x)}{\bar p(y)}\Big)^{1/2} \prod_j \theta_{j y v_j}^{w_j}$$

Annotators who agree with each other more than the posterior explains are not independent. Their weights are
$w_j = (1 + \sum_k \rho_{jk})^{-1/2}$ with the excess agreement $\rho$; near-copies share one weight.

An annotator who only ever gives one answer, as most labelling rules do, says something only by answering at all: its
matrix holds the rates at which it answers on rows of each class, and its silence is no evidence.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import softmax

from hf_noisy.core.blocks import ELEMENTS_A_BLOCK, row_slices
from hf_noisy.data.weak.vote_table import Votes
from hf_noisy.detection.annotator_pairs import AnnotatorPairs
from hf_noisy.detection.soft_predictor import SoftPredictor

# Chosen on css_llm and the rules of trec, semeval and chemprot; benchmarks/votes.py has them with each set left out.
# With few votes a row, many rounds let the classes drift away from what the annotators mean by them.
_ROUNDS = (3, 12)  # fewest and most
_ROUNDS_A_VOTE = 2.0  # and this many for each vote that rows have on average
_STILL = 1e-3  # mean change of the posterior of a row at which it stops
_STRENGTH = 3.0  # answers that the confusion matrix of all annotators counts for, in each row of a matrix
_ENCODER = 0.5  # power of the encoder's prediction
_PRIOR = 0.5  # power of the class frequencies
_CHECKED = 6.0  # rows that a checked row counts for in the confusion matrices
_FIRST = 0.3  # votes of each class that the encoder alone counts for before the first round
_TINY = 1e-9


@dataclass(frozen=True)
class FittedVotes:
    """What the model says of rows and annotators."""

    posterior: Float64[np.ndarray, "rows classes"]
    log_confusion: Float64[np.ndarray, "annotators classes answers"]  # of one-sided annotators, rates of answering
    weights: Float64[np.ndarray, " annotators"]
    excess: Float64[np.ndarray, "annotators annotators"]  # agreement beyond what the posterior explains
    copies: Int64[np.ndarray, " annotators"]  # the first annotator of the group of near-copies
    one_sided: Bool[np.ndarray, " annotators"]
    encoder: Float64[np.ndarray, "rows classes"] | None  # log-probabilities


class _Annotators:
    """What of the votes every round needs."""

    def __init__(self, votes: Votes) -> None:
        classes, count = len(votes.classes), len(votes.annotators)
        cells = votes.annotator * classes + votes.label
        answers = np.bincount(cells, minlength=count * classes).reshape(count, classes)
        self.indicators = votes.indicators()
        self.one_sided = ((answers > 0).sum(axis=1) <= 1) & (answers.sum(axis=1) < votes.num_rows)
        self._gives = answers > 0
        self.pairs = AnnotatorPairs(votes)
        self.copies = self.pairs.near_copies()
        self.shares = 1.0 / np.bincount(self.copies, minlength=count)[self.copies]  # of near-copies, one vote

    def log_confusion(
        self, posterior: Float64[np.ndarray, "rows classes"]
    ) -> Float64[np.ndarray, "annotators classes answers"]:
        """Logarithms of the confusion matrices, or of the rates of answering of one-sided annotators."""
        classes = posterior.shape[1]
        found = (self.indicators.T @ posterior).reshape(-1, classes, classes).transpose(0, 2, 1)
        everyone = np.tensordot(self.shares, found, 1)
        pooled = (everyone + 1 / classes) / (everyone + 1 / classes).sum(axis=1, keepdims=True)
        matrices = found + _STRENGTH * pooled
        matrices /= matrices.sum(axis=2, keepdims=True)
        if self.one_sided.any():
            precision = (everyone + _TINY) / (everyone + _TINY).sum(axis=0)  # P(true | answer)
            prior = _STRENGTH * precision * self._gives[:, None, :]
            rates = (found + prior) / (posterior.sum(axis=0)[:, None] + _STRENGTH)
            matrices = np.where(self.one_sided[:, None, None], rates, matrices)
        return np.asarray(np.log(np.maximum(matrices, _TINY)))

    def weights(self, excess: Float64[np.ndarray, "annotators annotators"]) -> Float64[np.ndarray, " annotators"]:
        """The power of each annotator's likelihood."""
        of_others = np.where(self.copies[:, None] == self.copies, 0.0, excess.clip(0)).sum(axis=1)
        return np.asarray(np.where(self.one_sided, self.shares, self.shares / np.sqrt(1 + of_others)))

    def log_likelihood(
        self,
        logs: Float64[np.ndarray, "annotators classes answers"],
        weights: Float64[np.ndarray, " annotators"],
    ) -> Float64[np.ndarray, "rows classes"]:
        """Of each class, given the votes on the row."""
        weighted = logs * weights[:, None, None]
        return np.asarray(self.indicators @ weighted.transpose(0, 2, 1).reshape(-1, logs.shape[1]))


def fit_votes(
    votes: Votes, predictor: SoftPredictor | None = None, checked: Int64[np.ndarray, " rows"] | None = None
) -> FittedVotes:
    """Estimate confusion matrices, weights and posterior in a few rounds of expectation maximisation."""
    annotators = _Annotators(votes)
    counts = votes.weighted_counts(annotators.shares)
    posterior = _with_checked((counts + _TINY) / (counts + _TINY).sum(axis=1, keepdims=True), checked)
    row_weights = np.ones(votes.num_rows) if checked is None else np.where(checked >= 0, _CHECKED, 1.0)
    weights, encoder, evidence = annotators.shares, None, np.zeros_like(posterior)
    excess = np.zeros((len(weights), len(weights)))
    rounds = int(np.clip(_ROUNDS_A_VOTE * len(votes) / len(np.unique(votes.row)), *_ROUNDS))
    for number in range(rounds):
        if predictor is not None:
            encoder = predictor.log_probabilities(posterior)
            evidence = _ENCODER * (encoder - np.log(np.exp(encoder).mean(axis=0)))
            if number == 0:
                posterior = _with_checked(softmax(evidence + np.log(counts + _FIRST), axis=1), checked)
        logs = annotators.log_confusion(posterior * row_weights[:, None])
        excess = annotators.pairs.excess_agreement(posterior, normalised(logs))
        if number > 0:
            weights = annotators.weights(excess)
        scores = _PRIOR * np.log(posterior.mean(axis=0) + _TINY) + evidence + annotators.log_likelihood(logs, weights)
        before, posterior = posterior, _with_checked(softmax(scores, axis=1), checked)
        if number > 1 and float(np.abs(posterior - before).sum(axis=1).mean()) < _STILL:
            break
    return FittedVotes(posterior, logs, weights, excess, annotators.copies, annotators.one_sided, encoder)


def normalised(
    logs: Float64[np.ndarray, "annotators classes answers"],
) -> Float64[np.ndarray, "annotators classes answers"]:
    """P(answer | true class, some answer) of each annotator."""
    return np.asarray(softmax(logs, axis=2))


def right_without_own_vote(votes: Votes, fitted: FittedVotes) -> Float64[np.ndarray, " votes"]:
    """The probability that each vote is right, by the posterior of its row without that vote."""
    right = np.empty(len(votes))
    for block in row_slices(len(votes), len(votes.classes), ELEMENTS_A_BLOCK):
        row, annotator, label = votes.row[block], votes.annotator[block], votes.label[block]
        own = fitted.log_confusion[annotator, :, label] * fitted.weights[annotator, None]
        others = softmax(np.log(fitted.posterior[row] + _TINY) - own, axis=1)
        right[block] = others[np.arange(len(row)), label]
    return right


def _with_checked(
    posterior: Float64[np.ndarray, "rows classes"], checked: Int64[np.ndarray, " rows"] | None
) -> Float64[np.ndarray, "rows classes"]:
    if checked is None:
        return posterior
    known = checked >= 0
    posterior[known] = np.eye(posterior.shape[1])[checked[known]]
    return posterior
