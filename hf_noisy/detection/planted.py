"""How many labels contradict the classifier as clearly as planted errors do: a lower estimate of the noise rate."""

import numpy as np
from jaxtyping import Float

from hf_noisy.core.blocks import evenly_spaced
from hf_noisy.core.types import Labels, Probabilities

_MAX_FITTED = 1 << 15  # larger data is measured on so many evenly spaced rows
_MAX_CELLS = 1 << 21  # the same for rows times classes
_POWER = 0.5  # the least share of planted errors beyond a threshold; less misses noise between two classes only
_SMALLEST = 1e-6  # floor of probabilities before the logarithm


def planted_error_rate(
    labels: Labels, probabilities: Probabilities, temperature: float, power: float = _POWER
) -> float:
    """The largest share of wrong labels that leaves no more clear contradictions than there are, in [0, 1].

    A planted error is the label of a row replaced by another class, drawn by the probabilities at the temperature. The
    model has not seen the row, so it need not be fitted again. If a share r of the labels is wrong like planted
    errors, at least r times the planted share beyond any threshold lies beyond it (Blanchard et al., 2010, Section 4).
    Hard rows with right labels contradict the classifier less clearly, so they count little. Random errors contradict
    it more clearly than planted ones and count more than once, which does no harm in [`find_wrong_labels`].
    """
    classes = probabilities.shape[1]
    if classes < 2:
        return 0.0
    chosen = evenly_spaced(np.arange(len(labels)), min(_MAX_FITTED, max(_MAX_CELLS // classes, 1)))
    given, rows = labels[chosen], np.arange(len(chosen))
    logs = np.log(np.maximum(np.asarray(probabilities[chosen], dtype=np.float32), _SMALLEST))
    contradictions = _contradictions(logs)
    own = np.sort(contradictions[rows, given])
    logs[rows, given] = -np.inf
    planted = np.exp((logs - logs.max(axis=1, keepdims=True)) / np.float32(temperature))
    planted /= planted.sum(axis=1, keepdims=True) * len(rows)
    # One more than there are: the few errors of nearly clean data must not vanish.
    beyond = (len(own) + 1 - np.searchsorted(own, own, side="right")) / len(own)
    position = np.searchsorted(own, contradictions.ravel(), side="left")
    counts = np.bincount(position, planted.ravel(), minlength=len(own) + 1)
    planted_beyond = counts[::-1].cumsum()[::-1][1:]
    enough = planted_beyond >= power
    return float(np.min(beyond[enough] / planted_beyond[enough], initial=1.0))


def _contradictions(logs: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, "rows classes"]:
    """For each label, the logarithm of the highest other probability over its own."""
    best, second = logs.argmax(axis=1), np.partition(logs, -2, axis=1)[:, -2]
    highest = np.repeat(logs.max(axis=1, keepdims=True), logs.shape[1], axis=1)
    highest[np.arange(len(logs)), best] = second
    contradictions: np.ndarray = highest - logs
    return contradictions
