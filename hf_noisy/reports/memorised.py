"""What a network makes of rows whose given label is known to be wrong, epoch by epoch."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Float64, Integer

# Of float32: below it a probability has been rounded to nothing, which is not the same as an infinite loss.
_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Memorisation:
    """What [`memorisation`] returns: one number an epoch, NaN where there are no such rows.

    Attributes:
        memorised: `[epochs]`, share of the wrongly labelled rows predicted as their given, wrong label.
        corrected: `[epochs]`, share of the wrongly labelled rows predicted as their true label.
        learned: `[epochs]`, share of the rightly labelled rows predicted as their label.
        loss_wrong: `[epochs]`, mean cross-entropy with the given label over the wrongly labelled rows, in nats.
        loss_right: `[epochs]`, the same over the rightly labelled rows.
    """

    memorised: Float64[np.ndarray, " epochs"]
    corrected: Float64[np.ndarray, " epochs"]
    learned: Float64[np.ndarray, " epochs"]
    loss_wrong: Float64[np.ndarray, " epochs"]
    loss_right: Float64[np.ndarray, " epochs"]

    def as_lists(self) -> dict[str, list[float | None]]:
        """The numbers as JSON takes them: lists by name, `None` for NaN."""
        return {
            name: [None if np.isnan(value) else float(value) for value in values]
            for name, values in asdict(self).items()
        }


def memorisation(
    probabilities: Float[np.ndarray, "epochs rows classes"],
    given: Integer[np.ndarray, " _"],
    true: Integer[np.ndarray, " _"],
) -> Memorisation:
    r"""How much of the label noise a network repeats, and how much it sees through.

    With $W$ the rows whose given label is not the true one, in every epoch

    $$\mathrm{memorised} = \frac{1}{|W|} \sum_{i \in W} [\hat{y}_i = \tilde{y}_i], \qquad
    \mathrm{corrected} = \frac{1}{|W|} \sum_{i \in W} [\hat{y}_i = y_i]$$

    The true labels are for this report only. Nothing that trains or chooses a model may read it.

    Args:
        probabilities: Predictions after each epoch, `[epochs, rows, classes]`, each row sums to 1.
        given: `[rows]`, the labels that training saw.
        true: `[rows]`, the true labels.

    Returns:
        A [`Memorisation`].

    Raises:
        ValueError: If the numbers of rows differ, or a label is no class.

    Source: Liu et al. (2020), ELR, Figure 1; the losses: Sarfraz et al. (2021), NCT, Figure 1.

    Example:
        >>> import numpy as np
        >>> epochs = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.7, 0.3]]])
        >>> result = memorisation(epochs, given=np.array([0, 0]), true=np.array([0, 1]))
        >>> result.memorised.tolist(), result.corrected.tolist(), result.learned.tolist()
        ([0.0, 1.0], [1.0, 0.0], [1.0, 1.0])
    """
    rows, classes = probabilities.shape[1:]
    for name, labels in (("given", given), ("true", true)):
        if len(labels) != rows:
            raise ValueError(f"{name} must be one label for each of the {rows} rows, got {len(labels)}")
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"{name} must be classes 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    wrong = given != true
    predicted = probabilities.argmax(axis=2)
    losses = -np.log(probabilities[:, np.arange(len(given)), given].clip(_SMALLEST).astype(np.float64))
    return Memorisation(
        memorised=_mean((predicted == given)[:, wrong]),
        corrected=_mean((predicted == true)[:, wrong]),
        learned=_mean((predicted == given)[:, ~wrong]),
        loss_wrong=_mean(losses[:, wrong]),
        loss_right=_mean(losses[:, ~wrong]),
    )


def _mean(values: np.ndarray) -> Float64[np.ndarray, " epochs"]:
    # numpy warns of the mean of nothing, but a training set without a wrong label is no mistake.
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    means: Float64[np.ndarray, " epochs"] = values.mean(axis=1, dtype=np.float64)
    return means
