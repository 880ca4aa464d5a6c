"""The memorisation curve: what becomes of wrong labels while training goes on."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_noisy.reports.figures import _LINES, _dress, _figure, _legend, _save


def memorisation_curve(
    memorised: Float[np.ndarray, " _"],
    corrected: Float[np.ndarray, " _"],
    learned: Float[np.ndarray, " _"],
    path: str | os.PathLike[str],
    *,
    test_accuracy: Float[np.ndarray, " _"] | None = None,
) -> Path:
    """Shares of the training rows by epoch: wrong labels memorised, wrong labels corrected, right labels learned.

    A line without a finite value is left out: of a training set without wrong labels only `learned` is drawn.

    Args:
        memorised: `[epochs]`, share of the wrongly labelled rows predicted as their given, wrong label, in [0, 1].
        corrected: `[epochs]`, share of the wrongly labelled rows predicted as their true label, in [0, 1].
        learned: `[epochs]`, share of the rightly labelled rows predicted as their label, in [0, 1].
        path: File to write; the suffix chooses the format (`.png`, `.pdf`, `.svg`).
        test_accuracy: `[epochs]`, accuracy on true labels of test rows, in [0, 1].

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
        "test accuracy": test_accuracy,
    }
    lengths = {name: len(values) for name, values in curves.items() if values is not None}
    if len(set(lengths.values())) > 1 or not len(memorised):
        raise ValueError(f"every curve needs one value an epoch and at least one epoch, got {lengths}")
    figure = _figure(7.6, 4.6)
    axes = figure.subplots()
    epochs = np.arange(1, len(memorised) + 1)
    # Markers on few epochs: on four hundred they would hide the line.
    style: dict[str, Any] = {"markersize": 5.5, "markevery": max(1, len(epochs) // 20)}
    for (name, values), (color, marker, line) in zip(curves.items(), _LINES, strict=False):
        if values is None or not np.isfinite(values).any():
            continue
        if np.nanmin(values) < 0 or np.nanmax(values) > 1:
            raise ValueError(f"{name} must be in [0, 1], got {np.nanmin(values):.4g} to {np.nanmax(values):.4g}")
        axes.plot(
            epochs,
            values,
            color=color,
            marker=marker,
            linestyle=line,
            linewidth=1.6,
            clip_on=False,
            label=name,
            **style,
        )
    axes.set(xlim=(0.5, len(epochs) + 0.5), ylim=(0, 1.02))
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    _dress(axes, "epoch", "share of rows")
    _legend(figure)
    return _save(figure, path)
