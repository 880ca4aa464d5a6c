"""DMLP for a data set that says itself which of its labels a person has checked."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hf_noisy.core.checks import feature_matrix, given_classes
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_POSTERIOR
from hf_noisy.purify.dmlp.dmlp import DMLP


class CheckedDMLP:
    """[`DMLP`] whose clean rows are those that a column marks; their labels are left alone.

    Args:
        column: Column that is true where the label was checked.
        num_classes: Number of classes; by default what the labels show.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> truth = np.arange(200) % 2
        >>> features = (draw.normal(size=(200, 4)) + 3 * truth[:, None]).astype(np.float32)
        >>> checked = np.arange(200) < 40
        >>> given = np.where(~checked & (draw.uniform(size=200) < 0.3), 1 - truth, truth)
        >>> posterior = CheckedDMLP("ok")({"features": features, "label": given, "ok": checked})["label_posterior"]
        >>> bool((posterior.argmax(1) == truth).mean() > 0.9)
        True
    """

    name = "dmlp"
    citation = DMLP.citation

    def __init__(self, column: str, num_classes: int | None = None) -> None:
        self.column, self.num_classes = column, num_classes
        self.columns: tuple[str, ...] = (FEATURES, LABEL, column)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior of the true label, `[rows, classes]`; certain where a label was checked.

        Raises:
            ValueError: If no row or every row is marked.
        """
        return self._posterior(batch, lambda purifier: purifier)

    def baseline(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Posterior by ridge regression on the checked rows alone: what DMLP has to beat."""
        return self._posterior(batch, lambda purifier: purifier.baseline)

    def _posterior(self, batch: Mapping[str, Any], of: Callable[[DMLP], Callable[..., Any]]) -> dict[str, Any]:
        checked = np.asarray(batch[self.column])
        # Numbers other than 0 and 1 are classes or counts: somebody named the wrong column.
        marks = checked.dtype.kind in "biu" and bool(np.isin(checked, (0, 1)).all())
        if not marks or checked.all() or not checked.any():
            raise ValueError(
                f"column '{self.column}' must be true in some rows and false in others, got {checked.dtype} with "
                f"{int(np.count_nonzero(checked))} of {len(checked)}; mark the rows whose label was checked"
            )
        checked = checked.astype(bool)
        features, (labels, classes) = feature_matrix(batch, FEATURES), given_classes(batch, self.num_classes)
        judge = of(DMLP(features[checked], labels[checked], num_classes=classes))
        posterior = np.eye(classes, dtype=np.float32)[labels]
        posterior[~checked] = judge({FEATURES: features[~checked], LABEL: labels[~checked]})[LABEL_POSTERIOR]
        return {LABEL_POSTERIOR: posterior}
