"""Memorisation of labels that are known to be wrong, by epoch: the numbers and the figure."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Integer

from hf_noisy.core.checks import check_labels
from hf_noisy.reports.figures import draw_line, finish, new_figure, save

_SMALLEST = np.finfo(np.float32).tiny  # for probabilities rounded to 0, whose loss is not infinite


@dataclass(frozen=True)
class Memorisation:
    """The result of [`memorisation`]: one number per epoch, NaN if there are no such rows."""

    memorised: Float64[np.ndarray, " epochs"]  # share of the wrongly labelled rows predicted as their given label
    corrected: Float64[np.ndarray, " epochs"]  # share of the wrongly labelled rows predicted as their true label
    learned: Float64[np.ndarray, " epochs"]  # share of the correctly labelled rows predicted as their label
    loss_wrong: Float64[np.ndarray, " epochs"]  # mean cross-entropy with wrong given labels, in nats
    loss_right: Float64[np.ndarray, " epochs"]  # mean cross-entropy with right given labels, in nats

    def as_lists(self) -> dict[str, list[float | None]]:
        """The numbers as JSON values: lists by name, `None` for NaN."""
        return {
            name: [None if np.isnan(value) else float(value) for value in values]
            for name, values in asdict(self).items()
        }


def memorisation(
    given: Integer[np.ndarray, " _"],
    true: Integer[np.ndarray, " _"],
    probabilities: Float[np.ndarray, "epochs rows classes"],
) -> Memorisation:
    """Shares of wrong labels that a network memorises or corrects, and losses, as in ELR (Fig. 1) and NCT (Fig. 1)."""
    rows, classes = probabilities.shape[1:]
    for name, labels in (("given", given), ("true", true)):
        check_labels(labels, classes, num_rows=rows, name=name)
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


def memorisation_curve(
    memorised: Float[np.ndarray, " _"],
    corrected: Float[np.ndarray, " _"],
    learned: Float[np.ndarray, " _"],
    path: str | os.PathLike[str],
    *,
    test_accuracy: Float[np.ndarray, " _"] | None = None,
    test_name: str = "test accuracy",
) -> Path:
    """Shares of the training rows by epoch: wrong labels memorised, wrong labels corrected, right labels learned.

    Lines without a finite value are left out: without wrong labels only `learned` is drawn.

    Args:
        memorised: `[epochs]`, share of the wrongly labelled rows predicted as their given, wrong label, in [0, 1].
        corrected: `[epochs]`, share of the wrongly labelled rows predicted as their true label, in [0, 1].
        learned: `[epochs]`, share of the correctly labelled rows predicted as their label, in [0, 1].
        path: File to write; the suffix chooses the format (`.png`, `.pdf`, `.svg`).
        test_accuracy: `[epochs]`, accuracy (or another score) on test rows, in [0, 1].
        test_name: Its name in the figure.

    Returns:
        The path written.

    Raises:
        ValueError: If the curves differ in length, have no epoch, or lie outside [0, 1].

    Source: Liu et al. (2020), ELR, Figure 1.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rising, falling = np.array([0.1, 0.6]), np.array([0.7, 0.3])
        ...     path = memorisation_curve(rising, falling, np.array([0.8, 0.9]), f"{folder}/curve.png")
        ...     path.name
        'curve.png'
    """
    curves = {
        "wrong label memorised": memorised,
        "wrong label corrected": corrected,
        "right label learned": learned,
        test_name: test_accuracy,
    }
    lengths = {name: len(values) for name, values in curves.items() if values is not None}
    if len(set(lengths.values())) > 1 or not len(memorised):
        raise ValueError(f"every curve needs one value per epoch and at least one epoch, got {lengths}")
    figure = new_figure()
    axes = figure.subplots()
    epochs = np.arange(1, len(memorised) + 1)
    for number, (name, values) in enumerate(curves.items()):
        if values is None or not np.isfinite(values).any():
            continue
        if np.nanmin(values) < 0 or np.nanmax(values) > 1:
            raise ValueError(f"{name} must be in [0, 1], got {np.nanmin(values):.4g} to {np.nanmax(values):.4g}")
        # At most about 20 markers, which would otherwise hide the line.
        draw_line(axes, epochs, values, number, name, markevery=max(1, len(epochs) // 20))
    axes.set(xlim=(0.5, len(epochs) + 0.5), ylim=(0, 1.02))
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    finish(axes, "epoch", "share of rows")
    return save(figure, path)


def _mean(values: np.ndarray) -> Float64[np.ndarray, " epochs"]:
    # numpy would warn if there are no wrong labels.
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    means: Float64[np.ndarray, " epochs"] = values.mean(axis=1, dtype=np.float64)
    return means
