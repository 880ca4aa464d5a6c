"""Estimate the noise rate without true labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.checks import is_several
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.flat_labels import flat_tokens
from hf_noisy.detection.agreement import most_confident
from hf_noisy.detection.cell_model import CellModel, fit_cell_model
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.label_model import LabelPosterior, fit_label_model, mean_probabilities
from hf_noisy.detection.mixture import MAX_FITTED, two_gaussians
from hf_noisy.detection.training_dynamics import aum

_NORMAL_95 = 1.96
# Chosen on the development sets of benchmarks/, so that the interval of `rate_from_held_out` holds the true rate.
_UNSEEN = 0.12  # share of wrong labels that agree with the predictions
_HARD = 0.05  # share of right labels that differ from confident predictions


class NoiseRate(NamedTuple):
    """An estimated share of wrong labels.

    Attributes:
        rate: The estimate, in [0, 1).
        low: Lower end of the interval, in [0, rate].
        high: Upper end of the interval, in [rate, 1].
    """

    rate: float
    low: float
    high: float


def estimate_noise_rate(
    labels: Any,
    probabilities: Any = None,
    dynamics: Sequence[np.ndarray] | Float[np.ndarray, "epochs rows classes"] | None = None,
    checked: Any = None,
) -> NoiseRate:
    """Share of wrong labels, with an interval.

    With checked rows it is estimated from those that were drawn at random, and the interval holds the true rate with
    a probability of 95 %, see [`~hf_noisy.detection.checked_estimates.CheckedEstimates`]. Probabilities or dynamics
    can then only make it narrower. Without checked rows the interval is no guarantee.

    From probabilities it is the mean probability of a wrong label, see [`hf_noisy.detection.label_model`][]. The
    interval is the sampling error plus the difference between the rates by class and by row, which the probabilities
    cannot separate with certainty.

    From dynamics it is the mean of two estimates: the same model on the mean probabilities over the epochs, too low if
    the network has memorised wrong labels, and a mixture over the margins, too high if hard rows look wrong. The
    interval covers both. Dynamics are ignored if probabilities are given.

    Args:
        labels: `[rows]`, given labels, every class among them; or a list of tags for each sentence, or sets of classes
            as zeros and ones `[rows, classes]`, with their probabilities alone: the rate is that of tokens or cells.
        probabilities: `[rows, classes]` of models that did not train on the row; may be memory-mapped.
        dynamics: Logits `[rows, classes]` of each epoch of an ordinary training, as an array or a list.
        checked: [`~hf_noisy.data.checked.CheckedRows`], rows that a person has checked. Neither the probabilities nor
            the dynamics may have been trained on the checked labels.

    Returns:
        A [`NoiseRate`].

    Raises:
        TypeError: If `checked` does not say how its rows were drawn.
        ValueError: If none of the three is given, one does not fit the labels, or no checked row was drawn at random.

    Example:
        >>> import numpy as np
        >>> rows = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
        >>> estimate_noise_rate(np.array([0] * 20 + [0, 1] * 40), rows).rate < 0.2
        True
    """
    if is_several(labels):
        return _rate_of_several(labels, probabilities, dynamics, checked)
    if checked is not None and not isinstance(checked, CheckedRows):
        raise TypeError(
            f"checked must be CheckedRows, which say how rows were drawn, got {type(checked).__name__}; make them by "
            "checked_rows(dataset, checked), or read_checked(path, dataset)"
        )
    predicted = probabilities
    if predicted is None and dynamics is not None:
        predicted = mean_probabilities(labels, dynamics)
    if predicted is None:
        if checked is None:
            raise ValueError("probabilities or dynamics are needed, got neither; pass one of them")
        return rate_from_checked(labels, checked)
    model = fit_label_model(labels, predicted)
    posterior = model.predict(labels, predicted)
    if checked is not None:
        return rate_from_checked(labels, checked, posterior, predicted.shape[1])
    if probabilities is not None or dynamics is None:
        return rate_from_posterior(posterior, model.ambiguous)
    return rate_from_dynamics(posterior, model.ambiguous, aum(labels, dynamics))


def _rate_of_several(labels: Any, probabilities: Any, dynamics: Any, checked: Any) -> NoiseRate:
    """The rate among tokens or cells."""
    if dynamics is not None or checked is not None or probabilities is None:
        raise ValueError("labels of tokens or sets of classes need probabilities, and take nothing else")
    if isinstance(labels, np.ndarray):
        return rate_of_cells(fit_cell_model(labels, probabilities))
    flat, values = flat_tokens(labels, probabilities)
    known = flat.labels >= 0
    return estimate_noise_rate(flat.labels[known], values[known])


def rate_of_cells(model: CellModel) -> NoiseRate:
    """The expected share of wrong cells; the interval is that of the missing rate, and no guarantee."""
    return NoiseRate(float(model.wrong.mean()), *model.bounds)


def rate_from_checked(
    labels: Labels, checked: CheckedRows, posterior: LabelPosterior | None = None, num_classes: int | None = None
) -> NoiseRate:
    """The rate from the checked rows drawn at random; a posterior without their labels makes it narrower."""
    probabilities = None
    if posterior is not None and num_classes is not None:
        rows = np.arange(len(labels))
        probabilities = np.zeros((len(labels), num_classes))
        probabilities[rows, posterior.suggested] = posterior.wrong
        probabilities[rows, labels] += 1.0 - posterior.wrong
    share = CheckedEstimates(labels, checked, num_classes, posterior=probabilities).noise_rate()
    return NoiseRate(share.rate, share.low, share.high)


def rate_from_held_out(labels: Labels, probabilities: Float[np.ndarray, "rows classes"]) -> NoiseRate:
    """The share of labels that are wrong at random, and an interval for all that are wrong.

    The rate is how many labels differ among the most confident predictions, less the errors that their confidence
    admits. Noise that the features predict as well as the true labels, such as that of rules or of annotators who
    confuse classes, is not among these rows. What is known of it is that the labels that differ anywhere, and those
    that the predictions would give to other classes, may be wrong: this is the upper end.
    """
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    confident = most_confident(probabilities)
    differ = float((predicted != labels)[confident].mean())
    errors = float(1 - probabilities.max(1)[confident].mean())
    rate = float(np.clip((differ - errors) / max(1 - errors * classes / (classes - 1), 0.05), 0, 1))
    given, found = (np.bincount(values, minlength=classes) / rows for values in (labels, predicted))
    everywhere = float((predicted != labels).mean())
    sampling = _NORMAL_95 * float(np.sqrt(max(rate * (1 - rate), 0.02) / len(confident)))
    high = max(everywhere, rate) + _UNSEEN + np.abs(given - found).sum() / 4
    return NoiseRate(rate, max(rate - sampling - _HARD, 0.0), min(float(high), 1.0))


def rate_from_posterior(posterior: LabelPosterior, ambiguous: float) -> NoiseRate:
    """The rates by class and by row, weighted by the share of ambiguous rows; their difference widens the interval."""
    by_class = float(posterior.wrong_by_class.mean(dtype=np.float64))
    by_row = float(posterior.disagrees.mean())
    rate = (1 - ambiguous) * by_class + ambiguous * by_row
    sampling = _NORMAL_95 * float(np.sqrt(rate * (1 - rate) / len(posterior.wrong)))
    return _interval(rate, abs(by_class - by_row) + sampling)


def rate_from_dynamics(
    posterior: LabelPosterior, ambiguous: float, margins: Float64[np.ndarray, " rows"]
) -> NoiseRate:
    """The rate from one training: the mean of a lower estimate (memorisation) and an upper one (hard rows)."""
    lower = rate_from_posterior(posterior, ambiguous)
    fitted = evenly_spaced(np.sort(margins), MAX_FITTED)
    # A mixture needs 4 rows.
    upper = mixture_noise_rate(-fitted) if len(fitted) >= 4 else lower.rate
    return _interval((lower.rate + upper) / 2, abs(upper - lower.rate) / 2 + (lower.high - lower.rate))


def mixture_noise_rate(scores: Float[np.ndarray, " rows"], seed: int = 0) -> float:
    """Share of the rows in the upper component of a mixture of two Gaussians.

    Args:
        scores: `[rows]`, the higher, the more suspicious the given label.
        seed: Seed of the initialisation.

    Returns:
        A rate in `[0, 1)`. The mixture always finds two groups, so the rate of a clean dataset is above 0.

    Raises:
        ValueError: If there are fewer than 4 rows or a score is not finite.

    Example:
        >>> import numpy as np
        >>> normal = np.random.default_rng(0).normal
        >>> round(mixture_noise_rate(np.concatenate([normal(0, 1, 800), normal(8, 1, 200)])), 2)
        0.2
    """
    if len(scores) < 4 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be at least 4 finite numbers, got {len(scores)}; pass noise_rate yourself")
    if np.ptp(scores) == 0:
        return 0.0
    values = scores.astype(np.float64)
    mixture = two_gaussians(values, n_init=3, random_state=seed)
    upper = int(np.argmax(mixture.means_[:, 0]))
    return float(min(mixture.predict_proba(values[:, None])[:, upper].mean(), 1.0 - 1.0 / len(scores)))


def _interval(rate: float, half: float) -> NoiseRate:
    return NoiseRate(rate, max(rate - half, 0.0), min(rate + half, 1.0))
