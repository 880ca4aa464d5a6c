"""Which rows with tags or sets of classes a person should check next."""

import numpy as np
from datasets import Dataset
from jaxtyping import Float, Int64

from hf_noisy.data.flat_labels import flat_tags
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.informative_rows import design_rows
from hf_noisy.detection.list_audit import ListAudit
from hf_noisy.detection.predictors import LENGTH

_SMALLEST = 1e-9


def lists_to_check(
    dataset: Dataset,
    features: Float[np.ndarray, "units width"],
    audit: ListAudit,
    checked_index: Int64[np.ndarray, " checked"],
    count: int,
) -> Int64[np.ndarray, " count"]:
    """Rows with many wrong labels, unlike the checked ones that had some and like many others.

    As for one label, see [`~hf_noisy.detection.informative_rows.informative_rows`][]; the doubt about a row is its
    expected number of wrong labels as a share of the highest one. With tags, a row is the mean of its words.
    """
    vectors = directions(features, mean_direction(features)).astype(np.float64)
    expected = 1 - audit.issues.quality
    if audit.unit == "token":
        flat = flat_tags(dataset)
        filled, lengths = np.flatnonzero(np.diff(flat.offsets)), np.diff(flat.offsets)
        means = np.zeros((len(dataset), vectors.shape[1]))
        means[filled] = np.add.reduceat(vectors, flat.offsets[filled]) / lengths[filled, None]
        vectors, expected = means, np.bincount(flat.rows, weights=expected, minlength=len(dataset))
    else:
        expected = expected.sum(axis=1)
    vectors *= LENGTH / max(float(np.linalg.norm(vectors, axis=1).mean()), _SMALLEST)
    doubt = np.maximum(expected / max(float(expected.max()), _SMALLEST), _SMALLEST)
    return design_rows(vectors, doubt, checked_index, count)
