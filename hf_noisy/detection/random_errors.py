"""The posterior of the true label if labels are wrong at random, and only as far as the given labels show that.

Predictions and labels disagree where labels are wrong and where rows are hard. Hard rows contradict unconfident
predictions, random errors contradict confident ones as often. So the share of random errors and the temperature of the
predictions are estimated together. Errors that the features predict, such as those of rules, look like hard rows.
"""

import numpy as np
from jaxtyping import Float64
from scipy.special import log_softmax

from hf_noisy.core.types import Labels
from hf_noisy.detection.agreement import posterior_given_label

# Chosen with each set left out, see benchmarks/results/leave_one_out_purify.md.
_WIDTH = 0.3  # standard deviation of the logarithm of the temperature
_NO_ERRORS = 0.9  # prior probability that there are no random errors
_OUTLIERS = 0.01  # share of right labels that contradict confident predictions like random errors do
_POWERS = np.exp(np.linspace(np.log(0.08), np.log(4.0), 18))  # of the predictions: 1 / temperature
_RATES = np.r_[0.0, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.125, 0.15, np.arange(0.2, 0.81, 0.05)]
_FEWEST_CONFUSED = 0.3  # least rate of errors towards one class each: fewer are not told from hard rows
_MOST_CONFUSED = 0.5
_WORTHLESS = 100.0  # prior odds of worthless predictions: the best of several were chosen
_FEW = 1000  # with fewer rows the temperature is less certain
_ROOM = 0.04  # labels of rates closer to chance say nothing
_NEGLIGIBLE = 1e-3  # posterior probability of a rate and temperature
_TINY = 1e-30
_TOLERANCE = 1e-9


def random_error_posterior(
    labels: Labels,
    probabilities: Float64[np.ndarray, "rows classes"],
    *,
    width: float = _WIDTH,
    no_errors: float = _NO_ERRORS,
    outliers: float = _OUTLIERS,
    fewest_confused: float = _FEWEST_CONFUSED,
) -> Float64[np.ndarray, "rows classes"]:
    """The mean posterior over error rates and temperatures, weighted by the likelihood of the given labels.

    Probabilities must not have used the row's label, and their mean confidence is their expected accuracy. The label
    of a wrong row is any other class, or one other class for each true class (at rates from `fewest_confused` on).
    Without signs of random errors every row keeps its label with a probability near 1.
    """
    logs, rows = np.log(probabilities + _TINY), np.arange(len(labels))
    patterns = _patterns(labels, probabilities, fewest_confused)
    posterior = np.zeros_like(logs)
    for (errors, rates), weights in zip(patterns, _weights(labels, logs, patterns, width, no_errors), strict=True):
        for i, j in np.argwhere(weights > _NEGLIGIBLE):
            if rates[j] <= outliers:
                continue
            likely = np.exp(log_softmax(_POWERS[i] * logs, axis=1))
            wrong = rates[j] * likely * errors[:, labels].T
            wrong /= (wrong.sum(1) + (1 - rates[j]) * likely[rows, labels] + _TINY)[:, None]
            posterior += weights[i, j] * (1 - outliers / rates[j]) * wrong
    posterior[rows, labels] = 1 - posterior.sum(1)
    return posterior


def _patterns(
    labels: Labels, probabilities: Float64[np.ndarray, "rows classes"], fewest_confused: float
) -> list[tuple[Float64[np.ndarray, "classes classes"], Float64[np.ndarray, " _"]]]:
    """For each kind of error the given labels (columns) of wrong rows by true label, and the rates, first 0."""
    classes = probabilities.shape[1]
    everywhere = (1 - np.eye(classes)) / (classes - 1)
    confused = posterior_given_label(probabilities, labels)[1]
    np.fill_diagonal(confused, 0.0)
    some = (fewest_confused - _TOLERANCE < _RATES) & (_RATES < _MOST_CONFUSED + _TOLERANCE)
    return [
        (everywhere, _RATES[(classes - 1) / classes - _ROOM > _RATES]),
        (np.eye(classes)[confused.argmax(1)], _RATES[some | (_RATES == 0)]),
    ]


def _weights(
    labels: Labels,
    logs: Float64[np.ndarray, "rows classes"],
    patterns: list[tuple[Float64[np.ndarray, "classes classes"], Float64[np.ndarray, " _"]]],
    width: float,
    no_errors: float,
) -> list[Float64[np.ndarray, "powers _"]]:
    """Posterior probability of each power (rows) and rate (columns) of each kind of error; worthless is the rest."""
    width *= max(1.0, np.sqrt(_FEW / len(labels)))
    scores = [np.empty((len(_POWERS), len(rates))) for _, rates in patterns]
    for i, power in enumerate(_POWERS):
        likely = np.exp(log_softmax(power * logs, axis=1))
        own = likely[np.arange(len(labels)), labels]
        for score, (errors, rates) in zip(scores, patterns, strict=True):
            other = np.einsum("rc,cr->r", likely, errors[:, labels])
            for j, rate in enumerate(rates):
                score[i, j] = np.log((1 - rate) * own + rate * other + _TINY).sum()
        for score in scores:
            score[i] -= np.log(power) ** 2 / (2 * width**2)
    for score in scores:
        score[:, 0] += np.log(no_errors)
        score[:, 1:] += np.log((1 - no_errors) / max(score.shape[1] - 1, 1))
    # Worthless predictions look like errors at the level of chance.
    counts = np.bincount(labels, minlength=logs.shape[1])
    worthless = float(counts @ np.log(np.maximum(counts, 1) / len(labels)) + np.log(_WORTHLESS))
    highest = max(worthless, *(score.max() for score in scores))
    total = np.exp(worthless - highest) + sum(np.exp(score - highest).sum() for score in scores)
    return [np.exp(score - highest) / total for score in scores]
