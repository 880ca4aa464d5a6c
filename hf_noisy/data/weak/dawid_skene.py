"""Dawid-Skene: labels and the confusion matrix of each rule, estimated together from the votes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from scipy.sparse import csr_array
from scipy.special import logsumexp

from hf_noisy.data.weak.votes import check_votes, count_votes

Silence = Literal["outcome", "missing"]


@dataclass(frozen=True)
class DawidSkene:
    """The result of [`dawid_skene`].

    Attributes:
        labels: Most probable class of each row, `[rows]`, int64.
        posterior: P(true class | votes), `[rows, classes]`; rows sum to 1.
        confusion: P(outcome | true class) of each rule, `[rules, classes, outcomes]`; the last axis sums to 1. The
            outcomes are the classes and, with `silence="outcome"`, silence as the last one.
        class_prior: P(true class), `[classes]`.
        covered: Whether any rule voted, `[rows]`. Other labels depend on silence or the prior alone.
        objective: Mean log-likelihood of the votes per row, smoothing included; it never decreases.
        num_iterations: Updates of the confusion matrices.
        converged: Whether the objective converged before `max_iterations`.
    """

    labels: Int64[np.ndarray, " rows"]
    posterior: Float64[np.ndarray, "rows classes"]
    confusion: Float64[np.ndarray, "rules classes outcomes"]
    class_prior: Float64[np.ndarray, " classes"]
    covered: Bool[np.ndarray, " rows"]
    objective: float
    num_iterations: int
    converged: bool


def dawid_skene(
    votes: Integer[np.ndarray, "rows rules"],
    num_classes: int,
    *,
    silence: Silence = "outcome",
    smoothing: float = 0.01,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    abstain: int = -1,
) -> DawidSkene:
    r"""Posterior of the true class, with a confusion matrix for each rule that is estimated from the votes.

    Errors of the rules are assumed independent given the true class. With more than two votes per row this usually
    beats the majority vote; with fewer it may be worse. Expectation maximisation starts at the shares of the votes:

    $$p(y_i = c) \propto \pi_c \prod_j \theta_{j c v_{ij}}, \qquad
    \theta_{j c k} \propto \alpha + \sum_i p(y_i = c) \, [v_{ij} = k], \qquad
    \pi_c \propto \alpha + \sum_i p(y_i = c)$$

    With `silence="missing"`, as in the paper, silence carries no information: right for annotators who did not see the
    row. Most labelling rules only ever vote for one class, so the information is in whether they vote: with
    `silence="outcome"` silence is one more outcome `k`, and a vote is evidence for the classes that trigger the rule
    more often.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        silence: `"outcome"` for labelling rules, `"missing"` for annotators.
        smoothing: The pseudo-count `alpha` of each outcome, at least 0.
        max_iterations: Largest number of updates.
        tolerance: Stop when the objective rises by less.
        abstain: The value that means silence.

    Returns:
        A [`DawidSkene`].

    Raises:
        ValueError: If votes are no classes, there is no vote, a setting is out of range, or every rule votes for one
            class only with `silence="missing"`, so that the votes carry no information.

    Source: Dawid and Skene (1979), Eq. 2.3 to 2.5.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> true = rng.integers(0, 3, 500)
        >>> votes = np.where(rng.random((500, 12)) < 0.5, true[:, None], rng.integers(0, 3, (500, 12)))
        >>> result = dawid_skene(votes, num_classes=3, silence="missing")
        >>> bool((result.labels == true).mean() > 0.95), result.confusion.shape
        (True, (12, 3, 3))
    """
    cast = check_votes(votes, num_classes, abstain)
    _check_settings(votes, cast, silence, smoothing, max_iterations)
    counts = count_votes(votes, cast, num_classes).astype(np.float64)
    covered: Bool[np.ndarray, " rows"] = counts.sum(axis=1) > 0
    # Sparse indicators with a column for each rule and class: most rules are silent on most rows.
    rows, rules = np.nonzero(cast)
    columns = rules * num_classes + votes[rows, rules].astype(np.int64)
    shape = (len(votes), votes.shape[1] * num_classes)
    indicators = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    posterior = np.where(covered[:, None], counts, 1.0)
    posterior /= posterior.sum(axis=1, keepdims=True)
    # Rows without annotators do not count in the prior.
    counted = covered if silence == "missing" else np.ones_like(covered)
    objective, converged = -np.inf, False
    for iteration in range(1, max_iterations + 1):  # noqa: B007
        confusion, prior = _maximise(indicators, posterior, counted, silence == "outcome", smoothing)
        posterior, likelihood = _expect(indicators, confusion, prior, silence == "outcome")
        penalty = smoothing * (_finite_log(confusion).sum() + _finite_log(prior).sum()) if smoothing else 0.0
        before, objective = objective, float((likelihood[counted].sum() + penalty) / counted.sum())
        if converged := objective - before < tolerance:
            break
    return DawidSkene(
        posterior.argmax(axis=1), posterior, confusion, prior, covered, objective, iteration, bool(converged)
    )


def _maximise(
    indicators: csr_array,
    posterior: Float64[np.ndarray, "rows classes"],
    counted: Bool[np.ndarray, " rows"],
    with_silence: bool,
    smoothing: float,
) -> tuple[Float64[np.ndarray, "rules classes outcomes"], Float64[np.ndarray, " classes"]]:
    num_classes = posterior.shape[1]
    mass = posterior[counted].sum(axis=0)
    outcomes = (indicators.T @ posterior).reshape(-1, num_classes, num_classes).transpose(0, 2, 1)
    if with_silence:
        # Rounding can give a negative count if a rule voted on all rows of a class.
        silent = np.maximum(mass[None, :, None] - outcomes.sum(axis=2, keepdims=True), 0.0)
        outcomes = np.concatenate([outcomes, silent], axis=2)
    outcomes = outcomes + smoothing
    totals = outcomes.sum(axis=2, keepdims=True)
    # Uniform for a class without mass and for a rule that never votes.
    uniform = np.full_like(outcomes, 1 / outcomes.shape[2])
    confusion = np.divide(outcomes, totals, out=uniform, where=totals > 0)
    prior = mass + smoothing
    return confusion, prior / prior.sum()


def _expect(
    indicators: csr_array,
    confusion: Float64[np.ndarray, "rules classes outcomes"],
    prior: Float64[np.ndarray, " classes"],
    with_silence: bool,
) -> tuple[Float64[np.ndarray, "rows classes"], Float64[np.ndarray, " rows"]]:
    num_classes = len(prior)
    logs = _finite_log(confusion)
    evidence = logs[:, :, :num_classes]
    base = _finite_log(prior)
    if with_silence:
        # Start with all rules silent, then let each vote replace the silence of its rule: there are few votes.
        base = base + logs[:, :, -1].sum(axis=0)
        evidence = evidence - logs[:, :, -1:]
    joint = base + indicators @ evidence.transpose(0, 2, 1).reshape(-1, num_classes)
    likelihood = logsumexp(joint, axis=1)
    posterior = np.exp(joint - likelihood[:, None])
    return posterior / posterior.sum(axis=1, keepdims=True), likelihood


def _finite_log(probabilities: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    # Without smoothing a probability may be 0, and the difference of two infinite logarithms would be NaN.
    logs: np.ndarray = np.log(np.maximum(probabilities, 1e-100))
    return logs


def _check_settings(
    votes: Integer[np.ndarray, "rows rules"],
    cast: Bool[np.ndarray, "rows rules"],
    silence: str,
    smoothing: float,
    max_iterations: int,
) -> None:
    if silence not in ("outcome", "missing"):
        raise ValueError(f"silence must be outcome or missing, got {silence!r}")
    if not 0 <= smoothing < np.inf:
        raise ValueError(f"smoothing must be a finite number of at least 0, got {smoothing}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    if not cast.any():
        raise ValueError(f"votes must hold at least one vote, got silence only in {cast.shape[0]} rows")
    highest = np.where(cast, votes, np.iinfo(np.int64).min).max(axis=0)
    lowest = np.where(cast, votes, np.iinfo(np.int64).max).min(axis=0)
    if silence == "missing" and (highest <= lowest).all():
        raise ValueError(
            "votes of rules for one class each carry no information with silence='missing'; pass silence='outcome'"
        )
