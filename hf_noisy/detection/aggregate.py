"""One label a row from the votes of several annotators, and how good each annotator is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import softmax

from hf_noisy.core.checks import check_features
from hf_noisy.data.checked import checked_column
from hf_noisy.data.weak.dawid_skene import dawid_skene
from hf_noisy.data.weak.vote_table import Votes, votes_from_matrix
from hf_noisy.detection.annotator_table import AnnotatorTable, annotator_table
from hf_noisy.detection.soft_predictor import SoftPredictor
from hf_noisy.detection.vote_model import fit_votes, normalised, right_without_own_vote

METHODS = ("model", "dawid_skene", "weighted", "majority")
_TINY = 1e-9


@dataclass(frozen=True)
class Aggregation:
    """The result of [`aggregate`].

    Attributes:
        labels: `[rows]`, most probable class; -1 for a row without a vote if there are no features.
        posterior: `[rows, classes]`, P(true class | votes, features); rows sum to 1.
        covered: `[rows]`, whether anyone voted.
        annotators: Accuracy with an interval, coverage and weight of each annotator; `to_frame()` gives a data frame.
        confusion: `[annotators, classes, classes]`, P(answer | true class); the last axis sums to 1.
        correlation: `[annotators, annotators]`, agreement beyond what the posterior explains, as a share of the
            largest possible; near 1 for copies, 0 for independent annotators and those with few answers.
        class_prior: `[classes]`, mean of the posterior.
        method: How the votes were aggregated.
        votes: The votes.
    """

    labels: Int64[np.ndarray, " rows"]
    posterior: Float64[np.ndarray, "rows classes"]
    covered: Bool[np.ndarray, " rows"]
    annotators: AnnotatorTable
    confusion: Float64[np.ndarray, "annotators classes classes"]
    correlation: Float64[np.ndarray, "annotators annotators"]
    class_prior: Float64[np.ndarray, " classes"]
    method: str
    votes: Votes


def aggregate(
    votes: Any,
    features: Float[np.ndarray, "rows width"] | None = None,
    checked: Any = None,
    *,
    num_classes: int | None = None,
    method: str = "model",
) -> Aggregation:
    """Estimate the true labels from the votes of people, rules or language models.

    With `method="model"` each annotator has a confusion matrix, annotators who agree too much with each other count
    for less, and those with few answers count as the average annotator. With features, an encoder's out-of-fold
    prediction is one more annotator. See [`hf_noisy.detection.vote_model`][].

    Args:
        votes: [`~hf_noisy.data.weak.vote_table.Votes`], or an array `[rows, annotators]` of class ids with -1 for no
            answer.
        features: `[rows, width]`, finite, such as those of [`~hf_noisy.models.embed.embed`].
        checked: `[rows]`, the class that a person found, -1 where nobody looked, or
            [`~hf_noisy.data.checked.CheckedRows`]. Their posterior is one-hot, and they weigh more than other rows.
        num_classes: Number of classes of an array; by default the largest vote plus one.
        method: `"model"`; `"dawid_skene"`, with abstention as an outcome if no annotator gives two answers;
            `"weighted"` by the log-odds of each annotator's agreement with the majority; or `"majority"`. Only
            `"model"` uses features and checked rows.

    Returns:
        [`Aggregation`].

    Raises:
        ValueError: If votes, features or checked rows are invalid or do not fit each other.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> true = rng.integers(0, 3, 600)
        >>> good = np.where(rng.random((600, 3)) < 0.7, true[:, None], rng.integers(0, 3, (600, 3)))
        >>> lazy = np.zeros((600, 4), dtype=int)
        >>> found = aggregate(np.hstack([good, lazy]))
        >>> majority = aggregate(np.hstack([good, lazy]), method="majority")
        >>> bool((found.labels == true).mean() > 0.8), bool((majority.labels == true).mean() < 0.5)
        (True, True)
        >>> [row.note for row in found.annotators[2:4]]
        ['', 'one class only']

    Source: Dawid and Skene (1979), Raykar et al. (2010) for the classifier among the annotators; the weights, the
    rates of one-sided annotators and the constants are ours.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if method != "model" and (features is not None or checked is not None):
        raise ValueError(f"features and checked are for method='model', got method={method!r}; leave them out")
    table = votes if isinstance(votes, Votes) else votes_from_matrix(votes, num_classes)
    known = None if checked is None else checked_column(checked, table.num_rows, len(table.classes))
    covered = np.bincount(table.row, minlength=table.num_rows) > 0
    if method != "model":
        return _without_model(table, covered, method)
    predictor = None
    if features is not None:
        if len(check_features(features)) != table.num_rows:
            raise ValueError(f"features must be those of the {table.num_rows} rows of the votes, got {len(features)}")
        predictor = SoftPredictor(features)
    fitted = fit_votes(table, predictor, known)
    right, cautious = fitted.posterior[table.row, table.label], right_without_own_vote(table, fitted)
    if known is not None:
        looked_at, true = known[table.row] >= 0, known[table.row] == table.label
        right, cautious = np.where(looked_at, true, right), np.where(looked_at, true, cautious)
    rows = annotator_table(table, right, np.minimum(right, cautious), fitted.weights, fitted.copies)
    labelled = covered if features is None else np.ones_like(covered)
    labelled = labelled if known is None else labelled | (known >= 0)
    return _aggregation(
        table, fitted.posterior, labelled, covered, rows, normalised(fitted.log_confusion), fitted.excess, method
    )


def _without_model(votes: Votes, covered: Bool[np.ndarray, " rows"], method: str) -> Aggregation:
    """Majority, weighted vote or Dawid-Skene."""
    counts, count = votes.counts().astype(np.float64), len(votes.annotators)
    shares = (counts + _TINY) / (counts + _TINY).sum(axis=1, keepdims=True)
    weights, posterior = np.ones(count), shares
    if method == "weighted":
        weights = _log_odds(votes, shares)
        posterior = np.asarray(softmax(votes.weighted_counts(weights), axis=1))
    if method == "dawid_skene":
        classes_of = np.unique(votes.annotator * len(votes.classes) + votes.label) // len(votes.classes)
        two_sided = len(np.unique(classes_of)) < len(classes_of)
        fitted = dawid_skene(votes.matrix(), len(votes.classes), silence="missing" if two_sided else "outcome")
        posterior = fitted.posterior
    matrices = (votes.indicators().T @ posterior).reshape(count, len(votes.classes), -1).transpose(0, 2, 1) + _TINY
    right = posterior[votes.row, votes.label]
    rows = annotator_table(votes, right, right, weights, np.arange(count))
    confusion = matrices / matrices.sum(axis=2, keepdims=True)
    return _aggregation(votes, posterior, covered, covered, rows, confusion, np.zeros((count, count)), method)


def _log_odds(votes: Votes, shares: Float64[np.ndarray, "rows classes"]) -> Float64[np.ndarray, " annotators"]:
    """The log-odds of each annotator's agreement with the vote shares, at least 0."""
    answers = np.bincount(votes.annotator, minlength=len(votes.annotators))
    hits = np.bincount(votes.annotator, weights=shares[votes.row, votes.label], minlength=len(answers))
    accuracy = (hits + 1) / (answers + len(votes.classes))
    return np.asarray(np.log((len(votes.classes) - 1) * accuracy / (1 - accuracy)).clip(0.0))


def _aggregation(
    votes: Votes,
    posterior: Float64[np.ndarray, "rows classes"],
    labelled: Bool[np.ndarray, " rows"],
    covered: Bool[np.ndarray, " rows"],
    annotators: AnnotatorTable,
    confusion: Float64[np.ndarray, "annotators classes classes"],
    correlation: Float64[np.ndarray, "annotators annotators"],
    method: str,
) -> Aggregation:
    labels = np.where(labelled, posterior.argmax(axis=1), -1)
    prior = posterior.mean(axis=0)
    return Aggregation(labels, posterior, covered, annotators, confusion, correlation, prior, method, votes)
