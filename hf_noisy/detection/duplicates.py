"""Duplicates and near-duplicates, and whether their given labels agree."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from hf_noisy.core.checks import check_features
from hf_noisy.core.types import Labels
from hf_noisy.detection.links import linked_groups
from hf_noisy.detection.surroundings import NearestIndex, Surroundings, surroundings

# Of the median distance to the nearest row. On six sets of texts almost all pairs below it were rewordings, reposts or
# the same sentence with another part marked.
_NEAR = 0.3


class DuplicateGroup(NamedTuple):
    """Rows that are duplicates of each other.

    Attributes:
        rows: `[size]`, row indices, ascending.
        similarity: `[size]`, cosine similarity of each row with the most similar other row of the group.
        exact: Whether all rows have the same features, up to rounding.
        labels_differ: Whether the rows have more than one given label, so that at least one label is wrong, unless the
            features miss what tells the rows apart.
    """

    rows: Int64[np.ndarray, " size"]
    similarity: Float64[np.ndarray, " size"]
    exact: bool
    labels_differ: bool


def find_duplicates(
    labels: Labels, features: Float[np.ndarray, "rows width"], *, index: NearestIndex = "auto"
) -> list[DuplicateGroup]:
    """Find rows with the same features, and rows whose features are much nearer than usual.

    Rows are near-duplicates if their cosine distance is below 0.3 times the median distance to the nearest row, and
    rows that are linked by such pairs form a group. An exact group is also part of the near-duplicates of its rows.

    Args:
        labels: `[rows]`, given labels.
        features: `[rows, width]`, of a frozen encoder.
        index: `"exact"`, `"faiss"`, or `"auto"`: see [`~hf_noisy.detection.audit.audit`].

    Returns:
        The groups: exact ones with different labels, exact ones with one label, then near-duplicates, those with
        different labels first; within a kind by the first row.

    Raises:
        ValueError: If features are not finite, or labels and features differ in length.
        ImportError: If `index` is `"faiss"` and faiss is not installed.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(100, 16))
        >>> rows[7] = rows[3]
        >>> [group.rows.tolist() for group in find_duplicates(np.arange(100) % 2, rows)]
        [[3, 7]]
    """
    vectors = check_features(features)
    if len(labels) != len(vectors):
        raise ValueError(f"labels must have one entry per row of features, {len(vectors)}, got {len(labels)}")
    return duplicates_among(labels, surroundings(vectors, index))


def duplicates_among(labels: Labels, around: Surroundings) -> list[DuplicateGroup]:
    """[`find_duplicates`] of neighbours that were already searched."""
    groups = [
        DuplicateGroup(rows, np.ones(len(rows)), True, len(np.unique(labels[rows])) > 1)
        for rows in _members(around.first)
    ]
    component, nearest = _near_components(around)
    similarity = (1 - nearest**2 / 2).clip(-1, 1)
    position = np.searchsorted(around.distinct, around.first)
    copies = np.bincount(position)[position] > 1
    for rows in _members(component[position]):
        if len(np.unique(position[rows])) > 1:
            alike = np.where(copies[rows], 1.0, similarity[position[rows]])
            groups.append(DuplicateGroup(rows, alike, False, len(np.unique(labels[rows])) > 1))
    return sorted(groups, key=lambda group: (not group.exact, not group.labels_differ, int(group.rows[0])))


def _near_components(around: Surroundings) -> tuple[Int64[np.ndarray, " distinct"], Float64[np.ndarray, " distinct"]]:
    """The group of each distinct row by links between near-duplicates, and the distance to the nearest row."""
    count = len(around.distinct)
    if around.distances.shape[1] == 0:
        return np.zeros(count, dtype=np.int64), np.zeros(count)
    nearest = around.distances[:, 0]
    one, column = np.nonzero(around.distances < _NEAR * np.median(nearest))
    return linked_groups(one, around.neighbours[one, column], count), nearest


def _members(group: Int64[np.ndarray, " rows"]) -> list[Int64[np.ndarray, " size"]]:
    """The rows of each group of at least two."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1]
