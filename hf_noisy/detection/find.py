"""The default detector of wrong labels, with a quality score and a suggested class per row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

from hf_noisy.core.checks import is_several
from hf_noisy.core.types import Labels, Probabilities
from hf_noisy.data.checked import RANDOM, UNCHECKED, CheckedRows, checked_column
from hf_noisy.detection.label_issues import LabelIssues, most_expected_f1
from hf_noisy.detection.label_model import LabelPosterior, fit_label_model, mean_probabilities
from hf_noisy.detection.noise_rate import NoiseRate, rate_from_checked, rate_from_dynamics, rate_from_posterior
from hf_noisy.detection.opinions import opinions
from hf_noisy.detection.planted import planted_error_rate
from hf_noisy.detection.training_dynamics import aum
from hf_noisy.detection.wrong_cells import find_wrong_cells
from hf_noisy.detection.wrong_tokens import find_wrong_tokens


def find_wrong_labels(
    labels: Any,
    probabilities: Any = None,
    dynamics: Sequence[np.ndarray] | Float[np.ndarray, "epochs rows classes"] | None = None,
    evidence: Sequence[Float[np.ndarray, " rows"]] = (),
    checked: Any = None,
    votes: Any = None,
) -> LabelIssues:
    """Find wrong labels from out-of-sample probabilities, or from the logits recorded during one training.

    The quality is the probability that the given label is right, see [`hf_noisy.detection.label_model`][]. Of the rows
    where the classifier disagrees with the label, those are flagged that maximise the expected F1, and fewer if there
    are not as many clear contradictions as planted errors would cause. With dynamics or
    further evidence the quality is the mean of the ranks of all scores: that probability, the area under the margin,
    and each further score; the number of flagged rows stays the same, or, without probabilities, is given by the
    estimated noise rate. Dynamics need no cross-validation: probabilities are then the mean over the epochs.

    Args:
        labels: `[rows]`, given labels, every class among them. Sets of classes as zeros and ones `[rows, classes]` go
            to [`~hf_noisy.detection.wrong_cells.find_wrong_cells`], and a list of tags for each sentence to
            [`~hf_noisy.detection.wrong_tokens.find_wrong_tokens`], with their probabilities alone.
        probabilities: `[rows, classes]` of models that did not train on the row; may be memory-mapped.
        dynamics: Logits `[rows, classes]` of each epoch of an ordinary training, as an array or a list.
        evidence: Further scores `[rows]`, such as the negative centroid distance; the higher, the better the label.
        checked: `[rows]`, the class that a person found, -1 where nobody looked, or
            [`~hf_noisy.data.checked.CheckedRows`]. A checked row is flagged if its given label is another one, with
            quality 0 or 1. If some were drawn at random, the noise rate is that of `estimate_noise_rate` with them.
        votes: Answers of several annotators, as for [`~hf_noisy.detection.opinions.opinions`]. The quality is then one
            minus the error score, and rows are flagged by what votes and probabilities say together, so that a label
            on which people legitimately differ is not.

    Returns:
        [`LabelIssues`].

    Raises:
        ValueError: If neither probabilities nor dynamics are given, one does not fit the labels, or votes are given
            with further evidence.

    Source: the threshold of the highest expected F1 is by Lipton et al. (2014); mean ranks are a Borda count.

    Example:
        >>> import numpy as np
        >>> rows = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
        >>> issues = find_wrong_labels(np.array([1, 1, 0, 0] + [0, 1] * 48), rows)
        >>> np.flatnonzero(issues.is_wrong).tolist(), issues.suggested[:4].tolist()
        ([0, 3], [0, 1, 0, 1])
    """
    if is_several(labels):
        if dynamics is not None or len(evidence) or checked is not None or votes is not None or probabilities is None:
            raise ValueError("labels of tokens or sets of classes need probabilities, and take nothing else")
        several = find_wrong_tokens if isinstance(labels, list | tuple) else find_wrong_cells
        return several(labels, probabilities)
    if votes is not None and len(evidence):
        raise ValueError("evidence and votes both set the quality; pass one of them")
    predicted = probabilities
    if predicted is None:
        if dynamics is None:
            raise ValueError("probabilities or dynamics are needed, got neither; pass one of them")
        predicted = mean_probabilities(labels, dynamics)
    model = fit_label_model(labels, predicted)
    posterior = model.predict(labels, predicted)
    scores = [1 - posterior.wrong.astype(np.float64)]
    noise_rate = rate_from_posterior(posterior, model.ambiguous)
    planted = planted_error_rate(labels, predicted, model.row_temperature)
    found = most_suspicious(posterior, planted)
    count = int(found.sum())
    if dynamics is not None:
        margins = aum(labels, dynamics)
        scores.append(margins)
        if probabilities is None:
            noise_rate = rate_from_dynamics(posterior, model.ambiguous, margins)
            count = round(noise_rate.rate * len(labels))
    scores.extend(evidence)
    if votes is not None:
        return issues_by_opinions(labels, predicted, votes, noise_rate, checked)
    quality = scores[0]
    if len(scores) > 1:
        quality = mean_rank(scores)
        found = np.zeros(len(labels), dtype=bool)
        found[np.argsort(quality, kind="stable")[:count]] = True
    suggested = np.where(found, posterior.suggested, labels).astype(np.int64)
    if isinstance(checked, CheckedRows) and RANDOM in checked.strategy:
        noise_rate = rate_from_checked(labels, checked, posterior, predicted.shape[1])
    issues = LabelIssues(found, quality, suggested, noise_rate)
    return issues if checked is None else with_checked(issues, labels, checked, predicted.shape[1])


def issues_by_opinions(
    labels: Labels, probabilities: Probabilities, votes: Any, noise_rate: NoiseRate, checked: Any
) -> LabelIssues:
    """Flags by what votes and probabilities say together."""
    found = opinions(labels, votes, probabilities)
    rows, others = np.arange(len(labels)), found.plausibility.copy()
    own = found.plausibility[rows, labels]
    others[rows, labels] = -1
    wrong, disagrees = 1 - own, others.max(axis=1) > own
    posterior = LabelPosterior(wrong, wrong, others.argmax(axis=1), disagrees)
    flagged = most_expected_f1(posterior)
    suggested = np.where(flagged, posterior.suggested, labels).astype(np.int64)
    issues = LabelIssues(flagged, 1 - found.error, suggested, noise_rate, found)
    return issues if checked is None else with_checked(issues, labels, checked, probabilities.shape[1])


def with_checked(issues: LabelIssues, labels: Labels, checked: Any, num_classes: int) -> LabelIssues:
    """The issues with what a person found in the checked rows."""
    column = checked_column(checked, len(labels), num_classes)
    known, wrong = column != UNCHECKED, column != labels
    return issues._replace(
        is_wrong=np.where(known, wrong, issues.is_wrong),
        quality=np.where(known, 1.0 - wrong, issues.quality),
        suggested=np.where(known, column, issues.suggested),
    )


def most_suspicious(posterior: LabelPosterior, planted: float) -> Bool[np.ndarray, " rows"]:
    """The rows of [`most_expected_f1`], fewer where planted errors show a lower noise rate than the label model.

    The label model counts hard rows with right labels as wrong, and planted errors miss wrong labels of hard rows, so
    the number follows the geometric mean of the two rates.
    """
    found = most_expected_f1(posterior)
    rate = float(posterior.wrong[posterior.disagrees].sum(dtype=np.float64)) / len(found)
    if planted >= rate:
        return found
    count = round(float(found.sum()) * (planted / rate) ** 0.5)
    kept = np.zeros(len(found), dtype=bool)
    kept[np.argsort(np.where(found, -posterior.wrong, np.inf), kind="stable")[:count]] = True
    return kept


def mean_rank(scores: Sequence[Float[np.ndarray, " rows"]]) -> Float64[np.ndarray, " rows"]:
    """Mean over several scores of a row's rank, from 0 for the lowest to 1 for the highest; ties share a rank."""
    from scipy.stats import rankdata

    rows = len(scores[0])
    total = np.zeros(rows)
    for number, score in enumerate(scores):
        if not isinstance(score, np.ndarray) or score.shape != (rows,) or not np.isfinite(score).all():
            raise ValueError(f"evidence must be {rows} finite scores each, but score {number} is not; correct it")
        total += rankdata(score) - 1
    return total / (len(scores) * max(rows - 1, 1))
