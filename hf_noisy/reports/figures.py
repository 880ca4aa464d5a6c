"""Figures as files, without pyplot and its global state."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from hf_noisy.core.files import replacing
from hf_noisy.core.rng import uniforms
from hf_noisy.metrics.calibration import Binning, expected_calibration_error, reliability_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): suitable for colour-blind readers.
_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
_INK, _GRID = "#262626", "#E3E3E3"
_LINES = (
    (_BLUE, "o", "-"),
    (_VERMILION, "s", "--"),
    (_GREEN, "^", "-."),
    (_PURPLE, "D", ":"),
    (_ORANGE, "v", "-"),
    (_SKY, "P", "--"),
)
# Suspected or not -> colour, marker, and a factor of the area, so that both markers look equally large.
_ROWS = {False: (_BLUE, "o", 1.0), True: (_VERMILION, "^", 1.25)}
# More points would hide each other.
_MAX_DRAWN = 3000


def dynamics_map(
    mean: Float[np.ndarray, " rows"],
    deviation: Float[np.ndarray, " rows"],
    suspects: Bool[np.ndarray, " rows"],
    path: str | os.PathLike[str],
    *,
    wrong: Bool[np.ndarray, " rows"] | None = None,
) -> Path:
    """Map of the training set: the distance of each row to the centroid of its given label, and how much it changed.

    Rows with a large mean or deviation are likely to be mislabelled. For a large training set a fixed random sample is
    drawn; the numbers in the legend count all rows.

    Args:
        mean: Mean over epochs of the distance to the centroid of the given label, `[rows]`.
        deviation: Standard deviation over epochs of the same distance, `[rows]`.
        suspects: Rows marked as likely mislabelled, `[rows]`.
        path: File to write; the suffix chooses the format (`.png`, `.pdf`, `.svg`).
        wrong: Rows whose given label is known to be wrong, `[rows]`; drawn with a black outline.

    Returns:
        The path written.

    Raises:
        ValueError: If the arrays differ in length, are empty or hold NaN.

    Source: data maps (Swayamdipta et al., 2020), of the centroid distances of DyGEN (Zhuang et al., 2023), Eq. 3-5.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mean, deviation, suspects = np.array([1.0, 3.0]), np.array([0.1, 0.6]), np.array([False, True])
        ...     path = dynamics_map(mean, deviation, suspects, f"{folder}/map.png")
        ...     path.name
        'map.png'
    """
    _check_rows(mean=mean, deviation=deviation, suspects=suspects, wrong=suspects if wrong is None else wrong)
    figure = new_figure()
    axes = figure.subplots()
    _draw_rows(axes, mean, deviation, suspects, wrong, alpha=0.75)
    sampled = f"\n{_MAX_DRAWN:,} of {len(mean):,} rows drawn, chosen at random" if len(mean) > _MAX_DRAWN else ""
    finish(axes, f"deviation of the centroid distance over epochs{sampled}", "mean centroid distance over epochs")
    return save(figure, path)


def data_map_figure(
    confidence: Float[np.ndarray, " rows"],
    variability: Float[np.ndarray, " rows"],
    suspects: Bool[np.ndarray, " rows"],
    path: str | os.PathLike[str],
) -> Path:
    """Data map of Swayamdipta et al. (2020): mean and deviation over epochs of the given label's probability."""
    _check_rows(confidence=confidence, variability=variability, suspects=suspects)
    figure = new_figure()
    axes = figure.subplots()
    _draw_rows(axes, confidence, variability, suspects, None, alpha=0.6)
    axes.set(xlim=(0, 0.5), ylim=(0, 1))
    finish(axes, "deviation of the given label's probability over epochs", "its mean over epochs")
    return save(figure, path)


def reliability_diagram(
    predictions: Mapping[str, tuple[Integer[np.ndarray, " _"], Float[np.ndarray, "_ _"]]],
    path: str | os.PathLike[str],
    *,
    num_bins: int = 15,
    binning: Binning = "width",
) -> Path:
    """Accuracy against confidence, one line per model, above a histogram of the confidences.

    Bins of equal width may hold few rows; bins of equal mass all hold the same number. The histogram always has bins
    of equal width.

    Args:
        predictions: Name of a model -> the labels `[rows]` to compare with and its probabilities `[rows, classes]`.
        path: File to write; the suffix chooses the format (`.png`, `.pdf`, `.svg`).
        num_bins: Number of bins.
        binning: Bins of equal `"width"` or of equal `"mass"`, for the line and for the ECE in the legend.

    Returns:
        The path written.

    Raises:
        ValueError: If `predictions` is empty, or as [`~hf_noisy.metrics.reliability_bins`].

    Source: Guo et al. (2017), Figure 1.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = reliability_diagram({"model": (np.array([0]), np.array([[0.9, 0.1]]))}, f"{folder}/bins.png")
        ...     path.name
        'bins.png'
    """
    if not predictions:
        raise ValueError("predictions must hold at least one model, got none")
    figure = new_figure(height=5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    upper.plot([0, 1], [0, 1], color="#8C8C8C", linewidth=1, linestyle=(0, (1, 2)), label="perfect calibration")
    for number, (name, (labels, probabilities)) in enumerate(predictions.items()):
        error = expected_calibration_error(labels, probabilities, num_bins, binning)
        bins = reliability_bins(labels, probabilities, num_bins, binning)
        density = reliability_bins(labels, probabilities, num_bins)
        filled = bins.count > 0
        draw_line(upper, bins.confidence[filled], bins.accuracy[filled], number, f"{name} (ECE {error:.1%})")
        color, _, line = _LINES[number % len(_LINES)]
        shares = 100 * density.count / density.count.sum()
        lower.stairs(shares, density.edges, color=color, linewidth=1.6, linestyle=line)
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    lower.set_ylim(bottom=0)
    finish(upper, "", "accuracy")
    finish(lower, "confidence" if binning == "width" else "confidence (line: bins of equal mass)", "rows, %")
    return save(figure, path)


def new_figure(height: float = 4.6) -> "Figure":
    """An empty figure, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw_line(axes: "Axes", x: np.ndarray, y: np.ndarray, number: int, label: str, **style: Any) -> None:
    """A line in the style of its number."""
    color, marker, dashes = _LINES[number % len(_LINES)]
    style = {"markersize": 5.5, "linewidth": 1.6, "clip_on": False, **style}
    axes.plot(x, y, color=color, marker=marker, linestyle=dashes, label=label, **style)


def finish(axes: "Axes", x_label: str, y_label: str) -> None:
    """Axis labels, a grid, and no box."""
    axes.set_xlabel(x_label, fontsize=11, color=_INK)
    axes.set_ylabel(y_label, fontsize=11, color=_INK)
    axes.tick_params(labelsize=10, colors=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)


def save(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Add the legend and write the file atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.legend(loc="outside right upper", fontsize=10, frameon=False, labelcolor=_INK)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")
    return path


def _draw_rows(
    axes: "Axes",
    mean: Float[np.ndarray, " rows"],
    deviation: Float[np.ndarray, " rows"],
    suspects: Bool[np.ndarray, " rows"],
    wrong: Bool[np.ndarray, " rows"] | None,
    alpha: float,
) -> None:
    """One point per row, or a sample of many rows, and the legend."""
    known = np.zeros_like(suspects) if wrong is None else wrong
    drawn = np.ones(len(mean), dtype=bool)
    if len(mean) > _MAX_DRAWN:
        order = uniforms(0, stream="dynamics_map", index=np.arange(len(mean)), size=1)[:, 0].argsort()
        drawn[order[_MAX_DRAWN:]] = False
    size = float(np.clip(30000 / drawn.sum(), 10, 36))
    # Outlined points last, so that they are not covered.
    for outlined in (False, True):
        for suspected, (color, marker, scale) in _ROWS.items():
            rows = drawn & (known == outlined) & (suspects == suspected)
            edges = {"edgecolors": "black" if outlined else "none", "linewidths": 0.8}
            points: dict[str, Any] = {"s": size * scale, "c": color, "marker": marker, "alpha": alpha, **edges}
            axes.scatter(deviation[rows], mean[rows], rasterized=True, **points)
    # Legend entries are opaque and of the same size, and count all rows, not only those drawn.
    for suspected, (color, marker, scale) in _ROWS.items():
        label = f"{'suspect' if suspected else 'not suspected'} ({int((suspects == suspected).sum()):,})"
        axes.scatter([], [], s=44 * scale, c=color, marker=marker, linewidths=0, label=label)
    if wrong is not None:
        found = f", {suspects[wrong].mean():.0%} suspect" if wrong.any() else ""
        label = f"label known to be wrong\n({int(wrong.sum()):,}{found})"
        axes.scatter([], [], s=44, c="none", edgecolors="black", linewidths=1.2, label=label)


def _check_rows(**columns: np.ndarray) -> None:
    lengths = {name: column.shape for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 or not shape[0] for shape in lengths.values()):
        raise ValueError(
            f"one value per row is needed, at least one row and the same number in each, got shapes {lengths}"
        )
    for name, column in columns.items():
        if not np.isfinite(column).all():
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in row {int(np.argmin(np.isfinite(column)))}"
            )
