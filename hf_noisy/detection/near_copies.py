"""Rows that are nearly the same, where there are many: none confirms the wrong label of its twin."""

import numpy as np
from jaxtyping import Int64

from hf_noisy.detection.copies import copy_groups
from hf_noisy.detection.directions import Directions
from hf_noisy.detection.links import first_of_group, linked_groups
from hf_noisy.detection.neighbours import nearest

SIMILARITY = 0.9  # least cosine of near-copies, about the mean of all rows
_NEARER = 0.5  # they are at most this share of the distance to the tenth nearest row apart
_NEAREST = 10
# On the development sets holding near-copies out gains nothing: `leave_one_out --study near_copies`.
_LEAST_SHARE = 0.25
_LARGEST = 3  # rows of a group; more are a dense class
_MOST_ROWS = 20_000  # the search takes quadratic time: in more rows only equal ones are found


def near_copy_groups(directions: Directions) -> Int64[np.ndarray, " rows"]:
    """The index of the first row that is equal or nearly the same, from vectors of length 1 around their mean.

    A cosine alone would not do: where features have few dimensions, all rows have near ones. Rows that are nearly the
    same count only if at least a quarter of all rows has one, or two.
    """
    equal = copy_groups(directions)
    distinct, place = np.unique(equal, return_inverse=True)
    count = len(distinct)
    if not _NEAREST < count <= _MOST_ROWS:
        return equal
    vectors = directions[distinct].astype(np.float32)
    distances, neighbours = nearest(vectors, vectors, _NEAREST, own=np.arange(count))
    limit = np.sqrt(2 - 2 * SIMILARITY)
    far = np.where(distances[:, -1] < limit, 0.0, _NEARER * distances[:, -1])
    linked = (distances < limit) & (distances < far[:, None]) & (distances < far[neighbours])
    one, column = np.nonzero(linked)
    component = linked_groups(one, neighbours[one, column], count)
    size = np.bincount(component)[component]
    if ((size > 1) & (size <= _LARGEST)).mean() < _LEAST_SHARE:
        return equal
    return first_of_group(np.where(size <= _LARGEST, component, count + np.arange(count))[place])
