"""Labels for rows without a given label, predicted from the purified rows."""

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from datasets import Dataset
from jaxtyping import Float32, Int64

from hf_noisy.core.columns import (
    FEATURES,
    LABEL,
    LABEL_CHANGED,
    LABEL_CHECKED,
    LABEL_CONFIDENCE,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_WEIGHT,
    PURIFIER,
    column_vectors,
)
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.data.labelled_rows import label_values
from hf_noisy.data.replace_column import with_column
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.evidence import head_of_posterior, predicted_by_head

PREDICTION = "prediction"  # in the column `purifier`


def with_predicted_labels(
    parts: Mapping[str, Dataset], split: str, others: Dataset, places: Int64[np.ndarray, " missing"], checked: Any
) -> Dataset:
    """The split with the most probable class, or the checked label, in the rows without a given label.

    `parts` are the purified rows, with the dropped ones; `others` are the rows without a given label with their
    features, and `places` their positions among the rows of `checked`. A linear head that is fitted to the posterior
    of the purified rows predicts them. `label_given` stays missing there, and the column `purifier` says `prediction`.
    """
    known = [part.select(np.flatnonzero(label_values(part, LABEL_GIVEN) >= 0)) for part in parts.values()]
    features, posterior = (
        np.concatenate([column_vectors(part, name) for part in known]) for name in (FEATURES, LABEL_POSTERIOR)
    )
    centre = mean_direction(features)
    head = head_of_posterior(directions(features, centre), posterior)
    predicted = predicted_by_head(head, centre, column_vectors(others, FEATURES)).astype(np.float32)
    looked_at = np.zeros(len(others), dtype=bool)
    if checked is not None:
        labels = checked.as_column()[places]
        looked_at = labels != UNCHECKED
        predicted[looked_at] = np.eye(predicted.shape[1], dtype=np.float32)[labels[looked_at]]
    return _filled(parts[split], predicted, looked_at)


def _filled(rows: Dataset, predicted: Float32[np.ndarray, "missing classes"], looked_at: Any) -> Dataset:
    soft, confidence = isinstance(rows.features[LABEL], datasets.List), predicted.max(1).tolist()
    new: dict[str, list[Any]] = {
        LABEL: list(predicted) if soft else predicted.argmax(1).tolist(),
        LABEL_POSTERIOR: list(predicted),
        LABEL_CONFIDENCE: confidence,
        LABEL_CHANGED: [False] * len(predicted),
        LABEL_CHECKED: looked_at.tolist(),
        LABEL_WEIGHT: confidence,
        PURIFIER: [PREDICTION] * len(predicted),
    }
    places = np.flatnonzero(label_values(rows, LABEL_GIVEN) < 0)
    for name in new.keys() & set(rows.column_names):
        values = list(rows.with_format(None)[name][:])
        for place, value in zip(places.tolist(), new[name], strict=True):
            values[place] = value
        rows = with_column(rows, name, values, rows.features[name])
    return rows
