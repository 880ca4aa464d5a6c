"""The data map: every row by what training thought of its given label."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from hf_noisy.reports.figures import _ROWS, _check_rows, _dress, _figure, _legend, _name_rows, _sample, _save


def data_map_figure(
    confidence: Float[np.ndarray, " rows"],
    variability: Float[np.ndarray, " rows"],
    suspects: Bool[np.ndarray, " rows"],
    path: str | os.PathLike[str],
) -> Path:
    """Probability of the given label over the epochs: its mean against its deviation.

    Of many rows a random sample is drawn, the same one each time; the numbers in the legend count all rows.

    Args:
        confidence: Mean over epochs, `[rows]`, in [0, 1].
        variability: Standard deviation over epochs, `[rows]`.
        suspects: Rows whose label is likely wrong, `[rows]`.
        path: File to write; the suffix chooses the format (`.png`, `.pdf`, `.svg`).

    Returns:
        The path written.

    Raises:
        ValueError: If the arrays differ in length, are empty or hold NaN.

    Source: Swayamdipta et al. (2020), Figure 1.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mean, deviation, suspects = np.array([0.9, 0.1]), np.array([0.1, 0.1]), np.array([False, True])
        ...     data_map_figure(mean, deviation, suspects, f"{folder}/map.png").name
        'map.png'
    """
    _check_rows(confidence=confidence, variability=variability, suspects=suspects)
    figure = _figure(7.6, 4.6)
    axes = figure.subplots()
    drawn = _sample(len(confidence))
    size = float(np.clip(30000 / drawn.sum(), 10, 36))
    for suspected, (color, marker, scale) in _ROWS.items():
        rows = drawn & (suspects == suspected)
        axes.scatter(variability[rows], confidence[rows], s=size * scale, c=color, marker=marker, alpha=0.6,
                     edgecolors="none", rasterized=True)  # fmt: skip
    _name_rows(axes, suspects, None)
    axes.set(xlim=(0, 0.5), ylim=(0, 1))
    _dress(axes, "deviation of the given label's probability over epochs", "its mean over epochs")
    _legend(figure)
    return _save(figure, path)
