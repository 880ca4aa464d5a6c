"""Figure of annotators: accuracy with intervals, and who agrees with whom beyond what the labels explain."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from hf_noisy.detection.aggregate import Aggregation
from hf_noisy.reports.figures import finish, new_figure, save

_SHOWN = 30


def annotator_figure(found: Aggregation, path: str | os.PathLike[str]) -> Path:
    """Draw the accuracy of each annotator with its interval, and the correlation of annotators.

    Args:
        found: The result of [`~hf_noisy.detection.aggregate.aggregate`].
        path: File to write; the ending sets the format. Of more than 30 annotators, those with the most answers are
            drawn.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> from hf_noisy.detection import aggregate
        >>> found = aggregate(np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0]] * 20))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     annotator_figure(found, f"{folder}/annotators.png").name
        'annotators.png'
    """
    answers = np.array([row.answers for row in found.annotators])
    kept = np.argsort(-answers, kind="stable")[:_SHOWN]
    kept = kept[answers[kept] > 0]
    kept = kept[np.argsort([-found.annotators[number].accuracy for number in kept], kind="stable")]
    rows, places = [found.annotators[number] for number in kept], np.arange(len(kept))
    figure = new_figure(height=2.2 + 0.22 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    accuracy = np.array([row.accuracy for row in rows])
    ends = [np.abs(accuracy - [getattr(row, end) for row in rows]) for end in ("low", "high")]
    style: dict[str, Any] = {"fmt": "o", "color": "#0B5FA5", "markersize": 4, "capsize": 2, "linewidth": 1.2}
    left.errorbar(accuracy, places, xerr=ends, label="accuracy with its interval", **style)
    left.set_yticks(places, [row.annotator for row in rows], fontsize=8)
    left.set_xlim(0, 1)
    left.set_ylim(len(rows) - 0.5, -0.5)
    finish(left, "accuracy", "")
    image = right.imshow(found.correlation[np.ix_(kept, kept)], vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    right.set_xticks([])
    figure.colorbar(image, ax=right, label="agreement beyond the labels")
    return save(figure, path)
